import type { Engine } from '../../http2/index.ts';
import type { Direction, PolicyTable, Route } from '../../policy/index.ts';
import type { StatSink, StatSource } from '../../telemetry/index.ts';
import { RouteConcurrency } from './route-concurrency.ts';
import { RouteRateLimit } from './route-rate-limit.ts';

/** What routes of one direction remember of their calls. It outlives reloads: a route is known again by its id. */
export class TrafficState implements StatSource {
  readonly #engine: Engine;
  readonly #random: () => number;
  readonly #rateLimits = new Map<string, RouteRateLimit>();
  readonly #concurrency = new Map<string, RouteConcurrency>();

  constructor(engine: Engine, random: () => number) {
    this.#engine = engine;
    this.#random = random;
  }

  /** Takes over other policies: what is still written keeps its state under new numbers, what is not is forgotten. */
  use(policies: PolicyTable, direction: Direction): void {
    const nowMs = this.#engine.clock.now();
    const { routes } = policies[direction];
    const written = new Map(routes.map((route) => [route.id, route.traffic]));
    for (const [id, limit] of this.#rateLimits) {
      const policy = written.get(id)?.rateLimit;
      if (policy === undefined) this.#rateLimits.delete(id);
      else limit.update(policy, nowMs);
    }
    for (const [id, concurrency] of this.#concurrency) {
      const options = written.get(id)?.adaptiveConcurrency;
      if (options === undefined) this.#concurrency.delete(id);
      else concurrency.update(options, nowMs);
    }
    for (const route of routes) {
      const { id, traffic } = route;
      if (traffic?.rateLimit !== undefined && !this.#rateLimits.has(id))
        this.#rateLimits.set(id, new RouteRateLimit(traffic.rateLimit, this.#random, nowMs));
      if (traffic?.adaptiveConcurrency !== undefined && !this.#concurrency.has(id))
        this.#concurrency.set(id, new RouteConcurrency(route, traffic.adaptiveConcurrency, this.#random, nowMs));
    }
  }

  /** `undefined`: none is written. */
  rateLimitOf(route: Route): RouteRateLimit | undefined {
    return this.#rateLimits.get(route.id);
  }

  /** `undefined`: none is written. */
  concurrencyOf(route: Route): RouteConcurrency | undefined {
    return this.#concurrency.get(route.id);
  }

  collectStats(sink: StatSink): void {
    for (const limit of this.#rateLimits.values()) limit.collectStats(sink);
    for (const concurrency of this.#concurrency.values()) concurrency.collectStats(sink);
  }
}
