import type { Balancer, BalancerEndpoint, Usable } from './balancer.ts';
import { ReportedLoad, type ReportedLoadOptions } from './reported-load.ts';
import { StrideSchedule } from './stride-schedule.ts';
import { TurnSchedule } from './turn-schedule.ts';
import { pickByWeight } from './weights.ts';

/**
 * Turns by what the endpoints report of their load: calls a second by utilization (gRFC A58, Envoy's
 * `client_side_weighted_round_robin`). As long as fewer than two have a weight, turns are by the weights of the policy.
 */
export class LoadWeightedBalancer<E extends BalancerEndpoint> implements Balancer<E> {
  readonly #options: ReportedLoadOptions;
  readonly #random: () => number;
  #endpoints: readonly E[] = [];
  /** `undefined` as long as too little is known. */
  #schedule: StrideSchedule | undefined;
  readonly #turns: TurnSchedule<E>;
  #weighedAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: ReportedLoadOptions, random: () => number) {
    this.#options = options;
    this.#random = random;
    this.#turns = new TurnSchedule<E>(random);
  }

  update(endpoints: readonly E[]): void {
    this.#endpoints = endpoints;
    this.#turns.update(endpoints);
    for (const endpoint of endpoints) {
      if (endpoint.reportedLoad === undefined) endpoint.reportedLoad = new ReportedLoad(this.#options);
      else endpoint.reportedLoad.use(this.#options);
    }
    this.#weighedAtMs = Number.NEGATIVE_INFINITY;
  }

  pick(usable: Usable<E> | undefined, nowMs: number): E | undefined {
    const endpoints = this.#endpoints;
    if (endpoints.length === 0) return undefined;
    if (nowMs - this.#weighedAtMs >= this.#options.weightUpdatePeriodMs) this.#weigh(nowMs);
    const schedule = this.#schedule;
    if (schedule === undefined) return this.#turns.next(usable, undefined);
    if (usable === undefined) return endpoints[schedule.next()];
    for (let tries = 0; tries < turnTries; tries++) {
      const endpoint = endpoints[schedule.next()] as E;
      if (usable(endpoint)) return endpoint;
    }
    return pickByWeight(endpoints, usable, this.#random);
  }

  #weigh(nowMs: number): void {
    this.#weighedAtMs = nowMs;
    const weights = Float64Array.from(this.#endpoints, ({ reportedLoad }) => reportedLoad?.weightAt(nowMs) ?? 0);
    let known = 0;
    for (const weight of weights) if (weight > 0) known++;
    this.#schedule = known >= 2 ? new StrideSchedule(weights, this.#random()) : undefined;
  }
}

/** Turns given up to endpoints that are not usable before all are looked at. */
const turnTries = 16;
