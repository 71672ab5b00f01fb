import type { Clock, Logger } from '../core/index.ts';
import { type DnsEndpointsPolicy, type EndpointPolicy, type EndpointSourcePolicy, plainConsulPolicy } from '../policy/index.ts';
import type { ConsulDiscovery } from './consul/consul-discovery.ts';
import { DnsEndpointSource } from './dns-source.ts';
import type { EndpointSource } from './endpoints.ts';
import { FileEndpointSource } from './file-source.ts';
import { HttpEndpointSource } from './http-source.ts';
import { KubernetesEndpointSource } from './kubernetes-source.ts';
import { MissingSource } from './missing-source.ts';
import type { ReadingThread } from './reading/reading-thread.ts';
import { type EndpointResolver, nameServerResolver, systemResolver } from './resolver.ts';

export interface EndpointSourceContext {
  readonly clock: Clock;
  readonly log: Logger;
  /** How names become addresses; the system's way unless given. */
  readonly resolver?: EndpointResolver;
  /** How long names in a static list are kept after an empty answer; five minutes unless given. A `dns` policy has its own. */
  readonly keepLastMs?: number;
  /** From 0 to 1, for jitter. */
  readonly random?: () => number;
  /** Where services are looked up by their names; nowhere unless given. */
  readonly consul?: ConsulDiscovery;
  /** Reads long files; each source has one of its own unless given. */
  readonly thread?: ReadingThread;
}

/** Who is only known to name servers, or is to be asked for when its TTL says so, cannot be had from getaddrinfo. */
const asksServers = ({ servers, services, asksServers: wanted }: DnsEndpointsPolicy): boolean =>
  servers !== undefined || wanted === true || (services?.length ?? 0) > 0;

const ownResolver = ({ servers }: DnsEndpointsPolicy, given: EndpointResolver | undefined) =>
  given === undefined
    ? { resolver: nameServerResolver(servers === undefined ? {} : { servers }), ownsResolver: true }
    : { resolver: given };

const withoutConsul = 'the policy looks for the service in Consul, and CONSUL_HTTP_ADDR is not set';

/** Envoy's `dns_refresh_rate`. */
const defaultRefreshMs = 5_000;
const defaultKeepLastMs = 300_000;

/**
 * Starts the source that a cluster's policy asks for. Whoever calls it owes a `close()`. A source of names begins empty and
 * fills as soon as the first answer is there; endpoints that nobody wrote are looked up by the name of the service, where there
 * is a source of discovery that knows services by their names.
 */
export const createEndpointSource = (policy: EndpointSourcePolicy, context: EndpointSourceContext, serviceName = ''): EndpointSource => {
  const { consul, clock, log, resolver = systemResolver, keepLastMs = defaultKeepLastMs, random = Math.random } = context;
  const options = { clock, log, resolver, random };
  // People write `endpoints: ["auth:50051"]` for a compose service: a name in a list means what it means under `dns`.
  const list = (names: readonly EndpointPolicy[]): EndpointSource =>
    new DnsEndpointSource({ kind: 'dns', names, family: 'all', allAddresses: true, refreshMs: defaultRefreshMs, keepLastMs }, options);
  switch (policy.kind) {
    case 'static':
      return list(policy.endpoints);
    case 'dns':
      return new DnsEndpointSource(policy, asksServers(policy) ? { ...options, ...ownResolver(policy, context.resolver) } : options);
    case 'http':
      return new HttpEndpointSource(policy, { clock, log, random });
    case 'file':
      return new FileEndpointSource(policy, { clock, log, ...(context.thread !== undefined && { thread: context.thread }) });
    case 'kubernetes':
      return new KubernetesEndpointSource(policy, { clock, log, random });
    case 'consul':
      return consul?.open(policy) ?? new MissingSource(`consul:${policy.service}`, withoutConsul);
    case 'unwritten':
      return serviceName === '' || consul === undefined ? list([]) : consul.open(plainConsulPolicy(serviceName));
  }
};
