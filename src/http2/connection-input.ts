import type { Duplex } from 'node:stream';
import { Deadline } from '../core/index.ts';
import type { Engine } from './engine.ts';
import { type FrameReader, unlimitedWork } from './frame-reader.ts';
import { HeldInput } from './held-input.ts';
import { InputDelay } from './input-delay.ts';
import type { InputTurns, WaitingInput } from './input-turns.ts';
import type { RequestShedding } from './request-shedding.ts';
import { startReading, stopReading } from './socket-input.ts';

/** What reads the bytes. */
export interface InputReader {
  readonly engine: Engine;
  readonly role: 'client' | 'server';
  readonly socket: Duplex;
  readonly closed: boolean;
  /** Asks the peer for a sign that will stand behind everything that it has sent; `onDelayAnswered` hears of it. */
  askDelay(): void;
  /** Reads `bytes[from, end)` until its frames have no work left, and returns how far it came. */
  readInput(bytes: Buffer, from: number, end: number): number;
}

/** Work of one connection in one round: a few dozen calls. An upstream connection has as much in each turn. */
const serverShare = 1_024;
const answersShare = 16_384;
/** A late turn still reads a few calls of each connection. */
const smallWork = 100;
/** Who sent so much at once has more. */
const largeChunkBytes = 32 * 1024;
/** Node reads as much at once. */
const largestReadBytes = 64 * 1024;
const greedyForMs = 1_000;
/** Short beside the delay that is allowed, and long enough for a few dozen calls: what a read and a write cost is shared by them. */
const restMs = 50;

/**
 * Bytes between a connection's socket and its frames: as a rule they are read as they come. Who has used up the share of this round waits, and
 * its socket is not read meanwhile, so that TCP slows down who sends more than can be done.
 */
export class ConnectionInput implements WaitingInput {
  readonly #deadline = new Deadline(this);
  round = -1;
  readonly answers: boolean;
  readonly #reader: InputReader;
  readonly #frames: FrameReader;
  readonly #turns: InputTurns;
  readonly #share: number;
  /** What waits. */
  readonly #held: HeldInput;
  #stopped = false;
  #stopAsked = false;
  /** Since the socket was last started, or in this round. */
  #takenBytes = 0;
  #heldSinceMs = 0;
  #exhaustedAtMs = Number.NEGATIVE_INFINITY;
  readonly #delay: InputDelay | undefined;

  /** @param shedding hears how long input waits. */
  constructor(reader: InputReader, frames: FrameReader, shedding?: RequestShedding) {
    this.#delay = shedding === undefined ? undefined : new InputDelay(reader, shedding);
    this.#reader = reader;
    this.#held = new HeldInput(reader.engine);
    this.#frames = frames;
    this.#turns = reader.engine.turns;
    this.answers = reader.role === 'client';
    this.#share = this.answers ? answersShare : serverShare;
  }

