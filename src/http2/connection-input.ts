import type { Duplex } from 'node:stream';
import type { Engine } from './engine.ts';
import { type FrameReader, unlimitedWork } from './frame-reader.ts';
import type { InputTurns, WaitingInput } from './input-turns.ts';

/** What reads the bytes. */
export interface InputReader {
  readonly engine: Engine;
  readonly role: 'client' | 'server';
  readonly socket: Duplex;
  readonly closed: boolean;
  /** Reads `bytes` from `from` on, until its frames have no work left, and returns how far it came. */
  readInput(bytes: Uint8Array, from: number): number;
}

/** Work of one connection in one round: about a millisecond. Answers end work that was begun, and one upstream connection has those of many clients. */
const serverShare = 4_096;
const clientShare = 16_384;
/** A late turn still reads what is as small as a few calls. */
const smallChunkBytes = 1_024;
/** Who sent so much at once has more. */
const largeChunkBytes = 32 * 1024;

/**
 * Bytes between a connection's socket and its frames: as a rule they are read as they come. Who has used up the share of this round waits, and
 * its socket is not read meanwhile, so that TCP slows down who sends more than can be done.
 */
export class ConnectionInput implements WaitingInput {
  round = -1;
  readonly #reader: InputReader;
  readonly #frames: FrameReader;
  readonly #turns: InputTurns;
  readonly #share: number;
  /** What waits; the first chunk from `#offset` on. */
  readonly #chunks: Uint8Array[] = [];
  #offset = 0;
  #stopped = false;

  constructor(reader: InputReader, frames: FrameReader) {
    this.#reader = reader;
    this.#frames = frames;
    this.#turns = reader.engine.turns;
    this.#share = reader.role === 'server' ? serverShare : clientShare;
  }

  /** Bytes have come, in an event that has begun. */
  receive(bytes: Uint8Array): void {
    const reader = this.#reader;
    const turns = this.#turns;
    reader.engine.beginTurn();
    if (this.#chunks.length > 0) {
      this.#chunks.push(bytes);
      this.#stop();
      return;
    }
    if (this.round !== turns.round) {
      this.round = turns.round;
      this.#frames.workLeft = this.#share;
    }
    let at = 0;
    if (this.#frames.workLeft > 0) {
      if (turns.isLate && bytes.length > smallChunkBytes && reader.role === 'server') this.round = -1;
      else at = reader.readInput(bytes, 0);
    }
    if (at < bytes.length && !reader.closed) this.#hold(bytes, at);
  }

  /** InputTurns. */
  serve(): void {
    const reader = this.#reader;
    if (reader.closed) return;
    this.round = this.#turns.round;
    this.#frames.workLeft = this.#share;
    this.#read();
    if (reader.closed) return;
    if (this.#chunks.length > 0) this.#turns.add(this);
    else this.#start();
  }

  /** The peer has closed its side: what it said before counts. */
  finish(): void {
    this.#frames.workLeft = unlimitedWork;
    this.#read();
  }

  /** The connection has ended: nothing that waits is read any more. The socket is, until its end. */
  close(): void {
    this.#chunks.length = 0;
    this.#start();
  }

  #read(): void {
    const reader = this.#reader;
    const chunks = this.#chunks;
    while (chunks.length > 0 && this.#frames.workLeft > 0 && !reader.closed) {
      const chunk = chunks[0] as Uint8Array;
      this.#offset = reader.readInput(chunk, this.#offset);
      // It may have been closed by what was read.
      if (chunks.length === 0 || this.#offset < chunk.length) return;
      this.#offset = 0;
      chunks.shift();
    }
  }

  #hold(bytes: Uint8Array, at: number): void {
    this.#chunks.push(bytes);
    this.#offset = at;
    if (bytes.length >= largeChunkBytes) this.#stop();
    this.#turns.add(this);
  }

  #stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    stopReading(this.#reader.socket);
  }

  #start(): void {
    if (!this.#stopped) return;
    this.#stopped = false;
    startReading(this.#reader.socket);
  }
}

interface SocketHandle {
  readStop(): void;
  readStart(): void;
}

const handleOf = (socket: Duplex): Partial<SocketHandle> | undefined =>
  (socket as { _handle?: Partial<SocketHandle> })._handle ?? undefined;

/**
 * `pause` reads one chunk more before it takes effect, 64 KiB for each of a thousand connections that send too much; the handle beneath the socket stops
 * at once. Node does not look at it while the socket flows.
 */
const stopReading = (socket: Duplex): void => {
  const handle = handleOf(socket);
  if (handle?.readStop !== undefined) handle.readStop();
  else socket.pause();
};

const startReading = (socket: Duplex): void => {
  if (socket.destroyed) return;
  const handle = handleOf(socket);
  if (handle?.readStart !== undefined) handle.readStart();
  else socket.resume();
};
