import type { Fate } from '../core/index.ts';
import { GradientController, type GradientOptions } from '../resilience/index.ts';
import type { StatSink } from '../telemetry/index.ts';

/**
 * Fates whose time says how the service does. A failure that comes fast says nothing: taken for the service at its best it would keep the
 * limit down for long.
 */
const telling: ReadonlySet<Fate> = new Set<Fate>(['ok', 'route_timeout', 'caller_deadline', 'per_try_timeout']);

/** How many calls a route or a cluster may have under way, as its answers show (Envoy: `adaptive_concurrency`). It outlives reloads. */
export class AdaptiveLimit {
  readonly #controller: GradientController;
  readonly #prefix: string;
  #options: GradientOptions;

  /** @param owner what its statistics begin with, such as `cluster.auth-svc`. */
  constructor(owner: string, options: GradientOptions, random: () => number, nowMs: number) {
    this.#controller = new GradientController(options, random, nowMs);
    this.#options = options;
    this.#prefix = `${owner}.adaptive_concurrency.gradient_controller`;
  }

  update(options: GradientOptions, nowMs: number): void {
    if (options === this.#options) return;
    this.#options = options;
    this.#controller.update(options, nowMs);
  }

  /** Lets a call in, which owes one `leave`; false where there are as many as the service takes. */
  tryEnter(nowMs: number): boolean {
    return this.#controller.tryEnter(nowMs);
  }

  leave(fate: Fate, startMs: number, nowMs: number): void {
    if (fate === 'ok' || telling.has(fate)) this.#controller.sample(startMs, nowMs);
    else this.#controller.cancel();
  }

  /** The limit now. */
  get limit(): number {
    return this.#controller.limit;
  }

  get active(): number {
    return this.#controller.active;
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
