import type { AttributeSink, FinishedSpan } from './call-span.ts';

const firstBytes = 16 * 1_024;
const mostKeptBytes = 64 * firstBytes;
/** A character of a string takes no more bytes of UTF-8 than this. */
const mostBytesOfCharacter = 3;

/** Texts below this are written character by character: a call into the system costs more. A byte holds their length in any format. */
const shortText = 64;

/**
 * Writes spans, one after the other and each in one pass, as whoever takes them has them. The libraries' own way makes a tree of objects
 * first: many times the time, and a heap full of what it leaves behind.
 */
export abstract class SpanOutput implements AttributeSink {
  protected bytes: Buffer = Buffer.allocUnsafe(firstBytes);
  /** Where the next byte goes. */
  protected at = 0;

  abstract span(span: FinishedSpan): void;
  /** One of the span that is being written. */
  abstract attribute(key: string, value: string | number | boolean): void;

  /** Bytes since they were taken, moved or dropped for the last time. */
  get length(): number {
    return this.at;
  }

  /** A copy of what was written since the last time. */
  take(): Uint8Array {
    const written = Uint8Array.prototype.slice.call(this.bytes, 0, this.at);
    this.clear();
    return written;
  }

  /** Moves what was written since the last time to `to`, where there is room for it. */
  moveTo(to: Buffer, at: number): void {
    this.bytes.copy(to, at, 0, this.at);
    this.clear();
  }

  /** Drops what was written since the last time. */
  clear(): void {
    this.at = 0;
    if (this.bytes.length > mostKeptBytes) this.bytes = Buffer.allocUnsafe(firstBytes);
  }

  /** What was written already. */
  written(bytes: Buffer, start: number, end: number): void {
    this.reserve(end - start);
    bytes.copy(this.bytes, this.at, start, end);
    this.at += end - start;
  }

  /** A copy of what stands from `start` to the end. */
  protected since(start: number): Buffer {
    return Buffer.from(this.bytes.subarray(start, this.at));
  }

  protected reserve(bytes: number): void {
    if (this.at + bytes <= this.bytes.length) return;
    const grown = Buffer.allocUnsafe(Math.max(2 * this.bytes.length, this.at + bytes));
    this.bytes.copy(grown, 0, 0, this.at);
    this.bytes = grown;
  }

  /** 32 bits, the highest first; what is above them is left out. Room is there already. */
  protected word(word: number): void {
    const { bytes } = this;
    bytes[this.at++] = word >>> 24;
    bytes[this.at++] = (word >>> 16) & 0xff;
    bytes[this.at++] = (word >>> 8) & 0xff;
    bytes[this.at++] = word & 0xff;
  }

  /** Writes `text` at `at` where it is short and ASCII, with `at + text.length` bytes of room: false where it is not. */
  protected shortText(text: string, at: number): boolean {
    const { length } = text;
    if (length >= shortText) return false;
    const { bytes } = this;
    for (let i = 0; i < length; i++) {
      const code = text.charCodeAt(i);
      if (code > 0x7f) return false;
      bytes[at + i] = code;
    }
    return true;
  }

  /** Room for `text`, and `before` bytes. */
  protected reserveText(text: string, before: number): void {
    this.reserve(before + mostBytesOfCharacter * text.length);
  }
}
