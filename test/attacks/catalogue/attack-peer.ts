import type { Duplex } from 'node:stream';
import { HeaderBlock } from '../../../src/http2/header-block.ts';
import { HpackDecoder } from '../../../src/http2/hpack/decoder.ts';
import { ACK, END_HEADERS, END_STREAM, frame, PADDED, Type, uint32 } from '../../http2/raw-peer.ts';
import type { Seen } from './attack.ts';

/** A limit for a failure, not a pause. */
const patienceMs = 20_000;
const roundTripMark = Buffer.from('attacker');

interface Waiter {
  readonly condition: () => boolean;
  readonly resolve: () => void;
}

/**
 * The attacker's end of one connection. Unlike the raw peer of the engine's tests it keeps no frames, only what they amount to, and waits for
 * events instead of looking again: an attacker that burns the core of the neighbour would measure itself.
 */
export class AttackPeer {
  readonly socket: Duplex;
  bytesSent = 0;
  goAway: { readonly code: number; readonly debug: string } | undefined;
  ended = false;
  /** Code of the reset of each stream. */
  readonly resets = new Map<number, number>();
  /** Reason, or status, of each stream that was answered. */
  readonly replies = new Map<number, string>();
  /** DATA received: all of it, and by stream. */
  dataBytes = 0;
  readonly dataOf = new Map<number, number>();
  pingAcks = 0;
  /** What came while nobody said the preface: HTTP/1 and TLS alerts. */
  text = '';
  /** Told of each answer, which is then not kept. */
  onReply: ((id: number, reply: string) => void) | undefined;
  /** Gives credit for DATA at once. */
  credits = false;
  /** Streams that are to be answered or reset. */
  readonly calls = new Set<number>();
  #marks = 0;
  #rest: Buffer = Buffer.alloc(0);
  #block: Buffer[] = [];
  #saidPreface = false;
  readonly #decoder = new HpackDecoder();
  readonly #header = new HeaderBlock();
  readonly #waiters = new Set<Waiter>();

