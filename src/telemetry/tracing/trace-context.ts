import { type HeaderBlock, Token } from '../../http2/index.ts';
import { hexOf, notHex, readHex, readHexByte, readHexOrCapitals, writeHex } from './trace-ids.ts';

/** What a caller says about being recorded. */
export const Said = { nothing: 0, no: 1, yes: 2 } as const;

/**
 * The trace that a request belongs to, as its caller says in `traceparent` (W3C Trace Context) or B3. Read into one object after the
 * other: nothing is made for it, and no string.
 */
export class CallerContext {
  /** Whether there is a trace to continue: ids that are none, or break the grammar, begin a new one (W3C Trace Context 3.2.2.2). */
  found = false;
  /** The trace id, 32 bits in each. */
  readonly trace = new Int32Array(4);
  /** Of the span that called. */
  parentHigh = 0;
  parentLow = 0;
  said: (typeof Said)[keyof typeof Said] = Said.nothing;
  /** It is `traceparent` that says so. */
  inTraceparent = false;
  /** B3's word for a trace that everybody records, whatever share they record of others; it includes `yes`. */
  debug = false;
  /** It spoke B3 in one header, or in several. */
  b3Single = false;
  b3Multiple = false;

  read(block: HeaderBlock): void {
    this.found = false;
    this.inTraceparent = false;
    this.said = Said.nothing;
    this.debug = false;
    const single = block.indexOf(Token.b3);
    const multiple = block.indexOf(Token.xB3Traceid);
    const decision = block.indexOf(Token.xB3Sampled);
    const flags = block.indexOf(Token.xB3Flags);
    this.b3Single = single >= 0;
    this.b3Multiple = multiple >= 0 || decision >= 0 || flags >= 0;
    const traceparent = block.indexOf(Token.traceparent);
    if (traceparent >= 0 && !block.duplicateOf(Token.traceparent) && this.#readTraceparent(block, traceparent)) return;
    if (single >= 0) this.#readSingle(block, single);
    else if (this.b3Multiple) this.#readMultiple(block, multiple, decision, flags);
  }

  /** `00-<trace>-<span>-<flags>`; a later version may have more behind it. */
  #readTraceparent(block: HeaderBlock, at: number): boolean {
    const { bytes } = block;
    const start = block.valueStart[at] as number;
    const length = (block.valueEnd[at] as number) - start;
    if (length < traceparentBytes || bytes[start + 2] !== dash || bytes[start + 35] !== dash || bytes[start + 52] !== dash) return false;
    const { view } = block;
    const version = readHexByte(view, start);
    const flags = readHexByte(view, start + 53);
    if (notHex() || version === 255) return false;
    if (length > traceparentBytes && (version === 0 || bytes[start + traceparentBytes] !== dash)) return false;
    const ids = this.#takeIds(
      readHex(view, start + 3),
      readHex(view, start + 11),
      readHex(view, start + 19),
      readHex(view, start + 27),
      readHex(view, start + 36),
      readHex(view, start + 44),
    );
    if (!ids) return false;
    this.said = (flags & 1) === 1 ? Said.yes : Said.no;
    this.inTraceparent = true;
    return true;
  }

  /** `<trace>-<span>[-<decision>[-<parent>]]`, or the decision alone. */
  #readSingle(block: HeaderBlock, at: number): void {
    const { bytes } = block;
    const start = block.valueStart[at] as number;
    const end = block.valueEnd[at] as number;
    if (end - start === 1) {
      this.#decide(bytes[start] as number);
      return;
    }
    const digits = bytes[start + 32] === dash ? 32 : 16;
    const span = start + digits + 1;
    if (end < span + 16 || bytes[span - 1] !== dash || (end > span + 16 && bytes[span + 16] !== dash)) return;
    this.#readB3Ids(block.view, start, digits, span);
    if (!this.found) return;
    if (end >= span + 18 && (end === span + 18 || bytes[span + 18] === dash)) this.#decide(bytes[span + 17] as number);
  }

  #readMultiple(block: HeaderBlock, trace: number, decision: number, flags: number): void {
    const span = block.indexOf(Token.xB3Spanid);
    if (decision >= 0) this.#decide(firstByte(block, decision));
    // Whoever says this says nothing else of it.
    if (flags >= 0 && firstByte(block, flags) === one) this.#decide(debug);
    if (trace < 0 || span < 0 || (block.valueEnd[span] as number) - (block.valueStart[span] as number) !== 16) return;
    const start = block.valueStart[trace] as number;
    const digits = (block.valueEnd[trace] as number) - start;
    if (digits === 16 || digits === 32) this.#readB3Ids(block.view, start, digits, block.valueStart[span] as number);
  }

  /** `1` and `d` are yes; some write true and false. */
  #decide(byte: number): void {
    this.debug = byte === debug;
    this.said = byte === one || byte === debug || byte === 0x74 ? Said.yes : byte === zero || byte === 0x66 ? Said.no : Said.nothing;
  }

  /** The ids of B3, whose digits may be capitals and whose trace ids may be half as long. */
  #readB3Ids(view: DataView, traceAt: number, traceDigits: number, spanAt: number): void {
    const isLong = traceDigits === 32;
    const low = isLong ? traceAt + 16 : traceAt;
    this.#takeIds(
      isLong ? readHexOrCapitals(view, traceAt) : 0,
      isLong ? readHexOrCapitals(view, traceAt + 8) : 0,
      readHexOrCapitals(view, low),
      readHexOrCapitals(view, low + 8),
      readHexOrCapitals(view, spanAt),
      readHexOrCapitals(view, spanAt + 8),
    );
  }

  /** Takes the ids over where they are some: false where they are none. */
  #takeIds(trace0: number, trace1: number, trace2: number, trace3: number, parentHigh: number, parentLow: number): boolean {
    if (notHex() || (trace0 | trace1 | trace2 | trace3) === 0 || (parentHigh | parentLow) === 0) return false;
    const { trace } = this;
    trace[0] = trace0;
    trace[1] = trace1;
    trace[2] = trace2;
    trace[3] = trace3;
    this.parentHigh = parentHigh;
    this.parentLow = parentLow;
    this.found = true;
    return true;
  }
}

