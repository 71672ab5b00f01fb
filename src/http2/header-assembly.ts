import type { Http2Counters } from './counters.ts';
import { ErrorCode, Flag, readUint31 } from './frames.ts';
import type { Http2Options } from './options.ts';

/** Whoever wants whole header blocks. */
export interface HeaderAssemblyOwner {
  readonly options: Http2Options;
  readonly counters: Http2Counters;
  /** A whole block; `selfDependent` where its priority names its own stream (RFC 7540 5.3.1). `bytes` is valid during the call. */
  onHeaderBlock(streamId: number, bytes: Uint8Array, start: number, end: number, endStream: boolean, selfDependent: boolean): void;
  onHeaderFramingError(code: number, message: string): void;
}

/**
 * Joins HEADERS and CONTINUATION to whole blocks (RFC 9113 6.2, 6.10): padding and priority are taken off, and a block of endless
 * frames ends the connection. Bytes are copied only where a block has more than one frame.
 */
export class HeaderAssembly {
  /** The stream whose CONTINUATION is awaited, 0 for none: until it has come no other frame may. */
  awaitedStreamId = 0;
  readonly #owner: HeaderAssemblyOwner;
  #endStream = false;
  #selfDependent = false;
  #frames = 0;
  #parts: Buffer[] = [];

  constructor(owner: HeaderAssemblyOwner) {
    this.#owner = owner;
  }

  headers(flags: number, streamId: number, bytes: Uint8Array, from: number, to: number): void {
    let start = from;
    let end = to;
    if ((flags & Flag.padded) !== 0) {
      const padding = start < end ? (bytes[start] as number) : end;
      start++;
      end -= padding;
    }
    let selfDependent = false;
    if ((flags & Flag.priority) !== 0) {
      if (end - start >= 5) selfDependent = readUint31(bytes, start) === streamId;
      start += 5;
    }
    if (start > end) {
      const message = 'padding or priority is longer than the HEADERS frame (RFC 9113 6.2)';
      this.#owner.onHeaderFramingError(ErrorCode.protocolError, message);
      return;
    }
    // Even ids belong to server push, which we do not allow.
    if ((streamId & 1) === 0) {
      this.#owner.onHeaderFramingError(ErrorCode.protocolError, `HEADERS on stream ${streamId} (RFC 9113 5.1.1)`);
      return;
    }
    const endStream = (flags & Flag.endStream) !== 0;
    if ((flags & Flag.endHeaders) !== 0) {
      this.#owner.onHeaderBlock(streamId, bytes, start, end, endStream, selfDependent);
      return;
    }
    this.awaitedStreamId = streamId;
    this.#endStream = endStream;
    this.#selfDependent = selfDependent;
    this.#frames = 1;
    this.#parts = [Buffer.from(bytes.subarray(start, end))];
  }

  continuation(flags: number, streamId: number, bytes: Uint8Array, start: number, end: number): void {
    const { counters, options } = this.#owner;
    if (this.awaitedStreamId === 0) {
      this.#owner.onHeaderFramingError(ErrorCode.protocolError, 'CONTINUATION without HEADERS (RFC 9113 6.10)');
      return;
    }
    if (++this.#frames > options.maxHeaderFrames) {
      counters.continuationFlood++;
      const message = `a header block of more than ${options.maxHeaderFrames} frames`;
      this.#owner.onHeaderFramingError(ErrorCode.enhanceYourCalm, message);
      return;
    }
    this.#parts.push(Buffer.from(bytes.subarray(start, end)));
    if ((flags & Flag.endHeaders) === 0) return;
    const joined = Buffer.concat(this.#parts);
    this.#parts = [];
    this.awaitedStreamId = 0;
    this.#owner.onHeaderBlock(streamId, joined, 0, joined.length, this.#endStream, this.#selfDependent);
  }
}
