/**
 * `grpc-timeout`: at most eight digits and a unit (gRPC `PROTOCOL-HTTP2.md`, Timeout). It is read and written once per call,
 * with another value each time, so both work on bytes and make no strings.
 */
const longestDigits = 8;
const largestValue = 10 ** longestDigits - 1;

/** Milliseconds of a unit above one millisecond; for those below, how many make a millisecond. Division keeps `1n` exact. */
const msPerHour = 3_600_000;
const msPerMinute = 60_000;
const msPerSecond = 1_000;
const microsPerMs = 1_000;
const nanosPerMs = 1_000_000;

const hour = 0x48;
const minute = 0x4d;
const second = 0x53;
const milli = 0x6d;
const micro = 0x75;
const nano = 0x6e;

/**
 * Reads the value of `grpc-timeout` in `bytes[start, end)`. Returns milliseconds with fractions, up to 3.6e14 (whoever arms a
 * timer clamps), 0 for a deadline that has passed already, or -1 where it is malformed.
 */
export const parseGrpcTimeoutMs = (bytes: Uint8Array, start: number, end: number): number => {
  const digits = end - start - 1;
  if (digits < 1 || digits > longestDigits) return -1;
  let value = 0;
  for (let i = start; i < end - 1; i++) {
    const digit = (bytes[i] as number) - 0x30;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
  }
  switch (bytes[end - 1]) {
    case hour:
      return value * msPerHour;
    case minute:
      return value * msPerMinute;
    case second:
      return value * msPerSecond;
    case milli:
      return value;
    case micro:
      return value / microsPerMs;
    case nano:
      return value / nanosPerMs;
    default:
      return -1;
  }
};

/** Bytes that `writeGrpcTimeout` needs at most. */
export const longestGrpcTimeoutBytes = longestDigits + 1;

/**
 * Writes `ms` as the value of `grpc-timeout` at `out[at]`, in the finest unit whose value fits eight digits. Never rounds up,
 * so that no hop gains time; never writes 0, which some servers refuse: what is left of a deadline that has passed must be
 * dealt with before. Returns the index after the last byte; `out` needs room for `longestGrpcTimeoutBytes`.
 */
export const writeGrpcTimeout = (ms: number, out: Uint8Array, at: number): number => {
  let value: number;
  let unit: number;
  // Negated, so that what is no number becomes the shortest deadline rather than an hour.
  if (!(ms * nanosPerMs >= largestValue + 1)) {
    value = Math.floor(ms * nanosPerMs);
    // The product is rounded: without this, one nanosecond could be gained.
    if (value / nanosPerMs > ms) value--;
    unit = nano;
  } else if (ms * microsPerMs < largestValue + 1) {
    value = Math.floor(ms * microsPerMs);
    if (value / microsPerMs > ms) value--;
    unit = micro;
  } else if (ms < largestValue + 1) {
    value = Math.floor(ms);
    unit = milli;
  } else if (ms / msPerSecond < largestValue + 1) {
    value = Math.floor(ms / msPerSecond);
    unit = second;
  } else if (ms / msPerMinute < largestValue + 1) {
    value = Math.floor(ms / msPerMinute);
    unit = minute;
  } else {
    value = Math.min(Math.floor(ms / msPerHour), largestValue);
    unit = hour;
  }
  if (!(value >= 1)) value = 1;
  let digits = 1;
  for (let bound = 10; value >= bound; bound *= 10) digits++;
  for (let i = at + digits - 1; i >= at; i--) {
    const rest = Math.floor(value / 10);
    out[i] = 0x30 + (value - rest * 10);
    value = rest;
  }
  out[at + digits] = unit;
  return at + digits + 1;
};

/** `writeGrpcTimeout` as a string, for tests, logs and tools. */
export const formatGrpcTimeout = (ms: number): string => {
  const bytes = new Uint8Array(longestGrpcTimeoutBytes);
  return String.fromCharCode(...bytes.subarray(0, writeGrpcTimeout(ms, bytes, 0)));
};
