import { defaultFrameBytes, Flag, FrameType, frameHeaderBytes, writeFrameHeader, writeUint32 } from './frames.ts';
import type { HeaderBlock } from './header-block.ts';
import { HpackEncoder } from './hpack/encoder.ts';
import type { Output } from './output.ts';

const pingBytes = 8;
const longestDebugData = 256;

/** Writes every frame but DATA to the output of one connection. Which frame may be written when is the connection's business. */
export class FrameWriter {
  readonly #output: Output;
  readonly #encoder = new HpackEncoder();

  constructor(output: Output) {
    this.#output = output;
  }

  /** The peer's SETTINGS_HEADER_TABLE_SIZE. */
  setPeerMaxTableBytes(bytes: number): void {
    this.#encoder.setPeerMaxTableBytes(bytes);
  }

  raw(bytes: Uint8Array): void {
    this.#output.reserve(bytes.length);
    this.#output.bytes.set(bytes, this.#output.length);
    this.#output.length += bytes.length;
  }

  settings(entries: readonly (readonly [id: number, value: number])[]): void {
    let at = this.#begin(6 * entries.length, FrameType.settings, 0, 0);
    const { bytes } = this.#output;
    for (const [id, value] of entries) {
      bytes[at] = id >>> 8;
      bytes[at + 1] = id;
      at = writeUint32(bytes, at + 2, value);
    }
    this.#output.length = at;
  }

  settingsAck(): void {
    this.#output.length = this.#begin(0, FrameType.settings, Flag.ack, 0);
  }

  /** A PING of ours, its payload two numbers of 32 bits. */
  ping(high: number, low: number): void {
    const at = this.#begin(pingBytes, FrameType.ping, 0, 0);
    this.#output.length = writeUint32(this.#output.bytes, writeUint32(this.#output.bytes, at, high), low);
  }

  /** Answers a PING with its own payload, `bytes[start, start + 8)`. */
  pingAck(bytes: Uint8Array, start: number): void {
    const at = this.#begin(pingBytes, FrameType.ping, Flag.ack, 0);
    // Byte by byte: a view for each would cost more than the frame.
    const out = this.#output.bytes;
    for (let i = 0; i < pingBytes; i++) out[at + i] = bytes[start + i] as number;
    this.#output.length = at + pingBytes;
  }

  rstStream(streamId: number, code: number): void {
    const at = this.#begin(4, FrameType.rstStream, 0, streamId);
    this.#output.length = writeUint32(this.#output.bytes, at, code);
  }

  windowUpdate(streamId: number, increment: number): void {
    const at = this.#begin(4, FrameType.windowUpdate, 0, streamId);
    this.#output.length = writeUint32(this.#output.bytes, at, increment);
  }

  /** `debugData` is cut at 256 characters. */
  goAway(lastStreamId: number, code: number, debugData: string): void {
    const debug = Buffer.from(debugData.slice(0, longestDebugData), 'latin1');
    let at = this.#begin(8 + debug.length, FrameType.goAway, 0, 0);
    const { bytes } = this.#output;
    at = writeUint32(bytes, at, lastStreamId);
    at = writeUint32(bytes, at, code);
    this.#output.length = at + debug.copy(bytes, at);
  }

  /**
   * HEADERS, with CONTINUATION where the block is larger than a frame. Encoded at the moment of writing: the peer's table must see
   * every block, in this order.
   */
  headers(streamId: number, block: HeaderBlock, endStream: boolean): void {
    const output = this.#output;
    const bound = this.#encoder.boundBytes(block);
    output.reserve(bound + frameHeaderBytes * (2 + Math.ceil(bound / defaultFrameBytes)));
    const frame = output.length;
    const start = frame + frameHeaderBytes;
    const end = this.#encoder.encode(block, output.bytes, start);
    const flags = endStream ? Flag.endStream : 0;
    if (end - start <= defaultFrameBytes) {
      writeFrameHeader(output.bytes, frame, end - start, FrameType.headers, flags | Flag.endHeaders, streamId);
      output.length = end;
    } else output.length = this.#split(streamId, frame, start, end, flags);
  }

  /** The next block has to come from `headers`: it owes the peer a table size update. */
  get owesTableSize(): boolean {
    return this.#encoder.owesTableSize;
  }

  /** HEADERS that end the stream, with a block that `encodePlainBlock` made. */
  plainHeaders(streamId: number, block: Uint8Array): void {
    const at = this.#begin(block.length, FrameType.headers, Flag.endHeaders | Flag.endStream, streamId);
    this.#output.bytes.set(block, at);
    this.#output.length = at + block.length;
  }

  #split(streamId: number, frame: number, start: number, end: number, flags: number): number {
    const { bytes } = this.#output;
    const encoded = Buffer.from(bytes.subarray(start, end));
    let at = frame;
    for (let from = 0; from < encoded.length; from += defaultFrameBytes) {
      const count = Math.min(defaultFrameBytes, encoded.length - from);
      const last = from + count === encoded.length ? Flag.endHeaders : 0;
      const type = from === 0 ? FrameType.headers : FrameType.continuation;
      at = writeFrameHeader(bytes, at, count, type, (from === 0 ? flags : 0) | last, streamId);
      encoded.copy(bytes, at, from, from + count);
      at += count;
    }
    return at;
  }

  /** Makes room, writes the frame's header, and returns where the payload goes. */
  #begin(length: number, type: number, flags: number, streamId: number): number {
    const output = this.#output;
    output.reserve(frameHeaderBytes + length);
    return writeFrameHeader(output.bytes, output.length, length, type, flags, streamId);
  }
}
