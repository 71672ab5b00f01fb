// Before anything is painted: the colours that somebody chose here before, else those of the system.
try {
  const chosen = localStorage.getItem('outrider-colours');
  if (chosen === 'light' || chosen === 'dark') document.documentElement.dataset['theme'] = chosen;
} catch {
  // A browser that keeps nothing has the system's.
}
// What there is appears at once with the first data, and nothing moves for it.
document.documentElement.classList.add('waiting');
