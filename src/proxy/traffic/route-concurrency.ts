import type { Fate } from '../../core/index.ts';
import type { Route } from '../../policy/index.ts';
import { GradientController, type GradientOptions } from '../../resilience/index.ts';
import type { StatSink } from '../../telemetry/index.ts';
import { type LocalReply, localReply } from '../replies.ts';

/**
 * Fates whose time says how the service does. A failure that comes fast says nothing: taken for the service at its best it would keep the
 * limit down for long.
 */
const telling: ReadonlySet<Fate> = new Set<Fate>(['ok', 'route_timeout', 'caller_deadline', 'per_try_timeout']);

/** The adaptive limit of one route; it outlives reloads. */
export class RouteConcurrency {
  readonly #controller: GradientController;
  readonly #prefix: string;
  #options: GradientOptions;

  constructor(route: Route, options: GradientOptions, random: () => number, nowMs: number) {
    this.#controller = new GradientController(options, random, nowMs);
    this.#options = options;
    const name = route.name.replaceAll(/[^\x21-\x7e]/g, '_');
    this.#prefix = `http.${route.direction}.${name}.adaptive_concurrency.gradient_controller`;
  }

  update(options: GradientOptions, nowMs: number): void {
    if (options === this.#options) return;
    this.#options = options;
    this.#controller.update(options, nowMs);
  }

  /** Lets a call in, which owes one `leave`; else the answer to it. */
  enter(rule: string, nowMs: number): LocalReply | undefined {
    if (this.#controller.tryEnter(nowMs)) return undefined;
    const { limit, active } = this.#controller;
    const message = `${active} calls are under way, and adaptive_concurrency of ${rule} allows ${limit} now, so that the service does not slow down; call again later, or give the service more instances`;
    return localReply('overloaded', message);
  }

  leave(fate: Fate, startMs: number, nowMs: number): void {
    if (telling.has(fate)) this.#controller.sample(startMs, nowMs);
    else this.#controller.cancel();
  }

  collectStats(sink: StatSink): void {
    const { blockedTotal, burstQueueSize, gradient, limit, measuring, minRttMs, sampleRttMs } = this.#controller;
    sink.counter(`${this.#prefix}.rq_blocked`, blockedTotal);
    sink.gauge(`${this.#prefix}.burst_queue_size`, burstQueueSize);
    sink.gauge(`${this.#prefix}.concurrency_limit`, limit);
    sink.gauge(`${this.#prefix}.gradient`, Math.round(gradient * 1_000));
    sink.gauge(`${this.#prefix}.min_rtt_calculation_active`, measuring ? 1 : 0);
    sink.gauge(`${this.#prefix}.min_rtt_msecs`, Math.round(minRttMs));
    sink.gauge(`${this.#prefix}.sample_rtt_msecs`, Math.round(sampleRttMs));
  }
}
