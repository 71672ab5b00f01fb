export { type ConsulAddress, formatConsulAddress, parseConsulAddress } from './consul/consul-address.ts';
export { type ConsulAnswer, ConsulClient, type ConsulClientOptions, type ConsulConnection } from './consul/consul-client.ts';
export { ConsulDiscovery, type ConsulDiscoveryOptions } from './consul/consul-discovery.ts';
export { ConsulError } from './consul/consul-error.ts';
export { createEndpointSource, type EndpointSourceContext } from './create-source.ts';
export type { EndpointAddress, EndpointSet, EndpointSource, EndpointUpdateCounts } from './endpoints.ts';
export { type EndpointResolver, type NameServerOptions, nameServerResolver, type ResolvedName, systemResolver } from './resolver.ts';
