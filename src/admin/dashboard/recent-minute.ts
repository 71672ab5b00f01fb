import type { Clock } from '../../core/index.ts';
import { type CallMetrics, type Direction, directions, type MethodMetrics } from '../../telemetry/index.ts';
import { addReading, figuresBetween, readingWidth } from './call-totals.ts';
import type { RecentFigures } from './model.ts';

/** Readings that are kept of each method, one for each step of `TrafficHistory`: the oldest is a minute old when the next one comes. */
const keptReadings = 4;

const nothing = new Float64Array(readingWidth);

/** What each method did in the last minute, between 45 and 60 s of it. */
export class RecentMinute {
  readonly #calls: CallMetrics;
  readonly #clock: Clock;
  readonly #kept = new Map<MethodMetrics, Float64Array>();
  /** When each reading was made; in the beginning, when the process began. */
  readonly #takenMs: number[];
  #slot = 0;

  constructor(calls: CallMetrics, clock: Clock) {
    this.#calls = calls;
    this.#clock = clock;
    this.#takenMs = new Array(keptReadings).fill(clock.now());
  }

  /** The oldest reading gives way to one of now. */
  turn(): void {
    const at = this.#slot * readingWidth;
    for (const direction of directions) {
      for (const metrics of this.#calls.methods(direction)) {
        const kept = this.#kept.get(metrics) ?? new Float64Array(keptReadings * readingWidth);
        this.#kept.set(metrics, kept.fill(0, at, at + readingWidth));
        addReading(metrics, kept, at);
      }
    }
    this.#takenMs[this.#slot] = this.#clock.now();
    this.#slot = (this.#slot + 1) % keptReadings;
  }

  /** How long it is, in milliseconds. */
  get lengthMs(): number {
    return this.#clock.now() - (this.#takenMs[this.#slot] as number);
  }

  of(metrics: readonly MethodMetrics[]): RecentFigures {
    const now = new Float64Array(readingWidth);
    const before = new Float64Array(readingWidth);
    for (const each of metrics) {
      addReading(each, now);
      const kept = this.#kept.get(each) ?? nothing;
      const from = kept === nothing ? 0 : this.#slot * readingWidth;
      for (let i = 0; i < readingWidth; i++) before[i] = (before[i] as number) + (kept[from + i] as number);
    }
    const figures = figuresBetween(now, before);
    const { lengthMs } = this;
    return { ...figures, perSecond: lengthMs <= 0 ? 0 : Number((figures.calls / (lengthMs / 1_000)).toPrecision(4)) };
  }

  /** Every call of one direction. */
  all(direction: Direction): RecentFigures {
    return this.of([...this.#calls.methods(direction)]);
  }
}
