import { ErrorCode, Flag, FrameType, frameHeaderBytes, readUint31 } from './frames.ts';

/**
 * What a frame costs whoever reads it, in units of about a quarter of a microsecond, by type; unknown types as the last one. HEADERS that
 * begin a call cost more than all other frames of it.
 */
const frameWork = Uint8Array.of(4, 16, 1, 16, 16, 1, 1, 4, 2, 16, 1);
const lastKnownType = FrameType.continuation;

/** More than any chunk can need. */
export const unlimitedWork = 2 ** 30 - 1;

/** Most frames that cross two chunks fit; what larger ones need is not kept. */
const keptCarryBytes = 512;

/** Whoever reads frames. A sink that has `closed` itself hears nothing more, also from the bytes already at hand. */
export interface FrameSink {
  readonly closed: boolean;
  /** A whole frame of any type but DATA; `bytes` is valid during the call. */
  onFrame(type: number, flags: number, streamId: number, bytes: Buffer, start: number, end: number): void;
  /** The header of a DATA frame; `length` counts padding, too. */
  onDataFrame(streamId: number, flags: number, length: number, padding: number): void;
  /** A piece of the DATA frame begun last, without padding; `last` exactly once, possibly with nothing. */
  onDataPiece(bytes: Buffer, start: number, end: number, last: boolean): void;
  /** So many bytes are allocated for a frame, not of DATA, whose end has not come; 0: none any more. */
  onUnfinishedFrame(bytes: number): void;
  onFramingError(code: number, message: string): void;
}

/**
 * Cuts a byte stream into frames (RFC 9113 4.1), however the bytes are split. DATA is handed on as it comes; other frames are
 * whole, since they are small. Bytes are copied only where a frame crosses two chunks.
 */
export class FrameReader {
  /** Units of work after which `read` stops at the next frame. */
  workLeft = unlimitedWork;
  readonly #sink: FrameSink;
  readonly #maxFrameBytes: number;
  /** The beginning of a frame whose end has not come yet. */
  #carry: Buffer | undefined;
  #carried = 0;
  /** The sink knows that a frame is unfinished. */
  #told = false;
  /** The last piece of the DATA frame has not been told yet. */
  #dataOpen = false;
  #dataLeft = 0;
  #paddingLeft = 0;

  constructor(sink: FrameSink, maxFrameBytes: number) {
    this.#sink = sink;
    this.#maxFrameBytes = maxFrameBytes;
  }

  /** A frame has begun and not ended. */
  get insideFrame(): boolean {
    return this.#dataOpen || this.#paddingLeft > 0 || this.#carried > 0;
  }

