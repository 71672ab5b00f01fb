export { createEndpointSource, type EndpointSourceContext } from './create-source.ts';
export type { EndpointAddress, EndpointSet, EndpointSource, EndpointUpdateCounts } from './endpoints.ts';
export { type EndpointResolver, type NameServerOptions, nameServerResolver, type ResolvedName, systemResolver } from './resolver.ts';
