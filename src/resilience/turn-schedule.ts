import { type Weighted, weightOf } from './weights.ts';

/**
 * Whose turn it is, weighted and smooth: each endpoint has an instant on a virtual clock at which its turn comes, the earliest goes
 * first, and its next turn lies `1 / weight` later. An endpoint of weight 5 beside two of weight 1 gets its calls spread out, not
 * five in a row. Earliest deadline first, as in Envoy; a turn costs O(log n).
 *
 * Starting instants are random, so that a thousand sidecars that start together do not all begin with the same endpoint.
 */
export class TurnSchedule<E extends Weighted> {
  readonly #random: () => number;
  /** A binary heap by `#turn`; both arrays are moved together. */
  #heap: E[] = [];
  #turn = new Float64Array(0);
  #now = 0;

  constructor(random: () => number) {
    this.#random = random;
  }

  update(endpoints: readonly E[]): void {
    const kept = new Map<E, number>();
    for (let i = 0; i < this.#heap.length; i++) kept.set(this.#heap[i] as E, this.#turn[i] as number);
    this.#heap = [...endpoints];
    this.#turn = new Float64Array(endpoints.length);
    for (let i = 0; i < endpoints.length; i++) {
      const endpoint = endpoints[i] as E;
      // A new endpoint waits for a part of its own interval: it neither takes a burst at once nor starves.
      this.#turn[i] = kept.get(endpoint) ?? this.#now + this.#random() / weightOf(endpoint);
    }
    for (let i = (this.#heap.length >> 1) - 1; i >= 0; i--) this.#sink(i);
  }

  /**
   * Gives the next turn to the first usable endpoint. `cost` is how much of its share the turn uses up, 1 for all where it is
   * `undefined`. An endpoint that is not usable forfeits its turn, so that it does not get all of them when it comes back.
   */
  next(usable: ((endpoint: E) => boolean) | undefined, cost: ((endpoint: E) => number) | undefined): E | undefined {
    const triesMost = this.#heap.length;
    for (let tries = 0; tries < triesMost; tries++) {
      const endpoint = this.#heap[0] as E;
      this.#now = this.#turn[0] as number;
      this.#turn[0] = this.#now + (cost === undefined ? 1 : cost(endpoint)) / weightOf(endpoint);
      this.#sink(0);
      if (usable === undefined || usable(endpoint)) return endpoint;
      if (tries === scheduledTries) break;
    }
    return usable === undefined ? undefined : this.#earliestUsable(usable, cost);
  }

  /** One pass: a heavy endpoint that is not usable would come up again and again before a light one that is. */
  #earliestUsable(usable: (endpoint: E) => boolean, cost: ((endpoint: E) => number) | undefined): E | undefined {
    let best = -1;
    for (let i = 0; i < this.#heap.length; i++) {
      if ((best < 0 || (this.#turn[i] as number) < (this.#turn[best] as number)) && usable(this.#heap[i] as E)) best = i;
    }
    const endpoint = this.#heap[best];
    if (endpoint === undefined) return undefined;
    this.#turn[best] = (this.#turn[best] as number) + (cost === undefined ? 1 : cost(endpoint)) / weightOf(endpoint);
    this.#sink(best);
    return endpoint;
  }

  #sink(from: number): void {
    const heap = this.#heap;
    const turn = this.#turn;
    const endpoint = heap[from] as E;
    const at = turn[from] as number;
    let i = from;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && (turn[child + 1] as number) < (turn[child] as number)) child++;
      if ((turn[child] as number) >= at) break;
      heap[i] = heap[child] as E;
      turn[i] = turn[child] as number;
      i = child;
    }
    heap[i] = endpoint;
    turn[i] = at;
  }
}

/** Turns given up to endpoints that are not usable before all are looked at. */
const scheduledTries = 16;
