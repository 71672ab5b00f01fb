import type { Clock } from '../../core/index.ts';
import { type CallMetrics, type Direction, directions } from '../../telemetry/index.ts';
import { figuresBetween, readDirection } from './call-totals.ts';
import type { CallFigures } from './model.ts';

/** One step of a chart: when it ended (wall clock), how long it was, and what each direction did in it. */
export interface TrafficPoint extends Readonly<Record<Direction, CallFigures>> {
  readonly atMs: number;
  readonly lengthMs: number;
}

/** How far back charts go. */
export const historyMs = 15 * 60_000;
export const coarseStepMs = 15_000;
export const fineStepMs = 2_000;

type Readings = Readonly<Record<Direction, Float64Array>>;

/** Points of one length: each is what was counted since the one before. */
class Steps {
  readonly points: TrafficPoint[] = [];
  readonly #calls: CallMetrics;
  readonly #clock: Clock;
  readonly #most: number;
  #last: Readings;
  #lastMs: number;

  /** @param after whose last point the first one of these follows; without it, now. */
  constructor(calls: CallMetrics, clock: Clock, stepMs: number, after?: Steps) {
    this.#calls = calls;
    this.#clock = clock;
    this.#most = historyMs / stepMs;
    this.#last = after === undefined ? this.#read() : after.#last;
    this.#lastMs = after === undefined ? clock.now() : after.#lastMs;
  }

  get sinceLastMs(): number {
    return this.#clock.now() - this.#lastMs;
  }

  take(): TrafficPoint {
    const nowMs = this.#clock.now();
    const next = this.#read();
    const last = this.#last;
    const figures = Object.fromEntries(directions.map((each) => [each, figuresBetween(next[each], last[each])])) as Record<
      Direction,
      CallFigures
    >;
    const point = { atMs: this.#clock.wallNow(), lengthMs: nowMs - this.#lastMs, ...figures };
    this.points.push(point);
    if (this.points.length > this.#most) this.points.shift();
    this.#last = next;
    this.#lastMs = nowMs;
    return point;
  }

  #read(): Readings {
    return { inbound: readDirection(this.#calls, 'inbound'), outbound: readDirection(this.#calls, 'outbound') };
  }
}

/**
 * The last quarter of an hour: a point every 15 s at all times, so that whoever opens the dashboard in an incident sees its beginning, and
 * one every 2 s while somebody looks. Has no timer: those who have one tell it the time.
 */
export class TrafficHistory {
  readonly #calls: CallMetrics;
  readonly #clock: Clock;
  readonly #coarse: Steps;
  #fine: Steps | undefined;

  constructor(calls: CallMetrics, clock: Clock) {
    this.#calls = calls;
    this.#clock = clock;
    this.#coarse = new Steps(calls, clock, coarseStepMs);
  }

  /** Often enough, at any time. Returns whether a step ended. */
  keep(): boolean {
    if (this.#coarse.sinceLastMs < coarseStepMs) return false;
    this.#coarse.take();
    return true;
  }

  /** While somebody looks: the next point, where it is time for one. */
  look(): TrafficPoint | undefined {
    this.#fine ??= new Steps(this.#calls, this.#clock, fineStepMs, this.#coarse);
    // A timer fires a little late each time; a step that waits for the next one would be half as long again.
    if (this.#fine.sinceLastMs < fineStepMs * 0.9) return undefined;
    return this.#fine.take();
  }

  /** Nobody looks any more. */
  forget(): void {
    this.#fine = undefined;
  }

  /** Oldest first: the fine points, and before them the coarse ones. */
  get points(): readonly TrafficPoint[] {
    const fine = this.#fine?.points ?? [];
    const [first] = fine;
    const oldestMs = this.#clock.wallNow() - historyMs;
    const from = first === undefined ? Number.POSITIVE_INFINITY : first.atMs - first.lengthMs;
    return [...this.#coarse.points.filter(({ atMs }) => atMs <= from && atMs > oldestMs), ...fine];
  }
}
