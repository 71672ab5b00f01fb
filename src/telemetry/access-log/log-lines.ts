/** Lines are gathered into pieces of this size; a longer line has a piece of its own. */
export const pieceBytes = 64 * 1_024;
const newline = 0x0a;
const sparePieces = 2;

/** Some lines that are written together. */
export interface LinePiece {
  readonly bytes: Buffer;
  /** End of what is filled, and of what is written. */
  filled: number;
  written: number;
  lines: number;
}

/** Lines that wait to be written, in the order in which they came. The last piece is the one that is being filled. */
export class LogLines {
  readonly #pieces: LinePiece[] = [];
  readonly #spare: Buffer[] = [];
  /** Bytes that wait. */
  bytes = 0;
  lines = 0;

  /** Takes the first `length` bytes as a line. @returns whether a piece is full, so that it is worth writing now. */
  add(line: Buffer, length: number): boolean {
    let last = this.#pieces.at(-1);
    const full = last !== undefined && last.bytes.length - last.filled <= length;
    if (last === undefined || full) {
      last = this.#newPiece(length + 1);
      this.#pieces.push(last);
    }
    line.copy(last.bytes, last.filled, 0, length);
    last.filled += length;
    last.bytes[last.filled++] = newline;
    last.lines++;
    this.lines++;
    this.bytes += length + 1;
    return full;
  }

  get first(): LinePiece | undefined {
    return this.#pieces[0];
  }

  get isEmpty(): boolean {
    return this.#pieces.length === 0;
  }

  /** So many bytes of the first piece are written. @returns how many lines are, with these. */
  written(bytes: number): number {
    const first = this.#pieces[0] as LinePiece;
    first.written += bytes;
    this.bytes -= bytes;
    if (first.written < first.filled) return 0;
    this.#pieces.shift();
    if (first.bytes.length === pieceBytes && this.#spare.length < sparePieces) this.#spare.push(first.bytes);
    this.lines -= first.lines;
    return first.lines;
  }

  /** Leaves out the rest of a line of which another file has the beginning. @returns whether there was one. */
  dropHalfLine(): boolean {
    const first = this.#pieces[0];
    if (first === undefined || first.written === 0 || first.bytes[first.written - 1] === newline) return false;
    const rest = first.bytes.indexOf(newline, first.written) + 1 - first.written;
    first.lines--;
    this.lines--;
    this.written(rest);
    return true;
  }

  /** Gives up. @returns lines that were not written. */
  clear(): number {
    const { lines } = this;
    this.#pieces.length = 0;
    this.bytes = 0;
    this.lines = 0;
    return lines;
  }

  #newPiece(most: number): LinePiece {
    const bytes = most > pieceBytes ? Buffer.allocUnsafeSlow(most) : (this.#spare.pop() ?? Buffer.allocUnsafeSlow(pieceBytes));
    return { bytes, filled: 0, written: 0, lines: 0 };
  }
}
