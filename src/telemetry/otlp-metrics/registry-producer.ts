import type { HrTime } from '@opentelemetry/api';
import type {
  AggregationTemporality,
  CollectionResult,
  DataPoint,
  DataPointType,
  GaugeMetricData,
  HistogramMetricData,
  MetricData,
  MetricProducer,
  SumMetricData,
} from '@opentelemetry/sdk-metrics';
import type { Clock } from '../../core/index.ts';
import { statusName } from '../../grpc/index.ts';
import { durationBucketsSeconds } from '../method-metrics.ts';
import type { CallSeries, MetricFamily, MetricsReader } from '../metrics/metrics-reader.ts';
import type { SpanResource } from '../tracing/span-resource.ts';

/** Values of the SDK's enumerations, which are loaded where they are needed. */
export interface SdkEnumerations {
  readonly AggregationTemporality: typeof AggregationTemporality;
  readonly DataPointType: typeof DataPointType;
}

/** Every number may have a fraction, as in the other formats. */
const double = 1;
const boundaries = [...durationBucketsSeconds];
const units = { '': '1', seconds: 's', bytes: 'By' } as const;

const hrTime = (ms: number): HrTime => [Math.floor(ms / 1_000), Math.round((ms % 1_000) * 1e6)];

/** Hands the sidecar's own numbers to the SDK: those of `/metrics`, under the same names without `_total`, which receivers put behind them again. */
export class RegistryProducer implements MetricProducer {
  readonly #reader: MetricsReader;
  readonly #resource: SpanResource;
  readonly #version: string;
  readonly #clock: Clock;
  readonly #startedAtMs: number;
  readonly #sdk: SdkEnumerations;

  constructor(
    reader: MetricsReader,
    sdk: SdkEnumerations,
    options: { readonly resource: SpanResource; readonly version: string; readonly clock: Clock },
  ) {
    this.#reader = reader;
    this.#sdk = sdk;
    this.#resource = options.resource;
    this.#version = options.version;
    this.#clock = options.clock;
    this.#startedAtMs = options.clock.wallNow();
  }

  async collect(): Promise<CollectionResult> {
    const { calls, families } = await this.#reader.read();
    const nowMs = this.#clock.wallNow();
    const metrics: MetricData[] = [...this.#calls(calls, nowMs), ...families.map((family) => this.#family(family, nowMs))];
    const scope = { name: 'outrider', version: this.#version };
    return { resourceMetrics: { resource: this.#resource, scopeMetrics: [{ scope, metrics }] }, errors: [] };
  }

  #calls(calls: readonly CallSeries[], nowMs: number): readonly MetricData[] {
    const requests: DataPoint<number>[] = [];
    const durations: HistogramMetricData['dataPoints'] = [];
    const endTime = hrTime(nowMs);
    for (const { buckets, createdAtMs, method, service, statuses, totalMs } of calls) {
      const startTime = hrTime(createdAtMs > 0 ? createdAtMs : this.#startedAtMs);
      let count = 0;
      statuses.forEach((value, status) => {
        count += value;
        if (value > 0) requests.push({ startTime, endTime, attributes: { service, method, status: statusName(status) }, value });
      });
      if (count === 0) continue;
      const value = { buckets: { boundaries, counts: [...buckets] }, sum: totalMs / 1_000, count };
      durations.push({ startTime, endTime, attributes: { service, method }, value });
    }
    if (requests.length === 0) return [];
    const { AggregationTemporality, DataPointType } = this.#sdk;
    const counted: SumMetricData = {
      descriptor: { name: 'grpc_requests', description: 'Calls that have ended, by gRPC status.', unit: '1', valueType: double },
      aggregationTemporality: AggregationTemporality.CUMULATIVE,
      dataPointType: DataPointType.SUM,
      isMonotonic: true,
      dataPoints: requests,
    };
    const description = 'Seconds from the first byte of a call to its status.';
    const timed: HistogramMetricData = {
      descriptor: { name: 'grpc_request_duration_seconds', description, unit: 's', valueType: double },
      aggregationTemporality: AggregationTemporality.CUMULATIVE,
      dataPointType: DataPointType.HISTOGRAM,
      dataPoints: durations,
    };
    return [counted, timed];
  }

  #family({ help, kind, name, samples, unit }: MetricFamily, nowMs: number): MetricData {
    const { AggregationTemporality, DataPointType } = this.#sdk;
    const [startTime, endTime] = [hrTime(this.#startedAtMs), hrTime(nowMs)];
    const common = {
      descriptor: { name, description: help, unit: units[unit], valueType: double },
      aggregationTemporality: AggregationTemporality.CUMULATIVE,
      dataPoints: samples.map(({ labels, value }) => ({ startTime, endTime, attributes: { ...labels }, value })),
    };
    if (kind === 'counter') return { ...common, dataPointType: DataPointType.SUM, isMonotonic: true } satisfies SumMetricData;
    return { ...common, dataPointType: DataPointType.GAUGE } satisfies GaugeMetricData;
  }
}
