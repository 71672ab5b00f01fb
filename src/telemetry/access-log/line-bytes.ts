import { jsonText } from './log-text.ts';

const initialBytes = 2_048;
/** Most characters are one byte, none is more than three; escaped as `\uXXXX` one is six. */
const mostBytesOfCharacter = 6;
const keptBytes = 65_536;
const quote = 0x22;
const backslash = 0x5c;
const blank = 0x20;
const tilde = 0x7e;

/**
 * The line that is being made, as bytes: the same memory for one line after another. Putting a line together as a string and writing that
 * would cost twice as much, most of it for the garbage.
 */
export class LineBytes {
  bytes: Buffer = Buffer.allocUnsafeSlow(initialBytes);
  length = 0;

  /** Begins the next line. */
  clear(): void {
    this.length = 0;
    if (this.bytes.length > keptBytes) this.bytes = Buffer.allocUnsafeSlow(initialBytes);
  }

  /** Bytes as they are. */
  addConstant(constant: Uint8Array): void {
    const { length } = constant;
    this.#reserve(length);
    const { bytes } = this;
    let at = this.length;
    for (let i = 0; i < length; i++) bytes[at++] = constant[i] as number;
    this.length = at;
  }

  /** A JSON string with its quotes. */
  addQuoted(text: string): void {
    this.#reserve(text.length * mostBytesOfCharacter + 2);
    this.bytes[this.length++] = quote;
    this.addEscaped(text);
    this.#reserve(1);
    this.bytes[this.length++] = quote;
  }

  /** What stands between the quotes of a JSON string. */
  addEscaped(text: string): void {
    const { length } = text;
    this.#reserve(length * mostBytesOfCharacter);
    const { bytes } = this;
    let at = this.length;
    for (let i = 0; i < length; i++) {
      const code = text.charCodeAt(i);
      if (code < blank || code > tilde || code === quote || code === backslash) {
        this.length += bytes.write(jsonText(text).slice(1, -1), this.length, 'utf8');
        return;
      }
      bytes[at++] = code;
    }
    this.length = at;
  }

  /** Text of printable ASCII without quotes and backslashes, such as a number. */
  addAscii(text: string): void {
    const { length } = text;
    this.#reserve(length);
    const { bytes } = this;
    let at = this.length;
    for (let i = 0; i < length; i++) bytes[at++] = text.charCodeAt(i);
    this.length = at;
  }

  toString(): string {
    return this.bytes.toString('utf8', 0, this.length);
  }

  #reserve(more: number): void {
    const wanted = this.length + more;
    if (wanted <= this.bytes.length) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(2 * this.bytes.length, wanted));
    this.bytes.copy(grown, 0, 0, this.length);
    this.bytes = grown;
  }
}
