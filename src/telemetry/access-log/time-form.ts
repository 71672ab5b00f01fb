const days = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];
const months = 'January February March April May June July August September October November December'.split(' ');
const msPerDay = 86_400_000;

const padded = (value: number, digits: number): string => String(value).padStart(digits, '0');
const dayOfYear = (date: Date): number => Math.floor((date.getTime() - Date.UTC(date.getUTCFullYear(), 0, 1)) / msPerDay) + 1;

/** Nine digits: beyond the millisecond there is what the clock has. */
const fraction = (ms: number, digits: number): string =>
  padded(Math.floor((ms - Math.floor(ms / 1_000) * 1_000) * 1e6), 9).slice(0, digits);

const specifiers: Readonly<Record<string, (date: Date, ms: number) => string>> = {
  Y: (date) => String(date.getUTCFullYear()),
  y: (date) => padded(date.getUTCFullYear() % 100, 2),
  m: (date) => padded(date.getUTCMonth() + 1, 2),
  d: (date) => padded(date.getUTCDate(), 2),
  e: (date) => String(date.getUTCDate()).padStart(2, ' '),
  j: (date) => padded(dayOfYear(date), 3),
  H: (date) => padded(date.getUTCHours(), 2),
  I: (date) => padded(date.getUTCHours() % 12 || 12, 2),
  p: (date) => (date.getUTCHours() < 12 ? 'AM' : 'PM'),
  M: (date) => padded(date.getUTCMinutes(), 2),
  S: (date) => padded(date.getUTCSeconds(), 2),
  a: (date) => (days[date.getUTCDay()] as string).slice(0, 3),
  b: (date) => (months[date.getUTCMonth()] as string).slice(0, 3),
  h: (date) => (months[date.getUTCMonth()] as string).slice(0, 3),
  B: (date) => months[date.getUTCMonth()] as string,
  D: (date) => `${padded(date.getUTCMonth() + 1, 2)}/${padded(date.getUTCDate(), 2)}/${padded(date.getUTCFullYear() % 100, 2)}`,
  F: (date) => date.toISOString().slice(0, 10),
  T: (date) => date.toISOString().slice(11, 19),
  z: () => '+0000',
  Z: () => 'UTC',
  s: (_date, ms) => String(Math.floor(ms / 1_000)),
  f: (_date, ms) => fraction(ms, 9),
  '%': () => '%',
};

/** A time in UTC in a form of `strftime`, with Envoy's `%s`, `%f` and `%3f` beside it. @param ms since the Unix epoch. */
export const formatTime = (form: string, ms: number): string => {
  const date = new Date(ms);
  return form.replace(/%([1-9])f|%(.)/g, (whole, digits: string | undefined, letter: string | undefined) =>
    digits === undefined ? (specifiers[letter ?? '']?.(date, ms) ?? whole) : fraction(ms, Number(digits)),
  );
};

/** ISO 8601 in UTC with milliseconds. Keeps the second that it has printed last: most lines share it with the one before. */
export const isoTimes = (): ((ms: number) => string) => {
  let second = Number.NaN;
  let prefix = '';
  return (ms) => {
    const whole = Math.floor(ms / 1_000);
    if (whole !== second) {
      second = whole;
      prefix = new Date(whole * 1_000).toISOString().slice(0, 20);
    }
    return `${prefix}${padded(Math.floor(ms - whole * 1_000), 3)}Z`;
  };
};
