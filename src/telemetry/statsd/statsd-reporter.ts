import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { type Clock, formatHostPort, type Logger, type Shortcoming, type Timer } from '../../core/index.ts';
import type { MetricsInputs } from '../metrics/metrics-reader.ts';
import type { StatSink, StatSource } from '../stats.ts';
import { DatagramStream } from './datagram-stream.ts';
import { type StatsdClient, StatsdLines } from './statsd-lines.ts';
import { StatsdNames } from './statsd-names.ts';
import type { StatsdOptions } from './statsd-options.ts';

export type LookUp = (host: string) => Promise<readonly { readonly address: string }[]>;

export interface StatsdContext {
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: MetricsInputs;
  /** By default that of the system, `/etc/hosts` included. */
  readonly lookUp?: LookUp;
}

/** What fits into one packet of any Ethernet, with the headers of IPv6 and UDP. */
const packetBytes = 1_432;
/** A packet more could end in the receiver's full buffer, where nobody counts it: 212,992 bytes is what Linux has. */
const packetsPerPause = 64;
const pauseMs = 20;
/** Of one turn of the event loop: a line takes one to two microseconds, and most stats need none. */
const linesPerTurn = 300;
const looksPerTurn = 4_000;
const longestLookUpMs = 5_000;
/** Of one flush: what is beyond it is dropped. */
const mostLines = 60_000;

/** One at a time, also where the last one was given up: it still has one of few threads. */
const systemLookUp = (): LookUp => {
  let pending: ReturnType<LookUp> | undefined;
  return (host) => {
    pending ??= lookup(host, { all: true }).finally(() => {
      pending = undefined;
    });
    return pending;
  };
};

interface HotShots extends StatsdClient {
  flush(done: (error?: Error) => void): void;
  close(done: () => void): void;
}

/**
 * Sends what has changed to StatsD: all stats, and the calls. Nothing waits for it: a name that does not resolve, or a host where nobody listens,
 * costs a counter, and a line in the log when it begins and when it ends. Counters go on to add up until they can be sent.
 */
export class StatsdReporter implements StatSource {
  readonly #options: StatsdOptions;
  readonly #context: StatsdContext;
  readonly #lookUpHost: LookUp;
  readonly #lines: StatsdLines;
  readonly #stream = new DatagramStream(packetBytes);
  #client: HotShots | undefined;
  #timer: Timer | undefined;
  #flushing: Promise<void> | undefined;
  #closed = false;
  /** The flush before this one has sent something: only the next one hears that nobody took it. */
  #sentBefore = false;
  /** Nobody took what was sent last, as far as is known. */
  #refused = false;
  #shortcoming: Shortcoming | undefined;
  #flushes = 0;
  #resolveFailed = 0;
  #linesDropped = 0;

  constructor(options: StatsdOptions, context: StatsdContext) {
    this.#options = options;
    this.#context = context;
    this.#lookUpHost = context.lookUp ?? systemLookUp();
    this.#lines = new StatsdLines(new StatsdNames(options), options.format);
    this.#stream.on('error', () => {});
  }

  /** Loads the client library, and begins. To be awaited before there are calls. */
  async load(): Promise<void> {
    const { StatsD } = await import('hot-shots');
    const plain = this.#options.format === 'statsd';
    this.#client = new StatsD({
      protocol: 'stream',
      stream: this.#stream,
      // A line break ends each packet.
      maxBufferSize: packetBytes - 1,
      // Flushed here, at the end of each look.
      bufferFlushInterval: 2 ** 31 - 1,
      globalTags: plain ? {} : { ...this.#options.tags },
      // DD_ENV and its like are tags, which without tags would end up behind a `#` that nobody reads.
      includeDataDogTags: !plain,
      ...(plain ? { datadog: false } : {}),
      includeDatadogTelemetry: false,
      errorHandler: () => {},
    }) as unknown as HotShots;
    if (this.#closed) return;
    this.#arm();
    // Of a name that is unknown somebody should hear at once.
    void this.#resolve();
  }

  get shortcoming(): Shortcoming | undefined {
    return this.#shortcoming;
  }