  /** `bytes[0, end)` have come, in an event that has begun; what is not read at once is copied. */
  receive(bytes: Buffer, end: number): void {
    const reader = this.#reader;
    const turns = this.#turns;
    reader.engine.beginTurn();
    this.#takenBytes += end;
    if (this.#stopAsked && this.#takenBytes >= largestReadBytes) this.#stopNow();
    if (!this.#held.isEmpty) {
      this.#held.append(bytes, 0, end);
      this.#stop();
      return;
    }
    const round = this.answers ? turns.turn : turns.round;
    if (this.round !== round) {
      this.round = round;
      this.#frames.workLeft = this.#share;
      this.#takenBytes = end;
    }
    const delay = this.#delay;
    const more = end >= largeChunkBytes;
    if (delay !== undefined && (more || delay.active)) delay.observe(0, more, this.#isGreedy);
    const at =
      turns.isLate && !this.answers ? this.#readLittle(bytes, end) : this.#frames.workLeft > 0 ? reader.readInput(bytes, 0, end) : 0;
    if (at < end && !reader.closed) this.#hold(bytes, at, end);
    if (this.#frames.workLeft <= 0) this.#exhaustedAtMs = reader.engine.nowMs;
    this.#rest();
  }

  /** How long what is read now has waited, as far as that is known (ms). */
  get delayMs(): number {
    return this.#delay?.delayMs ?? 0;
  }

  /** The rest is over. */
  expire(): void {
    if (this.#held.isEmpty && !this.#reader.closed) this.#start();
  }

  /** The sign that `askDelay` asked for has come. */
  onDelayAnswered(): void {
    this.#delay?.onAnswer();
  }

  /** InputTurns. */
  serve(): void {
    const reader = this.#reader;
    if (reader.closed) return;
    this.round = this.answers ? this.#turns.turn : this.#turns.round;
    this.#frames.workLeft = this.#share;
    this.#delay?.observe(reader.engine.nowMs - this.#heldSinceMs, true, this.#isGreedy);
    this.#read();
    if (reader.closed) return;
    if (this.#frames.workLeft <= 0) this.#exhaustedAtMs = reader.engine.nowMs;
    if (!this.#held.isEmpty) this.#wait();
    else if (!this.#rest()) this.#start();
  }

  /** The peer has closed its side: what it said before counts. */
  finish(): void {
    this.#frames.workLeft = unlimitedWork;
    this.#read();
  }

  /** The connection has ended: nothing that waits is read any more. The socket is, until its end. */
  close(): void {
    this.#reader.engine.wheel.cancel(this.#deadline);
    this.#held.clear();
    this.#start();
  }

  /**
   * Bytes for a connection that has ended: read, since a socket that is closed before they are would take back our last words, but no more in a turn than Node
   * reads at once. By itself it would read 32 times as much of whoever floods it, while all others wait.
   */
  discard(bytes: number): void {
    this.#takenBytes += bytes;
    if (this.#stopped || this.#takenBytes < largestReadBytes) return;
    this.#stopNow();
    this.#turns.hearOfTurnEnd(this);
    this.#reader.engine.beginTurn();
  }

  #read(): void {
    const held = this.#held;
    while (!held.isEmpty && this.#frames.workLeft > 0 && !this.#reader.closed) if (!held.read(this.#readInput)) return;
  }

  readonly #readInput = (bytes: Buffer, start: number, end: number): number => this.#reader.readInput(bytes, start, end);

  /**
   * A socket that is read for each call costs more than the call. Where calls have to be refused anyway, they are left to gather for a moment, as a network
   * card does with packets: that makes time for others.
   */
  #rest(): boolean {
    const { closed, engine } = this.#reader;
    if (closed || !this.#held.isEmpty || !this.#delay?.refusing) return false;
    this.#stop();
    engine.wheel.arm(this.#deadline, engine.nowMs + restMs);
    return true;
  }

  /** It has wanted more than its share of a round lately: who has not may wait because others do, or because the process stood still. */
  get #isGreedy(): boolean {
    return this.#reader.engine.nowMs - this.#exhaustedAtMs < greedyForMs;
  }

  /** What is small is read even in a late turn. Whoever wants more stands in the line of this round. */
  #readLittle(bytes: Buffer, end: number): number {
    const frames = this.#frames;
    const allowed = smallWork - (this.#share - frames.workLeft);
    if (allowed <= 0) return 0;
    const kept = frames.workLeft - allowed;
    frames.workLeft = allowed;
    const at = this.#reader.readInput(bytes, 0, end);
    frames.workLeft += kept;
    if (at < end) this.round = -1;
    return at;
  }

  #hold(bytes: Buffer, at: number, end: number): void {
    this.#held.append(bytes, at, end);
    if (end >= largeChunkBytes) this.#stop();
    this.#wait();
  }

  #wait(): void {
    this.#heldSinceMs = this.#reader.engine.nowMs;
    this.#turns.add(this);
  }

  /** Behind TLS a socket is read in pieces of 16 KiB and less: as much as is read at once without, or as comes in this turn, is taken before it rests. */
  #stop(): void {
    if (this.#stopped || this.#stopAsked) return;
    if (this.#takenBytes >= largestReadBytes) this.#stopNow();
    else {
      this.#stopAsked = true;
      this.#turns.hearOfTurnEnd(this);
    }
  }

  /** InputTurns. */
  onTurnEnd(): void {
    if (this.#reader.closed) this.#start();
    else if (this.#stopAsked) this.#stopNow();
  }

  #stopNow(): void {
    this.#stopAsked = false;
    this.#stopped = true;
    stopReading(this.#reader.socket);
  }

  #start(): void {
    this.#stopAsked = false;
    this.#takenBytes = 0;
    if (!this.#stopped) return;
    this.#stopped = false;
    startReading(this.#reader.socket);
  }
}
