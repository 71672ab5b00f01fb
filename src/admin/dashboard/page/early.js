// Before anything is painted: the colours that somebody chose here before, else those of the system.
try {
  const chosen = localStorage.getItem('outrider-colours');
  if (chosen === 'light' || chosen === 'dark') document.documentElement.dataset['theme'] = chosen;
} catch {
  // A browser that keeps nothing has the system's.
}