const dash = 0x2d;
const traceparentBytes = 55;

const zero = 0x30;
const one = 0x31;
const debug = 0x64;

const firstByte = (block: HeaderBlock, at: number): number => {
  const start = block.valueStart[at] as number;
  return start < (block.valueEnd[at] as number) ? (block.bytes[start] as number) : 0;
};

const asked = new CallerContext();

/** The trace that a caller says a request belongs to, as 32 hexadecimal digits; `undefined`: none. Makes a string. */
export const callersTraceId = (block: HeaderBlock): string | undefined => {
  asked.read(block);
  return asked.found ? hexOf(...asked.trace) : undefined;
};

/** Whether a caller says that its trace is recorded. Makes nothing. */
export const callerRecords = (block: HeaderBlock): boolean => {
  asked.read(block);
  return asked.said === Said.yes;
};

/** What is written into requests: the trace, the span that calls, whether it is recorded. */
export interface WrittenContext {
  readonly trace0: number;
  readonly trace1: number;
  readonly trace2: number;
  readonly trace3: number;
  readonly sampled: boolean;
  /** B3 has a word of its own for that. */
  readonly debug: boolean;
  readonly b3Single: boolean;
  readonly b3Multiple: boolean;
  /** The `traceparent` of the request, if it has the length of ours, is of this trace. */
  readonly inPlace: boolean;
}

const traceparent = Buffer.from(`00-${'0'.repeat(32)}-${'0'.repeat(16)}-00`);
const traceparentView = new DataView(traceparent.buffer, traceparent.byteOffset, traceparent.length);
const single = Buffer.from(`${'0'.repeat(32)}-${'0'.repeat(16)}-0`);

/**
 * Writes `traceparent` in the place of the one that came, and B3 where it is wanted. Makes no string. Where a `traceparent` of the same trace
 * stands there, as it does for nearly all calls, its span and flags are written over.
 */
export const writeContext = (block: HeaderBlock, context: WrittenContext, spanHigh: number, spanLow: number): void => {
  const at = block.indexOf(Token.traceparent);
  if (
    at >= 0 &&
    context.inPlace &&
    !block.duplicateOf(Token.traceparent) &&
    (block.valueEnd[at] as number) - (block.valueStart[at] as number) === traceparentBytes
  ) {
    const { bytes, view } = block;
    const start = block.valueStart[at] as number;
    // Of whatever version it was, it is one of ours from here on (W3C Trace Context 3.2.3).
    bytes[start] = zero;
    bytes[start + 1] = zero;
    writeHex(spanHigh, view, start + 36);
    writeHex(spanLow, view, start + 44);
    bytes[start + 53] = zero;
    // Whether the trace id is random is said of the trace (level 2 of the recommendation), and stays.
    bytes[start + 54] = ((bytes[start + 54] as number) & 2) | (context.sampled ? one : zero);
    block.valueChanged(at);
  } else writeTraceparent(block, context, spanHigh, spanLow);
  if (!context.b3Single && !context.b3Multiple) return;
  writeIds(context, spanHigh, spanLow);
  if (context.b3Single) writeSingle(block, context);
  if (context.b3Multiple) writeMultiple(block, context);
};

const writeIds = (context: WrittenContext, spanHigh: number, spanLow: number): void => {
  writeHex(context.trace0, traceparentView, 3);
  writeHex(context.trace1, traceparentView, 11);
  writeHex(context.trace2, traceparentView, 19);
  writeHex(context.trace3, traceparentView, 27);
  writeHex(spanHigh, traceparentView, 36);
  writeHex(spanLow, traceparentView, 44);
};

const writeTraceparent = (block: HeaderBlock, context: WrittenContext, spanHigh: number, spanLow: number): void => {
  writeIds(context, spanHigh, spanLow);
  traceparent[54] = context.sampled ? one : zero;
  block.removeToken(Token.traceparent);
  block.addBytes(Token.traceparent, traceparent, 0, traceparentBytes);
};

const writeSingle = (block: HeaderBlock, context: WrittenContext): void => {
  single.set(traceparent.subarray(3, 52));
  single[50] = !context.sampled ? zero : context.debug ? debug : one;
  block.removeToken(Token.b3);
  block.addBytes(Token.b3, single, 0, single.length);
};

/** With `x-b3-flags` where it is a debugged trace's, beside which nothing is said of being recorded. */
const writeMultiple = (block: HeaderBlock, { debug, sampled }: WrittenContext): void => {
  // The parent is that of the caller's own span; ours has another one.
  for (const token of b3Tokens) block.removeToken(token);
  block.addBytes(Token.xB3Traceid, traceparent, 3, 35);
  block.addBytes(Token.xB3Spanid, traceparent, 36, 52);
  if (sampled && debug) block.add(Token.xB3Flags, '1');
  else block.add(Token.xB3Sampled, sampled ? '1' : '0');
};

const b3Tokens = [Token.xB3Traceid, Token.xB3Spanid, Token.xB3Sampled, Token.xB3Flags, Token.xB3Parentspanid] as const;
