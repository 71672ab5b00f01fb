import { readdirSync } from 'node:fs';
import { getHeapStatistics } from 'node:v8';
import type { Clock, Timer } from '../core/index.ts';
import type { StatSink, StatSource } from './stats.ts';

const sampleEveryMs = 500;

/** What is looked at twice a second. */
export interface ProcessSample {
  /** Resident memory. */
  readonly rssBytes: number;
  /** The part of what V8 may use at most for objects that it uses, from 0 to 1: the process dies at 1, whatever memory there is. */
  readonly heapShare: number;
  /** How late the event loop was. */
  readonly lagMs: number;
}

export type MemoryReading = Omit<ProcessSample, 'lagMs'>;

/** Node opens a file to find it out, and throws where no descriptor is left: then it is what it was. */
class ResidentMemory {
  #bytes = 0;

  read(): number {
    try {
      this.#bytes = process.memoryUsage.rss();
    } catch {
      // The next look will tell.
    }
    return this.#bytes;
  }
}

const readHeapShare = (): number => {
  const { heap_size_limit: limit, used_heap_size: used } = getHeapStatistics();
  return used / limit;
};

/**
 * Memory, CPU and the lag of the event loop. Lag is sampled by one timer twice a second: Node's own delay histogram wakes an
 * idle sidecar a hundred times a second.
 */
export class ProcessStats implements StatSource {
  readonly #clock: Clock;
  readonly #resident = new ResidentMemory();
  readonly #readMemory: () => MemoryReading;
  readonly #startedMs: number;
  readonly #startedWallMs: number;
  readonly #listeners: ((sample: ProcessSample) => void)[] = [];
  #timer: Timer | undefined;
  #dueMs = 0;
  #lastLagMs = 0;
  #longestLagMs = 0;

  constructor(clock: Clock, readMemory?: () => MemoryReading) {
    this.#clock = clock;
    this.#readMemory = readMemory ?? (() => ({ rssBytes: this.#resident.read(), heapShare: readHeapShare() }));
    this.#startedMs = clock.now();
    this.#startedWallMs = clock.wallNow();
    this.#arm();
  }

  /** Hears of each sample. */
  onSample(listener: (sample: ProcessSample) => void): void {
    this.#listeners.push(listener);
  }

  /** Ends the sampling. Idempotent. */
  close(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  /** How late the event loop is: at the last sample, or now where the next one is overdue. */
  get eventLoopLagMs(): number {
    return Math.max(this.#lastLagMs, this.#clock.now() - this.#dueMs, 0);
  }

  get uptimeMs(): number {
    return this.#clock.now() - this.#startedMs;
  }

  collectStats(sink: StatSink): void {
    const heap = getHeapStatistics();
    const cpu = process.cpuUsage();
    sink.gauge('server.memory_physical_size', this.#resident.read());
    sink.gauge('server.memory_allocated', heap.used_heap_size);
    sink.gauge('server.memory_heap_size', heap.total_heap_size);
    sink.gauge('server.memory_external_size', heap.external_memory);
    sink.counter('server.cpu_seconds', (cpu.user + cpu.system) / 1e6);
    const openFiles = countOpenFiles();
    if (openFiles !== undefined) sink.gauge('server.open_fds', openFiles);
    sink.gauge('server.start_time_seconds', this.#startedWallMs / 1_000);
    sink.gauge('server.uptime', Math.floor(this.uptimeMs / 1_000));
    sink.gauge('server.event_loop_lag_ms', this.eventLoopLagMs);
    sink.gauge('server.event_loop_lag_longest_ms', Math.max(this.#longestLagMs, this.eventLoopLagMs));
  }

  #arm(): void {
    this.#dueMs = this.#clock.now() + sampleEveryMs;
    this.#timer = this.#clock.setTimer(this.#sample, sampleEveryMs);
  }

  readonly #sample = (): void => {
    this.#lastLagMs = Math.max(this.#clock.now() - this.#dueMs, 0);
    this.#longestLagMs = Math.max(this.#longestLagMs, this.#lastLagMs);
    this.#arm();
    if (this.#listeners.length === 0) return;
    const sample = { ...this.#readMemory(), lagMs: this.#lastLagMs };
    for (const listener of this.#listeners) listener(sample);
  };
}

/** File descriptors of this process, sockets included; `undefined` where the system has no `/dev/fd`, or none is left to look with. */
const countOpenFiles = (): number | undefined => {
  try {
    // One of them is the look itself.
    return readdirSync('/dev/fd').length - 1;
  } catch {
    return undefined;
  }
};
