import type net from 'node:net';
import { Deadline } from '../core/index.ts';
import type { Engine } from '../http2/index.ts';
import type { ListenerStats } from './listener-stats.ts';

/** From accepting a connection to the end of its TLS handshake, waiting included. */
const newcomerTimeoutMs = 10_000;
/** On one listener. What a peer has sent by then lies in memory, up to some 100 KiB of it. */
const newcomersAtMost = 1_024;
/** One address never has all of the places. */
const newcomersPerSource = newcomersAtMost / 2;
/**
 * Handshakes begun in one turn of the event loop. Each costs about a millisecond of CPU: the calls of those who are connected already
 * are served between any two turns, however many newcomers wait.
 */
const handshakesPerTurn = 4;
const tlsHandshakeByte = 0x16;

export interface NewcomersContext {
  readonly engine: Engine;
  readonly stats: ListenerStats;
  /** Plain text is welcome too, and told apart by its first byte. */
  readonly plainTextAllowed: boolean;
  /** The process is short of time: one handshake in a turn is enough. */
  readonly isBusy: () => boolean;
  /** Begins the handshake; `settle` follows, or the end of the socket. */
  readonly beginTls: (socket: net.Socket) => void;
  /** Takes over a socket that speaks plain text, and what it said. */
  readonly onPlain: (socket: net.Socket, bytes: Buffer) => void;
  readonly onTooMany: (peer: string) => void;
  readonly onEmpty: () => void;
}

/** The error with which a socket ends whose handshake took too long; `code` is Node's own for it. */
class HandshakeTimeout extends Error {
  readonly code = 'ERR_TLS_HANDSHAKE_TIMEOUT';
}

/** The error with which a socket ends because the listener does. */
export class NewcomerDropped extends Error {}

class Newcomer {
  readonly deadline = new Deadline(this);
  readonly socket: net.Socket;
  readonly key: string;
  readonly source: string;
  /** The handshake has begun. */
  shaking = false;
  readonly #newcomers: Newcomers;

  constructor(newcomers: Newcomers, socket: net.Socket, key: string, source: string) {
    this.#newcomers = newcomers;
    this.socket = socket;
    this.key = key;
    this.source = source;
  }

  expire(): void {
    this.#newcomers.onTimeout(this);
  }

  readonly onReadable = (): void => this.#newcomers.onReadable(this);
}

/**
 * Connections that are none yet on a listener that speaks TLS: they have said nothing, wait for their handshake, or are in it. Who says
 * nothing costs a socket and a timer; a handshake begins only when its first bytes are there. Bounded in number, in time, and in how
 * much of the process's time they get.
 */
export class Newcomers {
  readonly #context: NewcomersContext;
  /** TLS hands on another object than the socket that was accepted: they have their addresses in common. */
  readonly #all = new Map<string, Newcomer>();
  readonly #bySource = new Map<string, number>();
  /** Those whose first bytes are there, oldest first. */
  readonly #waiting = new Set<Newcomer>();
  #pumping = false;

  constructor(context: NewcomersContext) {
    this.#context = context;
  }

  get size(): number {
    return this.#all.size;
  }

  /** Takes in a paused socket. One too many is closed at once. */
  add(socket: net.Socket): void {
    const { engine, stats } = this.#context;
    const source = socket.remoteAddress ?? '';
    const ofSource = this.#bySource.get(source) ?? 0;
    if (this.#all.size >= newcomersAtMost || ofSource >= newcomersPerSource) {
      stats.newcomersOverflow++;
      this.#context.onTooMany(source);
      socket.destroy();
      return;
    }
    const newcomer = new Newcomer(this, socket, keyOf(socket), source);
    // The same port of the same peer again: the earlier connection is gone, and its end only has not been heard of.
    const earlier = this.#all.get(newcomer.key);
    if (earlier !== undefined) this.#remove(earlier);
    this.#all.set(newcomer.key, newcomer);
    this.#bySource.set(source, ofSource + 1);
    stats.newcomersActive++;
    engine.wheel.arm(newcomer.deadline, engine.clock.now() + newcomerTimeoutMs);
    socket.once('close', () => this.#remove(newcomer));
    socket.on('readable', newcomer.onReadable);
  }

  /** The handshake over `socket` is complete: it is no newcomer any more. */
  settle(socket: net.Socket): void {
    const newcomer = this.#all.get(keyOf(socket));
    if (newcomer !== undefined) this.#remove(newcomer);
  }

  dropAll(): void {
    for (const { socket } of [...this.#all.values()]) socket.destroy(new NewcomerDropped());
  }

  onReadable(newcomer: Newcomer): void {
    const { plainTextAllowed, stats, onPlain } = this.#context;
    const { socket } = newcomer;
    const bytes: Buffer | null = socket.read();
    if (bytes === null) return;
    socket.removeListener('readable', newcomer.onReadable);
    if (bytes[0] !== tlsHandshakeByte && plainTextAllowed) {
      stats.plainTextTotal++;
      onPlain(socket, bytes);
      this.#remove(newcomer);
      return;
    }
    socket.unshift(bytes);
    this.#waiting.add(newcomer);
    this.#pumpLater();
  }

  onTimeout(newcomer: Newcomer): void {
    // A handshake that has begun is counted where it fails, as every other that does.
    if (!newcomer.shaking) this.#context.stats.preludeTimeouts++;
    newcomer.socket.destroy(new HandshakeTimeout('no TLS handshake in time'));
  }

  #pumpLater(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    setImmediate(this.#pump);
  }

  readonly #pump = (): void => {
    this.#pumping = false;
    let left = this.#context.isBusy() ? 1 : handshakesPerTurn;
    for (const newcomer of this.#waiting) {
      if (left-- === 0) break;
      this.#waiting.delete(newcomer);
      newcomer.shaking = true;
      this.#context.beginTls(newcomer.socket);
    }
    if (this.#waiting.size > 0) this.#pumpLater();
  };

  #remove(newcomer: Newcomer): void {
    if (this.#all.get(newcomer.key) !== newcomer) return;
    const { engine, stats, onEmpty } = this.#context;
    this.#all.delete(newcomer.key);
    this.#waiting.delete(newcomer);
    stats.newcomersActive--;
    engine.wheel.cancel(newcomer.deadline);
    const left = (this.#bySource.get(newcomer.source) ?? 1) - 1;
    if (left === 0) this.#bySource.delete(newcomer.source);
    else this.#bySource.set(newcomer.source, left);
    if (this.#all.size === 0) onEmpty();
  }
}

/** The own address belongs to it: one client port may be connected to two addresses of this machine. */
const keyOf = ({ remoteAddress, remotePort, localAddress }: net.Socket): string => `${remoteAddress} ${remotePort} ${localAddress}`;
