export { Admission, breakerStateCodes, Cluster } from './cluster.ts';
export { type BreakerSelection, type BreakerView, ClusterBreakers } from './cluster-breakers.ts';
export { ClusterSet } from './cluster-set.ts';
export { ClusterStats, EndpointStats } from './cluster-stats.ts';
export { Endpoint, type EndpointOutcome, endpointKey } from './endpoint.ts';
export { localServiceName, localServicePolicy } from './local-service.ts';
export { StreamWaiter, type WaiterQueue } from './stream-waiter.ts';
export type { UpstreamContext } from './upstream-context.ts';
