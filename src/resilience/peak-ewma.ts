import type { Balancer, BalancerEndpoint, Usable } from './balancer.ts';
import { PeakLatency, type PeakLatencyOptions } from './peak-latency.ts';
import { WeightedDraw } from './weighted-draw.ts';
import { pickByWeight, randomTries } from './weights.ts';

/** Below this, latencies are the same: what differs is noise of the event loop. */
const floorMs = 0.1;

/**
 * Of two endpoints, drawn by weight, the one where an answer is expected sooner: its latency times the calls that wait there. It sees
 * a slow endpoint before calls pile up on it. P2C with peak EWMA, as in Finagle and Linkerd.
 */
export class PeakEwmaBalancer<E extends BalancerEndpoint> implements Balancer<E> {
  readonly #options: PeakLatencyOptions;
  readonly #random: () => number;
  readonly #draw: WeightedDraw<E>;
  #endpoints: readonly E[] = [];

  constructor(options: PeakLatencyOptions, random: () => number) {
    this.#options = options;
    this.#random = random;
    this.#draw = new WeightedDraw<E>(random);
  }

  update(endpoints: readonly E[]): void {
    this.#endpoints = endpoints;
    this.#draw.update(endpoints);
    for (const endpoint of endpoints) {
      if (endpoint.latency === undefined) endpoint.latency = new PeakLatency(this.#options);
      else endpoint.latency.decayTimeMs = this.#options.decayTimeMs;
    }
  }

  pick(usable: Usable<E> | undefined, nowMs: number): E | undefined {
    const first = this.#endpoints[0];
    // Of one endpoint there is nothing to draw.
    if (this.#endpoints.length <= 1) return first === undefined || (usable !== undefined && !usable(first)) ? undefined : first;
    let found: E | undefined;
    for (let tries = 0; tries < randomTries; tries++) {
      const endpoint = this.#draw.any();
      if (endpoint === found || (usable !== undefined && !usable(endpoint))) continue;
      if (found === undefined) found = endpoint;
      else return this.#better(found, endpoint, nowMs);
    }
    return found ?? (usable === undefined ? first : this.#betterOfFew(usable, nowMs));
  }

  #betterOfFew(usable: Usable<E>, nowMs: number): E | undefined {
    const one = pickByWeight(this.#endpoints, usable, this.#random);
    const other = pickByWeight(this.#endpoints, usable, this.#random);
    return one === undefined || other === undefined ? one : this.#better(one, other, nowMs);
  }

  #better(one: E, other: E, nowMs: number): E {
    return expectedMs(other, nowMs) < expectedMs(one, nowMs) ? other : one;
  }
}

const expectedMs = (endpoint: BalancerEndpoint, nowMs: number): number => {
  const latencyMs = endpoint.latency === undefined ? floorMs : Math.max(endpoint.latency.at(nowMs), floorMs);
  return latencyMs * (Math.max(endpoint.activeRequests, 0) + 1);
};
