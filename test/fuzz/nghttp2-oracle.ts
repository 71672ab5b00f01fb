import http2 from 'node:http2';
import { type Duplex, duplexPair } from 'node:stream';
import { readFrames, wireFrame, writeFrame, writeFrames } from './wire-frames.ts';

/** What nghttp2 makes of some header blocks. */
export interface OracleAnswer {
  /** A block could not be decoded; of the blocks before it not all may be told any more. */
  readonly connectionRefused: boolean;
  /** Fields by number of the block; `undefined` where the message was refused, or nothing was told. */
  readonly fields: readonly (readonly (readonly [name: string, value: string])[] | undefined)[];
}

const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
const [headers, rstStream, settings, ping, goAway] = [1, 3, 4, 6, 7] as const;
const endStream = 1;
const endHeaders = 4;
const fieldsLimit = 100_000;
/** `:method: GET`, `:scheme: http`, `:path: /` and `:authority: a`, by the static table alone. */
const request = Buffer.from([0x82, 0x86, 0x84, 0x01, 0x01, 0x61]);

/** Decodes header blocks with nghttp2: a server of `node:http2` is sent each as the trailers of a request of its own, on one connection. */
export class Nghttp2Oracle {
  readonly #server = http2.createServer({ maxHeaderListPairs: fieldsLimit, settings: { maxHeaderListSize: 0x7fff_ffff } });
  #heard = new Map<number, readonly (readonly [string, string])[]>();

  constructor() {
    const stream = (one: http2.ServerHttp2Stream): void => {
      one.on('error', () => {});
      one.on('trailers', (_fields: unknown, _flags: number, raw?: readonly string[]) => {
        this.#heard.set(one.id as number, pairs(raw ?? []));
      });
      one.resume();
    };
    this.#server.on('session', (session) => session.on('error', () => {}));
    this.#server.on('sessionError', () => {});
    this.#server.on('stream', stream);
  }

  async decode(blocks: readonly Buffer[]): Promise<OracleAnswer> {
    const [socket, serverSocket] = duplexPair();
    this.#heard = new Map();
    const seen = new Watcher(socket);
    this.#server.emit('connection', serverSocket);
    const frames = blocks.flatMap((block, i) => [
      wireFrame(headers, endHeaders, 1 + 2 * i, request),
      wireFrame(headers, endHeaders | endStream, 1 + 2 * i, block),
    ]);
    const mark = wireFrame(ping, 0, 0, Buffer.from('the mark'));
    socket.write(Buffer.concat([preface, writeFrame(wireFrame(settings, 0, 0, Buffer.alloc(0))), writeFrames([...frames, mark])]));
    await seen.end;
    // What nghttp2 has read it may not have told yet.
    const told = () => blocks.every((_, i) => this.#heard.has(1 + 2 * i) || seen.resets.has(1 + 2 * i));
    for (let turn = 0; turn < 100 && !seen.refused && !told(); turn++) await new Promise((resolve) => setImmediate(resolve));
    socket.destroy();
    serverSocket.destroy();
    return { connectionRefused: seen.refused, fields: blocks.map((_, i) => this.#heard.get(1 + 2 * i)) };
  }
}

/** What the server says: resets, the end of the connection, or the acknowledgement that all has been read. */
class Watcher {
  readonly resets = new Set<number>();
  refused = false;
  readonly end: Promise<void>;

  constructor(socket: Duplex) {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.end = promise;
    let rest = Buffer.alloc(0);
    socket.on('error', () => {});
    socket.on('close', () => {
      this.refused = true;
      resolve();
    });
    socket.on('data', (bytes: Buffer) => {
      const read = readFrames(Buffer.concat([rest, bytes]));
      rest = Buffer.from(read.rest);
      for (const { type, flags, id, payload } of read.frames) {
        if (type === rstStream) this.resets.add(id);
        else if (type === goAway && payload.readUInt32BE(4) !== 0) {
          this.refused = true;
          resolve();
        } else if (type === ping && (flags & 1) !== 0) resolve();
      }
    });
  }
}

const pairs = (raw: readonly string[]): (readonly [string, string])[] =>
  Array.from({ length: raw.length / 2 }, (_, i) => [raw[2 * i] as string, raw[2 * i + 1] as string]);
