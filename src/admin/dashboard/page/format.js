const whole = new Intl.NumberFormat('en');

/** @param {number} value */
export const count = (value) =>
  value < 1e6 ? whole.format(value) : value < 1e9 ? `${(value / 1e6).toFixed(2)}M` : `${(value / 1e9).toFixed(2)}G`;

/** @param {number} perSecond */
export const rate = (perSecond) =>
  perSecond === 0
    ? '0'
    : perSecond < 10
      ? perSecond.toFixed(2)
      : perSecond < 100
        ? perSecond.toFixed(1)
        : whole.format(Math.round(perSecond));

/** Number and unit apart. @param {number | null} ms @returns {readonly [string, string]} */
export const splitMs = (ms) => {
  if (ms === null) return ['–', ''];
  if (ms < 10) return [ms.toFixed(ms < 1 ? 2 : 1), 'ms'];
  if (ms < 1_000) return [String(Math.round(ms)), 'ms'];
  return [(ms / 1_000).toFixed(ms < 10_000 ? 2 : 1), 's'];
};

/** @param {number | null} ms */
export const duration = (ms) => splitMs(ms).join(' ').trim();

/** On an axis: as short as it can be. @param {number} value */
export const rateTick = (value) =>
  value >= 1e6 ? `${value / 1e6}M` : value >= 1e4 ? `${value / 1e3}k` : String(Number(value.toPrecision(3)));

/** The same for durations. @param {number} ms */
export const durationTick = (ms) =>
  ms === 0 ? '0' : ms >= 1_000 ? `${Number((ms / 1_000).toPrecision(3))} s` : `${Number(ms.toPrecision(3))} ms`;

/** Of the calls that were not cancelled; `null` without any. @param {{ calls: number, ok: number, cancelled: number }} figures */
export const successOf = ({ calls, ok, cancelled }) => (calls - cancelled <= 0 ? null : Math.min(1, ok / (calls - cancelled)));

/** Never 100 where anything failed. @param {number | null} share 0 to 1 */
export const percent = (share) => {
  if (share === null) return '–';
  if (share === 1 || share === 0) return `${share * 100} %`;
  const cut = Math.floor(share * 10_000) / 100;
  return `${cut.toFixed(cut < 10 ? 2 : cut < 99 ? 1 : 2)} %`;
};

/** @param {number} total @param {number} errors */
export const failedText = (total, errors) =>
  errors === 0 ? '0' : `${count(errors)} (${percent(Math.min(1, errors / Math.max(total, 1)))})`;

/** A length of time as people say it, in its largest unit. @param {number} ms */
export const span = (ms) => {
  const seconds = Math.max(0, Math.round(ms / 1_000));
  if (seconds < 90) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 90) return `${minutes} min`;
  const hours = Math.round(minutes / 60);
  return hours < 48 ? `${hours} h` : `${Math.floor(seconds / 86_400)} d`;
};

/** @param {number} wallMs */
export const timeOfDay = (wallMs) => new Date(wallMs).toLocaleTimeString('en-GB');

/** @param {number} wallMs */
export const fullTime = (wallMs) => `${new Date(wallMs).toLocaleDateString('en-CA')} ${timeOfDay(wallMs)}`;

const longAgoMs = 12 * 3_600_000;

/** With its date where the time alone could be of another day. @param {number} wallMs @param {number} nowMs */
export const moment = (wallMs, nowMs) => (Math.abs(nowMs - wallMs) < longAgoMs ? timeOfDay(wallMs) : fullTime(wallMs));

/** @type {Readonly<Record<number, string>>} */
const statusNames = {
  0: 'OK',
  1: 'CANCELLED',
  2: 'UNKNOWN',
  3: 'INVALID_ARGUMENT',
  4: 'DEADLINE_EXCEEDED',
  5: 'NOT_FOUND',
  6: 'ALREADY_EXISTS',
  7: 'PERMISSION_DENIED',
  8: 'RESOURCE_EXHAUSTED',
  9: 'FAILED_PRECONDITION',
  10: 'ABORTED',
  11: 'OUT_OF_RANGE',
  12: 'UNIMPLEMENTED',
  13: 'INTERNAL',
  14: 'UNAVAILABLE',
  15: 'DATA_LOSS',
  16: 'UNAUTHENTICATED',
};

/** @param {number} code of gRPC */
export const statusName = (code) => statusNames[code] ?? `status ${code}`;
