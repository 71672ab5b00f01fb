/**
 * A well-behaved client: 100 calls a second on one connection through the sidecar, and as many straight to the service, whose latency
 * shows what the generator and the core that it shares add by themselves. Prints its calls as JSON, ten times a second.
 */

import { END_HEADERS, END_STREAM } from '../../http2/raw-peer.ts';
import type { AttackPeer } from '../catalogue/attack-peer.ts';
import { Attacker, type Target } from '../catalogue/attacker.ts';
import { blockFor } from '../catalogue/requests.ts';

/** One call: when it began, in milliseconds of the epoch, how long it took, whether it was OK. */
export interface NeighbourCall {
  readonly at: number;
  readonly ms: number;
  readonly ok: boolean;
  readonly why?: string;
  /** Straight to the service. */
  readonly direct: boolean;
}

const { target, directPort } = JSON.parse(process.argv[2] as string) as { target: Target; directPort: number };
const periodMs = 10;
const patienceMs = 5_000;
let done: NeighbourCall[] = [];

/** Reconnects when it is cut off: each call that this costs has failed. */
class Line {
  readonly #attacker: Attacker;
  readonly #direct: boolean;
  readonly #waiting = new Map<number, number>();
  #peer: AttackPeer | undefined;
  #opening = false;
  #next = 1;

  constructor(line: Target, direct: boolean) {
    this.#attacker = new Attacker(line, { pass: async () => {}, holdMs: 0, connections: 1, volume: 1 });
    this.#direct = direct;
  }

  call(): void {
    const peer = this.#peer;
    if (peer === undefined || peer.ended) {
      for (const id of [...this.#waiting.keys()]) this.#end(id, false, peer?.goAway?.debug ?? 'connection lost');
      done.push({ at: Date.now(), ms: 0, ok: false, why: 'no connection', direct: this.#direct });
      void this.open();
      return;
    }
    const id = this.#next;
    this.#next += 2;
    this.#waiting.set(id, performance.now());
    peer.headers(id, blockFor(this.#attacker, 'Call'), END_HEADERS | END_STREAM);
    const oldest = this.#waiting.entries().next().value;
    if (oldest !== undefined && performance.now() - oldest[1] > patienceMs) this.#end(oldest[0], false, 'no answer in 5 s');
  }

  async open(): Promise<void> {
    if (this.#opening) return;
    this.#opening = true;
    try {
      const peer = await this.#attacker.open();
      peer.credits = true;
      peer.onReply = (id, reply) => {
        peer.dataOf.clear();
        this.#end(id, reply === 'ok', reply);
      };
      this.#next = 1;
      this.#peer = peer;
    } catch {
      // The next call tries again.
    }
    this.#opening = false;
  }

  #end(id: number, ok: boolean, why: string): void {
    const began = this.#waiting.get(id);
    if (began === undefined) return;
    this.#waiting.delete(id);
    const ms = performance.now() - began;
    done.push({ at: Date.now() - ms, ms, ok, direct: this.#direct, ...(ok ? {} : { why }) });
  }
}

const through = new Line(target, false);
const direct = new Line({ ...target, port: directPort, tls: undefined }, true);
await Promise.all([through.open(), direct.open()]);
console.log('ready');
setInterval(() => {
  through.call();
  direct.call();
}, periodMs);
setInterval(() => {
  if (done.length > 0) process.stdout.write(`${JSON.stringify(done)}\n`);
  done = [];
}, 100);