  constructor(socket: Duplex) {
    this.socket = socket;
    socket.on('data', (bytes: Buffer) => {
      if (this.#saidPreface) this.#read(bytes);
      else this.text += bytes.toString('latin1').slice(0, 1_000);
      this.#look();
    });
    const end = (): void => {
      this.ended = true;
      this.#look();
    };
    socket.on('error', end);
    socket.on('end', end);
    socket.on('close', end);
  }

  preface(settings: readonly (readonly [id: number, value: number])[] = []): void {
    this.#saidPreface = true;
    this.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
    this.settings(settings);
  }

  settings(settings: readonly (readonly [id: number, value: number])[]): void {
    const entries = settings.map(([id, value]) => Buffer.concat([Buffer.from([id >> 8, id & 255]), uint32(value)]));
    this.send(Type.SETTINGS, 0, 0, Buffer.concat(entries));
  }

  write(bytes: Uint8Array | string): void {
    if (this.ended) return;
    this.bytesSent += bytes.length;
    this.socket.write(bytes);
  }

  send(type: number, flags: number, id: number, payload?: Uint8Array): void {
    this.write(frame(type, flags, id, payload));
  }

  headers(id: number, block: Buffer, flags: number = END_HEADERS | END_STREAM): void {
    this.send(Type.HEADERS, flags, id, block);
  }

  data(id: number, bytes: Uint8Array, endStream = false): void {
    this.send(Type.DATA, endStream ? END_STREAM : 0, id, bytes);
  }

  /** Empty but for its padding. */
  paddingOnly(id: number): void {
    this.send(Type.DATA, PADDED, id, Buffer.concat([Buffer.from([9]), Buffer.alloc(9)]));
  }

  windowUpdate(id: number, increment: number): void {
    this.send(Type.WINDOW_UPDATE, 0, id, uint32(increment));
  }

  reset(id: number, code = 8): void {
    this.send(Type.RST_STREAM, 0, id, uint32(code));
  }

  /** Writes no more than the kernel takes, until it is all gone or the other side has ended. */
  async flood(bytes: Buffer, times = 1): Promise<void> {
    const piece = 65_536;
    for (let round = 0; round < times && !this.ended; round++) {
      for (let at = 0; at < bytes.length && !this.ended; at += piece) {
        const part = bytes.subarray(at, at + piece);
        this.bytesSent += part.length;
        if (this.socket.write(part)) continue;
        // Somebody who reads nothing may never be drained: the other side gives up, which is what is waited for.
        await new Promise<void>((resolve) => {
          const timer = setTimeout(done, 2_000);
          const { socket } = this;
          function done(): void {
            clearTimeout(timer);
            socket.off('drain', done);
            socket.off('close', done);
            resolve();
          }
          socket.on('drain', done);
          socket.on('close', done);
        });
      }
      // What the other side says meanwhile is heard.
      if (round % 16 === 15) await new Promise((resolve) => setImmediate(resolve));
    }
  }

  stopReading(): void {
    this.socket.pause();
  }

  read(): void {
    this.socket.resume();
  }

  /** Resolves when it holds or the connection has ended; rejects when neither comes. */
  async until(condition: () => boolean, what: string): Promise<void> {
    if (this.ended || condition()) return;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiter = { condition, resolve };
    this.#waiters.add(waiter);
    const timer = setTimeout(() => reject(new Error(`never came: ${what}`)), patienceMs);
    try {
      await promise;
    } finally {
      clearTimeout(timer);
      this.#waiters.delete(waiter);
    }
  }

  /** Everything sent so far was read by the other side, or it has ended. */
  async roundTrip(): Promise<void> {
    const before = this.#marks;
    this.send(Type.PING, 0, 0, roundTripMark);
    await this.until(() => this.#marks > before, 'the acknowledgement of a PING');
  }

  /** All calls have their answer or reset. */
  async answered(): Promise<void> {
    await this.until(() => [...this.calls].every((id) => this.replies.has(id) || this.resets.has(id)), 'the answers of all calls');
  }

  /** The other side has ended the connection. */
  async end(): Promise<void> {
    await this.until(() => false, 'the end of the connection');
  }

  /** What came of it: of a connection that lives, after it has answered a PING. */
  async outcome(): Promise<Seen> {
    if (!this.ended) await this.roundTrip();
    if (this.goAway !== undefined && !this.ended) await this.end();
    const seen = this.seen();
    this.close();
    return seen;
  }

  seen(): Seen {
    const resets = new Map<number, number>();
    for (const [id, code] of this.resets) {
      if (code !== 0 || !this.replies.has(id)) resets.set(code, (resets.get(code) ?? 0) + 1);
    }
    const replies = new Map<string, number>();
    for (const reply of this.replies.values()) replies.set(reply, (replies.get(reply) ?? 0) + 1);
    return { goAway: this.goAway, closed: this.ended, resets, replies, calls: this.calls.size };
  }

  close(): void {
    this.socket.destroy();
  }

  #look(): void {
    for (const waiter of this.#waiters) if (this.ended || waiter.condition()) waiter.resolve();
  }

  #read(bytes: Buffer): void {
    let rest = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    while (rest.length >= 9) {
      const length = rest.readUIntBE(0, 3);
      if (rest.length < 9 + length) break;
      this.#onFrame(rest[3] as number, rest[4] as number, rest.readUInt32BE(5), rest.subarray(9, 9 + length));
      rest = rest.subarray(9 + length);
    }
    this.#rest = rest.length === 0 ? rest : Buffer.from(rest);
  }

  #onFrame(type: number, flags: number, id: number, payload: Buffer): void {
    if (type === Type.HEADERS || type === Type.CONTINUATION) this.#onBlock(flags, id, payload);
    else if (type === Type.DATA) this.#onData(id, payload.length);
    else if (type === Type.RST_STREAM) this.resets.set(id, payload.readUInt32BE(0));
    else if (type === Type.GOAWAY) this.goAway = { code: payload.readUInt32BE(4), debug: payload.subarray(8).toString('latin1') };
    else if (type === Type.SETTINGS && (flags & ACK) === 0) this.send(Type.SETTINGS, ACK, 0);
    else if (type === Type.PING) {
      if ((flags & ACK) === 0) this.send(Type.PING, ACK, 0, payload);
      else {
        this.pingAcks++;
        if (payload.equals(roundTripMark)) this.#marks++;
      }
    }
  }

  #onData(id: number, length: number): void {
    this.dataBytes += length;
    this.dataOf.set(id, (this.dataOf.get(id) ?? 0) + length);
    if (!this.credits || length === 0) return;
    this.windowUpdate(0, length);
    this.windowUpdate(id, length);
  }

  #onBlock(flags: number, id: number, payload: Buffer): void {
    this.#block.push(payload);
    if ((flags & END_HEADERS) === 0) return;
    const bytes = this.#block.length === 1 ? payload : Buffer.concat(this.#block);
    this.#block = [];
    const header = this.#header;
    header.reset();
    this.#decoder.decode(bytes, 0, bytes.length, header, 1_000, 1e9);
    const fields = new Map(header.toPairs());
    const status = fields.get('grpc-status');
    const http = fields.get(':status') ?? '200';
    if (status === undefined && http === '200') return;
    const said = status === undefined ? `http ${http}` : status === '0' ? 'ok' : (fields.get('x-outrider-reason') ?? `status ${status}`);
    if (this.onReply === undefined) this.replies.set(id, said);
    else this.onReply(id, said);
  }
}
