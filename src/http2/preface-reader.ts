import { clientPreface } from './frames.ts';

/** What a client said that did not begin with the preface. */
export interface ForeignGreeting {
  /** The answer in the client's own language, where it speaks HTTP/1: whoever points a browser here learns what is wrong. */
  readonly answer: string | undefined;
}

const helpText = 'This port speaks gRPC over HTTP/2 only. Use a gRPC client with prior knowledge of HTTP/2 (h2c) or TLS with ALPN h2.\n';
const http1Answer = `HTTP/1.1 505 HTTP Version Not Supported\r\nconnection: close\r\ncontent-type: text/plain\r\ncontent-length: ${helpText.length}\r\n\r\n${helpText}`;
const longestGreetingBytes = 64;

/** Checks that a client begins as HTTP/2 does (RFC 9113 3.4), however its bytes are split. */
export class PrefaceReader {
  #matched: number;

  /** @param expected false where we are the client: a server sends no such preface. */
  constructor(expected: boolean) {
    this.#matched = expected ? 0 : clientPreface.length;
  }

  get complete(): boolean {
    return this.#matched === clientPreface.length;
  }

  /** Returns the offset behind the preface's part in `bytes[0, end)`, or what was said instead. */
  read(bytes: Buffer, end: number): number | ForeignGreeting {
    const begins = this.#matched === 0;
    let at = 0;
    while (at < end && !this.complete) {
      if (bytes[at] !== clientPreface[this.#matched]) return { answer: begins && isHttp1(bytes, end) ? http1Answer : undefined };
      at++;
      this.#matched++;
    }
    return at;
  }
}

const isHttp1 = (bytes: Buffer, end: number): boolean => {
  const beginning = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(end, longestGreetingBytes)).toString('latin1');
  return /^(?!PRI )[A-Z]{3,10} ([/*]|http)/.test(beginning);
};
