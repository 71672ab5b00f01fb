import { hostname } from 'node:os';
import { RecentFailures } from '../admin/index.ts';
import type { Clock, Logger, Shortcoming, Watch } from '../core/index.ts';
import type { Identity } from '../identity/index.ts';
import type { PolicyTable } from '../policy/index.ts';
import {
  AccessLog,
  CallMetrics,
  type CallObserver,
  ExemplarRecorder,
  type MetricsInputs,
  type OtlpMetricsHandle,
  openOtlpMetrics,
  openStatsd,
  type SpanSink,
  type StatRegistry,
  type StatsdHandle,
  Tracing,
} from '../telemetry/index.ts';
import type { SidecarConfiguration } from './configuration.ts';
import { packageVersion } from './package-version.ts';

export interface SidecarTelemetryContext {
  readonly clock: Clock;
  readonly log: Logger;
  readonly random: () => number;
  /** Who hears of each call that has ended, beside those that the configuration asks for. */
  readonly observers?: readonly CallObserver[];
  /** Gets spans in the place of whoever the configuration names. */
  readonly spans?: SpanSink;
  /** All numbers of the sidecar; those of its telemetry are added. */
  readonly stats: StatRegistry;
  readonly policies: Watch<PolicyTable>;
  /** They may ask for a log at any time. */
  readonly policiesMayChange: boolean;
  /** `undefined`: it has no certificate. */
  readonly identity: Watch<Identity> | undefined;
  readonly clusterNames: () => readonly string[];
}

/** Spans and lines of the last calls are worth a moment, and no more: the process is expected to be gone. */
const longestFlushMs = 2_000;

/** What a sidecar tells of its calls, and to whom. */
export class SidecarTelemetry {
  readonly callMetrics: CallMetrics;
  readonly failures: RecentFailures;
  /** `undefined`: there can be none. */
  readonly accessLog: AccessLog | undefined;
  /** `undefined`: there are no traces. */
  readonly tracing: Tracing | undefined;
  /** Who hears of each call that has ended. */
  readonly observers: readonly CallObserver[];
  readonly #configuration: SidecarConfiguration;
  readonly #context: SidecarTelemetryContext;
  /** Where metrics are sent. */
  readonly #metricSinks: (StatsdHandle | OtlpMetricsHandle)[] = [];
  #statsd: StatsdHandle | undefined;

  /** Opens the files of logs; throws a ConfigurationError for one that cannot be written. */
  constructor(configuration: SidecarConfiguration, context: SidecarTelemetryContext) {
    const { clock, log, observers = [], spans, stats } = context;
    const { metricsExemplars, serviceName, tracing } = configuration;
    this.#configuration = configuration;
    this.#context = context;
    this.callMetrics = new CallMetrics({ wallNow: () => clock.wallNow() });
    this.failures = new RecentFailures(clock);
    this.accessLog = this.#openAccessLog();
    this.tracing =
      tracing === undefined
        ? undefined
        : new Tracing(tracing, { clock, log, serviceName, ...(spans === undefined ? {} : { sink: spans }) });
    const exemplars = metricsExemplars ?? tracing !== undefined;
    this.observers = [
      this.failures,
      ...(this.accessLog === undefined ? [] : [this.accessLog]),
      ...(exemplars ? [new ExemplarRecorder()] : []),
      ...observers,
    ];
    for (const source of [this.callMetrics, this.accessLog, this.tracing]) if (source !== undefined) stats.add(source);
  }

  /** Before there are calls: loading would hold them up. */
  async load(): Promise<void> {
    const { otlpMetrics, serviceName, statsd } = this.#configuration;
    const { clock, log, stats } = this.#context;
    await this.tracing?.load();
    const context = { clock, log, metrics: this.metrics };
    if (statsd !== undefined) {
      this.#statsd = await openStatsd(statsd, context);
      this.#metricSinks.push(this.#statsd);
    }
    if (otlpMetrics !== undefined)
      this.#metricSinks.push(await openOtlpMetrics(otlpMetrics, { ...context, serviceName, version: packageVersion() }));
    for (const sink of this.#metricSinks) stats.add(sink);
  }

  /** Whom it is to tell and cannot. */
  get shortcomings(): readonly Shortcoming[] {
    return [this.tracing?.shortcoming, this.#statsd?.shortcoming].filter((one) => one !== undefined);
  }

  /** All numbers, for whoever takes them elsewhere. */
  get metrics(): MetricsInputs {
    const { serviceName, serviceVersion } = this.#configuration;
    const { clock, clusterNames, identity, stats } = this.#context;
    return {
      stats,
      calls: this.callMetrics,
      clusterNames,
      certificates: () =>
        identity === undefined ? [] : [{ service: serviceName, secondsLeft: (identity.value.notAfterMs - clock.wallNow()) / 1_000 }],
      build: {
        version: packageVersion(),
        node: process.versions.node,
        service: serviceName,
        service_version: serviceVersion ?? '',
      },
    };
  }

  /** Sends the last spans and numbers, for a moment at most. Idempotent. */
  async flush(): Promise<void> {
    await Promise.all([this.tracing?.close(longestFlushMs), ...this.#metricSinks.map((sink) => sink.close(longestFlushMs))]);
  }

  /** Writes the last lines, for a moment at most; what waits elsewhere is given up. Idempotent. */
  async close(): Promise<void> {
    await this.accessLog?.close(longestFlushMs);
    await this.tracing?.close(0);
    for (const sink of this.#metricSinks) await sink.close(0);
  }

  #openAccessLog(): AccessLog | undefined {
    const { accessLog: setting, serviceName } = this.#configuration;
    const { clock, log, policies, policiesMayChange, random } = this.#context;
    if (setting === 'off' || (setting === undefined && !policiesMayChange)) return undefined;
    return new AccessLog({ clock, log, random, policies, setting, serviceName, hostname: hostname() });
  }
}
