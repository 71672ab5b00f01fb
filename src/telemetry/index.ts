/** `inbound`: peers call our service. `outbound`: our service calls peers. */
export type { Direction } from '../policy/index.ts';
export { CallMetrics, type CallMetricsOptions, directions, overflowLabel } from './call-metrics.ts';
export type { CallObserver, EndedCall } from './ended-call.ts';
export { durationBucketsSeconds, MethodMetrics, statusCount } from './method-metrics.ts';
export { type MemoryReading, type ProcessSample, ProcessStats } from './process-stats.ts';
export { PrometheusExposition, type PrometheusInputs, type PrometheusText } from './prometheus.ts';
export { type Stat, StatRegistry, type StatSink, type StatSource } from './stats.ts';
