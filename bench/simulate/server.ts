import { logNormal } from './chance.ts';
import type { EventQueue } from './event-queue.ts';
import type { SimulatedSidecar } from './sidecar.ts';

export const ok = 0;
export const unavailable = 14;

/** Of the usual service time: what a call costs that nobody waits for any more. */
const costOfDead = 0.25;
/** By how much a long queue makes service times longer. */
const costOfQueue = 0.25;

/** A call on its way through the tiers, as a server sees it. */
export interface ServerCall {
  readonly trace: string;
  /** Virtual time at which whoever waits stops waiting. */
  readonly dueMs: number;
  /** Nobody waits any more. */
  readonly cancelled: boolean;
  /** `noRetry`: the answer carries `grpc-retry-pushback-ms: -1`. */
  answer(status: number, noRetry: boolean): void;
}

export interface ServerOptions {
  /** Calls that it works on at once. */
  readonly slots: number;
  readonly meanServiceMs: number;
  /** Calls that wait for a slot at most; above it the answer is UNAVAILABLE. */
  readonly queueLimit: number;
}

/** What goes wrong with a server, changed by the scenario. */
export interface Ailment {
  /** Does not listen: nobody can connect. */
  down: boolean;
  /** Share of calls that end UNAVAILABLE after the usual work. */
  failing: number;
  /** Takes calls and answers none. */
  hung: boolean;
  /** Service times are so many times as long. */
  slowness: number;
}

/**
 * One instance of a service: slots, and a queue in the order of arrival. Work that was begun goes on although nobody waits for it any more, as it
 * does in most services; a call that nobody waits for when its turn comes costs a quarter of one. A queue longer than callers' patience is what
 * makes overload last: work is for the dead, or for those who will be dead before it is done. What waits costs as well (threads, memory): service
 * times grow by a quarter while the queue is long. Left alone it recovers from every scenario, which the policy `no retries` shows.
 */
export class SimulatedServer {
  readonly key: string;
  readonly ailment: Ailment = { down: false, failing: 0, hung: false, slowness: 1 };
  /** Calls it makes to the next tier for each of its own; `undefined` on the last tier. */
  outbound: SimulatedSidecar | undefined = undefined;
  readonly #options: ServerOptions;
  readonly #events: EventQueue;
  readonly #random: () => number;
  #busy = 0;
  #queue: (ServerCall | undefined)[] = [];
  #head = 0;
  #hanging: ServerCall[] = [];

  constructor(key: string, options: ServerOptions, events: EventQueue, random: () => number) {
    this.key = key;
    this.#options = options;
    this.#events = events;
    this.#random = random;
  }

  get queued(): number {
    return this.#queue.length - this.#head;
  }

  arrive(call: ServerCall): void {
    if (this.ailment.hung) {
      this.#hanging.push(call);
      return;
    }
    if (this.#busy < this.#options.slots) this.#work(call);
    else if (this.queued < this.#options.queueLimit) this.#queue.push(call);
    else call.answer(unavailable, false);
  }

  /** It hung, and comes back without the calls that it had: their connections are lost. */
  comeBack(): void {
    this.ailment.hung = false;
    const hanging = this.#hanging;
    this.#hanging = [];
    for (const call of hanging) call.answer(unavailable, false);
  }

  #work(call: ServerCall): void {
    this.#busy++;
    const startedMs = this.#events.nowMs;
    const congestion = 1 + costOfQueue * Math.min(1, this.queued / (20 * this.#options.slots));
    const effort = call.cancelled || call.dueMs <= startedMs ? costOfDead : congestion * this.ailment.slowness;
    const serviceMs = logNormal(this.#random, this.#options.meanServiceMs) * effort;
    this.#events.after(serviceMs, () => {
      this.#busy--;
      this.#takeNext();
      this.#finish(call, startedMs);
    });
  }

  #takeNext(): void {
    const next = this.#queue[this.#head];
    if (next === undefined) return;
    this.#queue[this.#head++] = undefined;
    if (this.#head > 1_024 && this.#head * 2 > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#head);
      this.#head = 0;
    }
    this.#work(next);
  }

  #finish(call: ServerCall, startedMs: number): void {
    const { failing } = this.ailment;
    if (failing > 0 && this.#random() < failing) {
      call.answer(unavailable, false);
      return;
    }
    if (this.outbound === undefined) {
      call.answer(ok, false);
      return;
    }
    // A caller that has gone is noticed here: calls to others carry its deadline and its cancellation.
    if (call.cancelled || call.dueMs <= this.#events.nowMs) return;
    const { guard } = this.outbound;
    this.outbound.call(call.trace, call.dueMs, (status) => {
      const noRetry = status !== ok && guard?.forbidsRetry(call.trace, startedMs, this.#events.nowMs) === true;
      call.answer(status, noRetry);
    });
  }
}