  /** Sends what has changed since the last time; one after the other. Never rejects. */
  flush(): Promise<void> {
    this.#flushing ??= this.#flush().finally(() => {
      this.#flushing = undefined;
    });
    return this.#flushing;
  }

  /** Sends what has changed since, for no longer than `timeoutMs`, and ends. Idempotent. */
  async close(timeoutMs: number): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#timer?.cancel();
    const client = this.#client;
    if (client === undefined) {
      this.#stream.destroy();
      return;
    }
    // A lookup that nobody answers would hold up the end of the process.
    const isLost = this.#stream.address === '' && this.#shortcoming !== undefined;
    if (timeoutMs > 0 && !isLost) {
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = this.#context.clock.setTimer(resolve, timeoutMs);
      const last = (this.#flushing ?? Promise.resolve()).then(() => this.flush()).then(() => this.#stream.sent());
      await Promise.race([last, promise]);
      timer.cancel();
    }
    await new Promise<void>((resolve) => client.close(resolve));
    this.#stream.destroy();
  }

  collectStats(sink: StatSink): void {
    const { bytes, failed, packets } = this.#stream.counts;
    sink.counter('statsd.flushes', this.#flushes);
    sink.counter('statsd.lines', this.#lines.count);
    sink.counter('statsd.lines_dropped', this.#linesDropped);
    sink.counter('statsd.packets', packets);
    sink.counter('statsd.sent_bytes', bytes);
    sink.counter('statsd.send_failed', failed);
    sink.counter('statsd.resolve_failed', this.#resolveFailed);
  }

  #arm(): void {
    this.#timer = this.#context.clock.setTimer(() => {
      this.#arm();
      void this.flush();
    }, this.#options.intervalMs);
  }

  async #flush(): Promise<void> {
    const client = this.#client;
    if (client === undefined) return;
    const found = await this.#resolve();
    if (this.#stream.address === '') return;
    const { metrics } = this.#context;
    const stats = await metrics.stats.collectInTurns();
    const clusters = new Set(metrics.clusterNames());
    const bounded = this.#bounded(client);
    const writtenBefore = this.#stream.written;
    let [looks, written, paused] = [0, this.#lines.count, this.#stream.written];
    for (const lines of [this.#lines.ofStats(stats, clusters, bounded), this.#lines.ofCalls(metrics.calls, bounded)]) {
      for (const _ of lines) {
        if (++looks >= looksPerTurn || this.#lines.count - written >= linesPerTurn) {
          looks = 0;
          written = this.#lines.count;
          await new Promise((resolve) => setImmediate(resolve));
        }
        if (this.#stream.written - paused < packetsPerPause) continue;
        paused = this.#stream.written;
        await new Promise<void>((resolve) => void this.#context.clock.setTimer(resolve, pauseMs));
      }
    }
    await new Promise<void>((resolve) => client.flush(() => resolve()));
    await this.#stream.sent();
    this.#flushes++;
    // Also what was said after the last time: that nobody listens is heard of a moment later.
    const { problem } = this.#stream;
    this.#stream.problem = undefined;
    this.#refused = problem !== undefined || (this.#refused && !this.#sentBefore);
    this.#sentBefore = this.#stream.written > writtenBefore;
    if (found && !this.#refused) this.#onSuccess();
    if (problem !== undefined)
      this.#onFailure('metrics could not be sent to StatsD', problem, 'see that it listens there by UDP, or correct METRICS_HOST');
  }

  /** The client for one flush: lines that are too many are dropped. */
  #bounded(client: HotShots): StatsdClient {
    let left = mostLines;
    const fits = (): boolean => {
      if (left-- > 0) return true;
      this.#linesDropped++;
      return false;
    };
    return {
      increment: (name, by, tags) => void (fits() && client.increment(name, by, tags)),
      gauge: (name, value, tags) => void (fits() && client.gauge(name, value, tags)),
      send: (message, tags) => void (fits() && client.send(message, tags)),
    };
  }

  /** Looks the host up, since a container that was started anew has another address. False: it is not found, and where it was last has to do. */
  async #resolve(): Promise<boolean> {
    const { host, port } = this.#options;
    try {
      const addresses = isIP(host) === 0 ? await this.#lookUp(host) : [host];
      const [first] = addresses;
      if (first === undefined) throw new Error('the name has no address');
      // Among several one stays, or the counters of one time would be spread over all of them.
      if (!addresses.includes(this.#stream.address)) await this.#stream.open(first, port);
      return true;
    } catch (error) {
      this.#resolveFailed++;
      const remedy = 'see that the name resolves where the sidecar runs, or correct METRICS_HOST';
      this.#onFailure('METRICS_HOST cannot be found', (error as Error).message, remedy);
      return false;
    }
  }

  async #lookUp(host: string): Promise<readonly string[]> {
    const { clock } = this.#context;
    const { promise, reject } = Promise.withResolvers<never>();
    const timer = clock.setTimer(() => reject(new Error(`no answer within ${longestLookUpMs} ms`)), longestLookUpMs);
    try {
      const found = await Promise.race([this.#lookUpHost(host), promise]);
      return found.map(({ address }) => address);
    } finally {
      timer.cancel();
    }
  }

  #onSuccess(): void {
    if (this.#shortcoming === undefined) return;
    this.#shortcoming = undefined;
    this.#context.log.info('metrics are sent to StatsD again', { to: this.#place });
  }

  #onFailure(msg: string, why: string, remedy: string): void {
    if (this.#shortcoming !== undefined) return;
    this.#shortcoming = { why: `${msg} (${this.#place}): ${why}`, remedy };
    this.#context.log.warning(msg, { to: this.#place, why, remedy });
  }

  get #place(): string {
    return formatHostPort(this.#options);
  }
}
