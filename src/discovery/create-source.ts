import type { Clock, Logger } from '../core/index.ts';
import { DnsEndpointSource } from './dns-source.ts';
import type { EndpointSource } from './endpoints.ts';
import { type EndpointResolver, systemResolver } from './resolver.ts';
import type { EndpointSourcePolicy } from './source-policy.ts';

export interface EndpointSourceContext {
  readonly clock: Clock;
  readonly log: Logger;
  /** How names become addresses; the system's way unless given. */
  readonly resolver?: EndpointResolver;
  /** How long endpoints are kept after an empty answer; five minutes unless given. */
  readonly keepLastMs?: number;
  /** From 0 to 1, for jitter. */
  readonly random?: () => number;
}

/** Envoy's `dns_refresh_rate`. */
const defaultRefreshMs = 5_000;
const defaultKeepLastMs = 300_000;

/**
 * Starts the source that a cluster's policy asks for. Whoever calls it owes a `close()`. A source of names begins empty and
 * fills as soon as the first answer is there.
 */
export const createEndpointSource = (policy: EndpointSourcePolicy, context: EndpointSourceContext): EndpointSource => {
  const options = {
    clock: context.clock,
    log: context.log,
    resolver: context.resolver ?? systemResolver,
    keepLastMs: context.keepLastMs ?? defaultKeepLastMs,
    random: context.random ?? Math.random,
  };
  switch (policy.kind) {
    case 'static':
      // People write `endpoints: ["auth:50051"]` for a compose service: a name there means what it means under `dns`.
      return new DnsEndpointSource(policy.endpoints, { ...options, refreshMs: defaultRefreshMs });
    case 'dns':
      return new DnsEndpointSource(policy.targets, { ...options, refreshMs: policy.refreshMs ?? defaultRefreshMs });
  }
};
