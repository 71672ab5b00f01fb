/** `inbound`: peers call our service. `outbound`: our service calls peers. */
export type { Direction } from '../policy/index.ts';
export { AccessLog, type AccessLogOptions } from './access-log/index.ts';
export { CallMetrics, type CallMetricsOptions, directions, overflowLabel } from './call-metrics.ts';
export type { CallObserver, EndedCall } from './ended-call.ts';
export { durationBucketsSeconds, type Exemplar, MethodMetrics, statusCount } from './method-metrics.ts';
export { ExemplarRecorder } from './metrics/exemplar-recorder.ts';
export { acceptsGzip, type ExpositionFormat, expositionFormats, negotiateFormat } from './metrics/exposition-format.ts';
export { type MetricsInputs, MetricsReader } from './metrics/metrics-reader.ts';
export { PrometheusExposition, type PrometheusInputs, type PrometheusText } from './metrics/prometheus.ts';
export { type MemoryReading, type ProcessSample, ProcessStats } from './process-stats.ts';
export { type Stat, StatRegistry, type StatSink, type StatSource } from './stats.ts';
export { openStatsd, type StatsdHandle } from './statsd/open-statsd.ts';
export { type StatsdFormat, type StatsdOptions, statsdFormats } from './statsd/statsd-options.ts';
export type { AttemptRecord, CallTrace } from './tracing/call-trace.ts';
export type { CallTracer } from './tracing/call-tracer.ts';
export { Tracing } from './tracing/tracing.ts';
export type { JaegerDestination, OtlpDestination, SpanDestination, TracingOptions } from './tracing/tracing-options.ts';
