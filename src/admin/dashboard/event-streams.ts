import type { ServerResponse } from 'node:http';
import type { Clock, Logger, Timer } from '../../core/index.ts';
import type { StatSink, StatSource } from '../../telemetry/index.ts';
import type { CallFigures, PointFigures, Sections, WirePoint } from './model.ts';
import type { TrafficHistory, TrafficPoint } from './traffic-history.ts';

const shortestPauseMs = 1_000;
const longestPauseMs = 10_000;
/** Of the event loop's time that looking may take. */
const shareAtMost = 0.01;
/** A reader that has not taken what it was sent for so long is gone, or might as well be. */
const patienceMs = 15_000;

interface Follower {
  readonly response: ServerResponse;
  /** Did not take the last event: it gets everything again once it reads. `undefined`: it keeps up. */
  behindSinceMs: number | undefined;
}

export interface EventStreamsOptions {
  readonly clock: Clock;
  readonly log: Logger;
  readonly history: TrafficHistory;
  readonly read: () => Sections;
  readonly followersAtMost: number;
}

/**
 * `/events`: one look a second for everybody who follows, and nothing while nobody does. What has changed since the last look goes to those
 * who keep up; who does not is left out until it has read, and then gets the whole again, so that at most one of them waits in memory.
 * Where a look takes long (thousands of endpoints), the next one waits until it was 1 % of the time.
 */
export class EventStreams implements StatSource {
  readonly #options: EventStreamsOptions;
  readonly #followers = new Set<Follower>();
  /** Each section as JSON, as of the last look; empty while nobody follows. */
  #sections = new Map<string, string>();
  #timer: Timer | undefined;
  #refused = 0;
  #dropped = 0;

  constructor(options: EventStreamsOptions) {
    this.#options = options;
  }

  get isFull(): boolean {
    return this.#followers.size >= this.#options.followersAtMost;
  }

  get active(): number {
    return this.#followers.size;
  }

  countRefusal(): void {
    this.#refused++;
  }

  /** Takes over a response whose headers are written. */
  follow(response: ServerResponse): void {
    if (this.#timer === undefined) this.#look();
    const follower: Follower = { response, behindSinceMs: undefined };
    this.#followers.add(follower);
    response.once('close', () => this.#followers.delete(follower));
    response.on('error', () => response.destroy());
    this.#sendWhole(follower);
  }

  /** Ends every stream. */
  close(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    for (const { response } of this.#followers) response.end();
    this.#followers.clear();
    this.#rest();
  }

  collectStats(sink: StatSink): void {
    sink.gauge('admin.event_streams_active', this.#followers.size);
    sink.counter('admin.event_streams_refused', this.#refused);
    sink.counter('admin.event_streams_dropped', this.#dropped);
  }

  readonly #onTimer = (): void => {
    this.#timer = undefined;
    if (this.#followers.size === 0) this.#rest();
    else this.#look();
  };

  #rest(): void {
    this.#sections = new Map();
    this.#options.history.forget();
  }

  #look(): void {
    const { clock, log, history } = this.#options;
    const beganMs = clock.now();
    try {
      const point = history.look();
      this.#tell(this.#update(), point === undefined ? [] : [point]);
    } catch (error) {
      log.error('dashboard cannot be shown', { error: error instanceof Error ? error.message : String(error) });
    }
    const tookMs = clock.now() - beganMs;
    this.#timer = clock.setTimer(this.#onTimer, Math.min(Math.max(shortestPauseMs, tookMs / shareAtMost), longestPauseMs));
  }

  /** Reads everything, and returns what is not as it was, as JSON by name. */
  #update(): ReadonlyMap<string, string> {
    const before = this.#sections;
    const now = new Map<string, string>();
    const changed = new Map<string, string>();
    for (const [name, value] of Object.entries(this.#options.read())) {
      const text = JSON.stringify(value);
      now.set(name, text);
      if (before.get(name) !== text) changed.set(name, text);
    }
    for (const name of before.keys()) if (!now.has(name)) changed.set(name, 'null');
    this.#sections = now;
    return changed;
  }

  #tell(changed: ReadonlyMap<string, string>, points: readonly TrafficPoint[]): void {
    const { clock } = this.#options;
    let delta: string | undefined;
    for (const follower of this.#followers) {
      const { response, behindSinceMs } = follower;
      if (response.writableNeedDrain) {
        follower.behindSinceMs ??= clock.now();
        if (clock.now() - follower.behindSinceMs > patienceMs) this.#drop(follower);
      } else if (behindSinceMs !== undefined) {
        follower.behindSinceMs = undefined;
        this.#sendWhole(follower);
      } else {
        delta ??= this.#event(false, changed, points);
        response.write(delta);
      }
    }
  }

  #sendWhole({ response }: Follower): void {
    response.write(this.#event(true, this.#sections, this.#options.history.points));
  }

  #drop(follower: Follower): void {
    this.#dropped++;
    this.#followers.delete(follower);
    follower.response.destroy();
  }

  #event(whole: boolean, sections: ReadonlyMap<string, string>, points: readonly TrafficPoint[]): string {
    const parts = Array.from(sections, ([name, text]) => `${JSON.stringify(name)}:${text}`);
    const head = `"nowMs":${Math.round(this.#options.clock.wallNow())},"whole":${whole},"points":${JSON.stringify(points.map(wirePoint))}`;
    return `data: {${head},"sections":{${parts.join(',')}}}\n\n`;
  }
}

const figures = ({ calls, ok, cancelled, p50, p95, p99 }: CallFigures): PointFigures => [calls, ok, cancelled, p50, p95, p99];

const wirePoint = ({ atMs, lengthMs, inbound, outbound }: TrafficPoint): WirePoint => [
  Math.round(atMs),
  Math.round(lengthMs),
  ...figures(inbound),
  ...figures(outbound),
];
