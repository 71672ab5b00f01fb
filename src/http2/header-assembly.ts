import { ErrorCode, Flag, readUint31 } from './frames.ts';
import type { Http2Options } from './options.ts';
import { UnfinishedInput, type UnfinishedInputOwner } from './unfinished-input.ts';

/** Whoever wants whole header blocks. */
export interface HeaderAssemblyOwner extends UnfinishedInputOwner {
  readonly options: Http2Options;
  /** A whole block; `selfDependent` where its priority names its own stream (RFC 7540 5.3.1). `bytes` is valid during the call. */
  onHeaderBlock(streamId: number, bytes: Buffer, start: number, end: number, endStream: boolean, selfDependent: boolean): void;
}

/**
 * Joins HEADERS and CONTINUATION to whole blocks (RFC 9113 6.2, 6.10): padding and priority are taken off. A block of endless frames or
 * bytes ends the connection at once, one whose end does not come in time a little later (`UnfinishedInput`). Bytes are copied only where a block has
 * more than one frame.
 */
export class HeaderAssembly {
  /** The stream whose CONTINUATION is awaited, 0 for none: until it has come no other frame may. */
  awaitedStreamId = 0;
  readonly unfinished: UnfinishedInput;
  readonly #owner: HeaderAssemblyOwner;
  #endStream = false;
  #selfDependent = false;
  #frames = 0;
  #parts: Buffer[] = [];
  #partsBytes = 0;

  constructor(owner: HeaderAssemblyOwner) {
    this.#owner = owner;
    this.unfinished = new UnfinishedInput(owner);
  }

  headers(flags: number, streamId: number, bytes: Buffer, from: number, to: number): void {
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
      this.#owner.protocolError(ErrorCode.protocolError, message);
      return;
    }
    // Even ids belong to server push, which we do not allow.
    if ((streamId & 1) === 0) {
      this.#owner.protocolError(ErrorCode.protocolError, `HEADERS on stream ${streamId} (RFC 9113 5.1.1)`);
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
    this.#keep(bytes, start, end);
  }

  continuation(flags: number, streamId: number, bytes: Buffer, start: number, end: number): void {
    const { counters, options } = this.#owner;
    if (this.awaitedStreamId === 0) {
      this.#owner.protocolError(ErrorCode.protocolError, 'CONTINUATION without HEADERS (RFC 9113 6.10)');
      return;
    }
    if (++this.#frames > options.maxHeaderFrames) {
      counters.continuationFlood++;
      const message = `a header block of more than ${options.maxHeaderFrames} frames`;
      this.#owner.protocolError(ErrorCode.enhanceYourCalm, message);
      return;
    }
    if (!this.#keep(bytes, start, end) || (flags & Flag.endHeaders) === 0) return;
    const joined = Buffer.concat(this.#parts, this.#partsBytes);
    this.#forget();
    this.#owner.onHeaderBlock(streamId, joined, 0, joined.length, this.#endStream, this.#selfDependent);
  }

  /** The connection has ended. */
  clear(): void {
    this.#forget();
    this.unfinished.clear();
  }

  #forget(): void {
    if (this.awaitedStreamId === 0) return;
    this.awaitedStreamId = 0;
    this.#parts = [];
    this.#partsBytes = 0;
    this.unfinished.endBlock();
  }

  /** False where it is too much, at once and not only at the block's end: what decodes to less than this would be refused, too. */
  #keep(bytes: Buffer, start: number, end: number): boolean {
    const { counters, options } = this.#owner;
    this.#partsBytes += end - start;
    if (this.#partsBytes > 2 * options.maxHeaderListBytes) {
      counters.headerOverflow++;
      const message = `a header block of ${this.#partsBytes} bytes and more, ${options.maxHeaderListBytes} are allowed`;
      this.#owner.protocolError(ErrorCode.enhanceYourCalm, message);
      return false;
    }
    // An empty frame is counted, not kept.
    if (end > start) this.#parts.push(Buffer.from(bytes.subarray(start, end)));
    return this.unfinished.keepBlock(this.#partsBytes);
  }
}
