export { CallMetrics, type CallMetricsOptions, type Direction, directions, overflowLabel } from './call-metrics.ts';
export { durationBucketsSeconds, MethodMetrics, statusCount } from './method-metrics.ts';
export { type Stat, StatRegistry, type StatSink, type StatSource } from './stats.ts';
