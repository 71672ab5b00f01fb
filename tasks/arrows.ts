console.log('arrows: to come');
