import type { ReadStream, WriteStream } from 'node:tty';

const enter = '\x1b[?1049h\x1b[?25l';
const leave = '\x1b[?25h\x1b[?1049l';
// Terminals that know synchronized output show a frame whole; others ignore the mark.
const beginFrame = '\x1b[?2026h\x1b[H';
const endFrame = '\x1b[J\x1b[?2026l';

/** A screen of its own on a terminal: drawn in place, and gone without a trace when closed. Key presses come one by one. */
export class Terminal {
  readonly #input: ReadStream;
  readonly #output: WriteStream;
  readonly #onKey: (key: string) => void;
  #open = false;

  constructor(input: ReadStream, output: WriteStream, onKey: (key: string) => void) {
    this.#input = input;
    this.#output = output;
    this.#onKey = onKey;
  }

  get columns(): number {
    return this.#output.columns || 80;
  }

  get rows(): number {
    return this.#output.rows || 24;
  }

  open(): void {
    this.#open = true;
    this.#output.write(enter);
    if (!this.#input.isTTY) return;
    this.#input.setRawMode(true);
    this.#input.on('data', this.#onData);
    this.#input.resume();
  }

  draw(lines: readonly string[]): void {
    if (!this.#open) return;
    // Each line is cleared behind its end instead of the screen before the frame: that would flicker.
    this.#output.write(`${beginFrame}${lines.map((line) => `${line}\x1b[K`).join('\r\n')}${endFrame}`);
  }

  /** Gives the terminal back as it was. Idempotent. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    if (this.#input.isTTY) {
      this.#input.off('data', this.#onData);
      this.#input.setRawMode(false);
      this.#input.pause();
    }
    this.#output.write(leave);
  }

  readonly #onData = (data: Buffer): void => {
    for (const key of data.toString('latin1')) this.#onKey(key);
  };
}