  /** Returns the offset behind what was read: `end`, or where there was no work left, or where the sink has closed itself. */
  read(bytes: Buffer, from: number, end: number): number {
    let at = from;
    const sink = this.#sink;
    while (at < end && this.workLeft > 0 && !sink.closed) {
      if (this.#dataOpen || this.#paddingLeft > 0) at = this.#readData(bytes, at, end);
      else if (this.#carried > 0) at = this.#readCarried(bytes, at, end);
      else {
        const next = this.#readWhole(bytes, at, end);
        if (next < 0) {
          this.#keep(bytes, at, end);
          return end;
        }
        at = next;
      }
    }
    return at;
  }

  /** Reads one frame that is wholly at hand and returns the offset behind it, or -1 where its end is missing. */
  #readWhole(bytes: Buffer, at: number, end: number): number {
    if (end - at < frameHeaderBytes) return -1;
    const length = ((bytes[at] as number) << 16) | ((bytes[at + 1] as number) << 8) | (bytes[at + 2] as number);
    const type = bytes[at + 3] as number;
    const flags = bytes[at + 4] as number;
    if (length > this.#maxFrameBytes) {
      this.#sink.onFramingError(ErrorCode.frameSizeError, `a frame of ${length} bytes, ${this.#maxFrameBytes} are allowed (RFC 9113 4.2)`);
      return end;
    }
    const payload = at + frameHeaderBytes;
    if (type === FrameType.data) {
      const padded = (flags & Flag.padded) !== 0;
      if (padded && length > 0 && end === payload) return -1;
      const padding = padded ? (length === 0 ? 1 : (bytes[payload] as number) + 1) : 0;
      if (padding > length) {
        this.#sink.onFramingError(ErrorCode.protocolError, 'padding is longer than the DATA frame (RFC 9113 6.1)');
        return end;
      }
      this.#dataOpen = true;
      this.workLeft -= frameWork[FrameType.data] as number;
      this.#dataLeft = length - padding;
      this.#paddingLeft = padded ? padding - 1 : 0;
      this.#sink.onDataFrame(readUint31(bytes, at + 5), flags, length, padding);
      if (this.#sink.closed) return end;
      return this.#readData(bytes, padded ? payload + 1 : payload, end);
    }
    if (end - payload < length) return -1;
    this.workLeft -= frameWork[Math.min(type, lastKnownType + 1)] as number;
    // What is in a header block costs as much again for each few bytes.
    if (type === FrameType.headers || type === FrameType.continuation) this.workLeft -= length >> 3;
    this.#sink.onFrame(type, flags, readUint31(bytes, at + 5), bytes, payload, payload + length);
    return payload + length;
  }

  #readData(bytes: Buffer, from: number, end: number): number {
    let at = from;
    if (this.#dataOpen) {
      const taken = Math.min(this.#dataLeft, end - at);
      this.#dataLeft -= taken;
      this.workLeft -= taken >> 8;
      const last = this.#dataLeft === 0;
      if (last) this.#dataOpen = false;
      if (taken > 0 || last) this.#sink.onDataPiece(bytes, at, at + taken, last);
      at += taken;
    }
    if (!this.#dataOpen && this.#paddingLeft > 0) {
      const skipped = Math.min(this.#paddingLeft, end - at);
      this.#paddingLeft -= skipped;
      at += skipped;
    }
    return at;
  }

  #keep(bytes: Buffer, at: number, end: number): void {
    const carry = this.#carryOf(end - at);
    carry.set(bytes.subarray(at, end), 0);
    this.#carried = end - at;
    this.#tellUnfinished();
  }

  /** Of DATA no more is ever carried than a header and the length of its padding: how slowly it comes is nobody's concern. */
  #tellUnfinished(): void {
    if (this.#carried <= frameHeaderBytes) return;
    this.#told = true;
    this.#sink.onUnfinishedFrame((this.#carry as Buffer).length);
  }

  /** Room for `bytes` of a frame, as they come and not as they are announced: many peers may begin a frame and end none. */
  #carryOf(bytes: number): Buffer {
    const carry = this.#carry;
    if (carry !== undefined && carry.length >= bytes) return carry;
    const wanted = Math.min(Math.max(2 * bytes, keptCarryBytes), frameHeaderBytes + this.#maxFrameBytes);
    this.#carry = Buffer.allocUnsafeSlow(wanted);
    if (carry !== undefined) this.#carry.set(carry.subarray(0, this.#carried));
    return this.#carry;
  }

  /** Completes the carried frame from `bytes`, one needed portion at a time: its header, the padding's length, its payload. */
  #readCarried(bytes: Buffer, from: number, end: number): number {
    let at = from;
    for (;;) {
      const needed = this.#neededBytes(this.#carry as Buffer) - this.#carried;
      const taken = Math.min(needed, end - at);
      const carry = this.#carryOf(this.#carried + taken);
      carry.set(bytes.subarray(at, at + taken), this.#carried);
      this.#carried += taken;
      at += taken;
      if (taken < needed) {
        this.#tellUnfinished();
        return at;
      }
      const whole = this.#readWhole(carry, 0, this.#carried);
      if (whole >= 0) {
        this.#carried = 0;
        if (carry.length > keptCarryBytes) this.#carry = undefined;
        if (this.#told) {
          this.#told = false;
          this.#sink.onUnfinishedFrame(0);
        }
        return at;
      }
    }
  }

  #neededBytes(carry: Buffer): number {
    if (this.#carried < frameHeaderBytes) return frameHeaderBytes;
    const length = carry.readUIntBE(0, 3);
    if (length > this.#maxFrameBytes) return frameHeaderBytes;
    if (carry[3] !== FrameType.data) return frameHeaderBytes + length;
    // The payload of DATA is not carried: its header is enough, and the byte that says how long the padding is.
    return ((carry[4] as number) & Flag.padded) !== 0 && length > 0 ? frameHeaderBytes + 1 : frameHeaderBytes;
  }
}
