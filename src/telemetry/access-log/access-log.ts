import { type Clock, type ConfigurationError, LimitedLog, type Logger, type Watch } from '../../core/index.ts';
import type { AccessLogPolicy, Direction, PolicyTable } from '../../policy/index.ts';
import type { CallObserver, EndedCall } from '../ended-call.ts';
import type { StatSink, StatSource } from '../stats.ts';
import { LineBytes } from './line-bytes.ts';
import type { LogFile } from './log-file.ts';
import { compileFilter, type WantsLine } from './log-filter.ts';
import { compileFormat, type WriteLine } from './log-format.ts';
import { AccessLogStats, LogWriter } from './log-writer.ts';
import type { LogContext } from './operators.ts';

export interface AccessLogOptions {
  readonly clock: Clock;
  readonly log: Logger;
  /** From 0 to 1. */
  readonly random: () => number;
  readonly policies: Watch<PolicyTable>;
  /** What ACCESS_LOG says: `stdout`, `stderr`, a path, `off` (whatever policies say), or nothing. */
  readonly setting: string | undefined;
  readonly serviceName: string;
  readonly hostname: string;
  /** Opens a path; by default what the system has there. */
  readonly open?: (path: string) => LogFile;
}

/** One log of a policy at work. */
interface CallLog {
  /** `undefined`: every call. */
  readonly wants: WantsLine | undefined;
  readonly write: WriteLine;
  readonly writer: LogWriter;
}

type DirectionLogs = Readonly<Record<Direction, readonly CallLog[]>>;

const none: DirectionLogs = { inbound: [], outbound: [] };
/** What is said of every call where ACCESS_LOG alone switches it on. */
const everyCall: AccessLogPolicy = {
  location: { file: '', line: 0, column: 0 },
  path: undefined,
  filter: undefined,
  format: undefined,
};

/** A line for each call that has ended, or for those that the policies choose; see docs/access-log.md. */
export class AccessLog implements CallObserver, StatSource {
  readonly #options: AccessLogOptions;
  readonly #limitedLog: LimitedLog;
  readonly #stats = new AccessLogStats();
  readonly #writers = new Map<string, LogWriter>();
  readonly #line = new LineBytes();
  readonly #unsubscribe: (() => void) | undefined;
  #logs: DirectionLogs = none;

  /** Opens what the policies in force name. Throws a ConfigurationError for what cannot be opened, and leaves nothing open then. */
  constructor(options: AccessLogOptions) {
    this.#options = options;
    this.#limitedLog = new LimitedLog(options.log, options.clock);
    const wrong = this.#use(options.policies.value);
    if (wrong !== undefined) {
      void this.close(0);
      throw wrong;
    }
    this.#unsubscribe = options.policies.subscribe((table) => this.#use(table));
  }

  onCallEnd(call: EndedCall): void {
    const logs = call.direction === 'inbound' ? this.#logs.inbound : this.#logs.outbound;
    for (let i = 0; i < logs.length; i++) this.#log(logs[i] as CallLog, call);
  }

  #log({ wants, write, writer }: CallLog, call: EndedCall): void {
    try {
      if ((wants !== undefined && !wants(call)) || !writer.hasRoom()) return;
      const line = this.#line;
      line.clear();
      write(call, line);
      writer.add(line.bytes, line.length);
    } catch (error) {
      // The call has ended, and must end for others, too, whatever is wrong with its line.
      this.#stats.dropped++;
      this.#limitedLog.warning('a line of the access log could not be made', () => ({ path: writer.path, why: String(error) }));
    }
  }

  /** Files may have been moved away: from here on lines go to what stands under their names now. */
  reopen(): void {
    for (const writer of this.#writers.values()) writer.reopen();
    this.#options.log.info('access logs reopened', { paths: [...this.#writers.keys()] });
  }

  /** Writes what waits, for `limitMs` at most. Calls that end from here on have no line. */
  async close(limitMs: number): Promise<void> {
    this.#unsubscribe?.();
    this.#logs = none;
    await Promise.all([...this.#writers.values()].map((writer) => writer.close(limitMs)));
    this.#writers.clear();
  }

  /** For the end of the process: writes what waits now. */
  flushSync(): void {
    for (const writer of this.#writers.values()) writer.flushSync();
  }

  collectStats(sink: StatSink): void {
    sink.counter('access_log.written', this.#stats.written);
    sink.counter('access_log.dropped', this.#stats.dropped);
    sink.counter('access_log.write_failed', this.#stats.writeFailed);
    sink.counter('access_log.reopened', this.#stats.reopened);
    let waiting = 0;
    for (const writer of this.#writers.values()) waiting += writer.waitingBytes;
    sink.gauge('access_log.waiting_bytes', waiting);
  }

  #use({ accessLogs }: PolicyTable): ConfigurationError | undefined {
    const { setting } = this.#options;
    const wanted = (written: readonly AccessLogPolicy[] | undefined): readonly AccessLogPolicy[] => {
      if (setting === 'off') return [];
      return written ?? (setting === undefined ? [] : [everyCall]);
    };
    const [inbound, outbound] = [wanted(accessLogs.inbound), wanted(accessLogs.outbound)];
    const paths = new Set([...inbound, ...outbound].map((policy) => this.#pathOf(policy)));
    let wrong: ConfigurationError | undefined;
    for (const path of paths) {
      if (this.#writers.has(path)) continue;
      const { clock, open } = this.#options;
      const writer = new LogWriter(path, { clock, log: this.#limitedLog, stats: this.#stats, ...(open === undefined ? {} : { open }) });
      this.#writers.set(path, writer);
      wrong ??= writer.openNow();
    }
    this.#logs = { inbound: inbound.map((policy) => this.#begin(policy)), outbound: outbound.map((policy) => this.#begin(policy)) };
    for (const [path, writer] of this.#writers) {
      if (paths.has(path)) continue;
      this.#writers.delete(path);
      void writer.close(closeMs);
    }
    return wrong;
  }

  #pathOf({ path }: AccessLogPolicy): string {
    return path ?? this.#options.setting ?? 'stdout';
  }

  #begin(policy: AccessLogPolicy): CallLog {
    const { clock, hostname, random, serviceName } = this.#options;
    const context: LogContext = { serviceName, hostname, wallNow: () => clock.wallNow() };
    return {
      wants: policy.filter === undefined ? undefined : compileFilter(policy.filter, random),
      write: compileFormat(policy.format, context),
      writer: this.#writers.get(this.#pathOf(policy)) as LogWriter,
    };
  }
}

/** A log that no policy names any more has so long to take what waits for it. */
const closeMs = 2_000;
