export { type ConsulAddress, formatConsulAddress, parseConsulAddress } from './consul/consul-address.ts';
export { type ConsulAnswer, ConsulClient, type ConsulClientOptions, type ConsulConnection } from './consul/consul-client.ts';
export { ConsulDiscovery, type ConsulDiscoveryOptions } from './consul/consul-discovery.ts';
export { ConsulError } from './consul/consul-error.ts';
export type { ConsulPolicies } from './consul/consul-policies.ts';
export { findOwnAddress } from './consul/own-address.ts';
export { consulPolicyEntries } from './consul/policy-entries.ts';
export { consulPolicyIntentions } from './consul/policy-intentions.ts';
export { consulPolicyKeys } from './consul/policy-keys.ts';
export { Registration, type RegistrationState, type RegistrationView } from './consul/registration.ts';
export type { RegisteredService, RegistrationCheck, ServiceReport } from './consul/registration-definition.ts';
export { createEndpointSource, type EndpointSourceContext } from './create-source.ts';
export {
  compareAddresses,
  type Departure,
  type EndpointAddress,
  type EndpointSet,
  type EndpointSource,
  type EndpointUpdateCounts,
  normalizeEndpoints,
} from './endpoints.ts';
export { ReadingThread } from './reading/reading-thread.ts';
export { type EndpointResolver, type NameServerOptions, nameServerResolver, type ResolvedName, systemResolver } from './resolver.ts';
