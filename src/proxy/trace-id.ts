import { type HeaderBlock, Token } from '../http2/index.ts';

const hexDigits = /^[0-9a-f]{16}(?:[0-9a-f]{16})?$/;
const none = '0'.repeat(32);
const traceparentIdStart = 3;
const traceIdLength = 32;
const traceparentFlagsStart = 53;

/**
 * The trace that a request belongs to, from `traceparent` (W3C Trace Context), `b3` or `x-b3-traceid`, always as 32 hexadecimal digits.
 * `undefined` where it belongs to none. Allocates: for calls that failed.
 */
export const traceIdIn = (block: HeaderBlock): string | undefined => {
  const traceparent = block.indexOf(Token.traceparent);
  if (traceparent >= 0) return checked(block.value(traceparent).slice(traceparentIdStart, traceparentIdStart + traceIdLength));
  const single = block.indexOf(Token.b3);
  if (single >= 0) return checked(block.value(single).split('-', 1)[0] ?? '');
  const multiple = block.indexOf(Token.xB3Traceid);
  return multiple < 0 ? undefined : checked(block.value(multiple));
};

const checked = (text: string): string | undefined => {
  const lower = text.toLowerCase();
  if (!hexDigits.test(lower)) return undefined;
  const id = lower.padStart(traceIdLength, '0');
  return id === none ? undefined : id;
};

/** Whether the caller says that the trace is recorded. Allocates. */
export const sampledIn = (block: HeaderBlock): boolean => {
  const traceparent = block.indexOf(Token.traceparent);
  if (traceparent >= 0)
    return (Number.parseInt(block.value(traceparent).slice(traceparentFlagsStart, traceparentFlagsStart + 2), 16) & 1) === 1;
  const single = block.indexOf(Token.b3);
  const said = single >= 0 ? block.value(single).split('-')[2] : undefined;
  const multiple = block.indexOf(Token.xB3Sampled);
  return ['1', 'd', 'true'].includes((said ?? (multiple < 0 ? '' : block.value(multiple))).toLowerCase());
};
