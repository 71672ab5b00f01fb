import { isDeepStrictEqual } from 'node:util';
import type { Watch } from '../core/index.ts';
import type { EndpointMetadata } from '../resilience/index.ts';

/** One place where a service can be reached. */
export interface EndpointAddress {
  /** IP address. */
  readonly host: string;
  readonly port: number;
  /** Share of the calls relative to the other endpoints of the set; at least 1. */
  readonly weight: number;
  /** The name that led to `host`, where there was one. */
  readonly hostname?: string;
  /** Calls go to the lowest number that can carry them; 0 where left out. */
  readonly priority?: number;
  /** `region/zone/sub_zone`. */
  readonly locality?: string;
  /** Share of the locality in relation to the others of the priority; the weights of its endpoints together where left out. */
  readonly localityWeight?: number;
  /** By which `lb_subset_config` chooses. */
  readonly metadata?: EndpointMetadata;
  /** The name in its certificate, where that is another one than the cluster's. */
  readonly service?: string;
  /** How whoever told of it calls this instance. */
  readonly instance?: string;
}

export interface EndpointSet {
  /** Sorted by host and port, none twice. */
  readonly endpoints: readonly EndpointAddress[];
  /** Who said so: `static`, `dns:<name>`. */
  readonly source: string;
  /** Wall clock of the last good answer; 0 where there was none yet. */
  readonly updatedAtMs: number;
  /** Why the last attempt to refresh failed; the endpoints are then those of the last good answer. */
  readonly error?: string;
  /** The last answer was a good one, and `error` says what of it is not used. */
  readonly partial?: boolean;
  /** There is no endpoint because the source lists only instances that take calls, and none does now. */
  readonly allBusy?: boolean;
}

/** Of one set; a source that says more is not believed. */
export const mostEndpoints = 20_000;

/** An instance that a source has listed, and does not any more. */
export interface Departure {
  /** How the source calls it. */
  readonly instance: string;
  /** `host:port`. */
  readonly address: string;
  /** Why, as far as the source says: `deregistered`, `critical: ...`, `in maintenance`. */
  readonly why: string;
  /** Wall clock. */
  readonly atMs: number;
}

/** How often a source has asked, under the names that Envoy gives its clusters' counters. */
export interface EndpointUpdateCounts {
  readonly update_attempt: number;
  readonly update_success: number;
  readonly update_failure: number;
  readonly update_empty: number;
}

/**
 * Where a cluster's endpoints come from; the proxy cannot tell one kind from another. Listeners hear of changes of the
 * endpoints and of the error; an answer that only confirms what is known moves `value.updatedAtMs` without a word.
 */
export interface EndpointSource extends Watch<EndpointSet> {
  /** Present where the source asks somebody. */
  readonly updates?: EndpointUpdateCounts;
  /** Instances that it lists no longer, the newest last; present where the source can say why. */
  readonly departures?: readonly Departure[];
  /** A connection to one of its endpoints could be made, or could not; for sources that tell whom they got it from. */
  connectResult?(endpoint: EndpointAddress, connected: boolean): void;
  /** Ends timers; no listener is called any more. Idempotent. */
  close(): void;
}

/** Negative where `a` comes first; 0 for the same place. */
export const compareAddresses = (a: EndpointAddress, b: EndpointAddress): number =>
  a.host === b.host ? a.port - b.port : a.host < b.host ? -1 : 1;

/** Sorts, and keeps the first of those that share host and port, so that equal sets look equal. What is in order already is returned as it is. */
export const normalizeEndpoints = (endpoints: readonly EndpointAddress[]): readonly EndpointAddress[] => {
  if (endpoints.every((endpoint, i) => i === 0 || compareAddresses(endpoints[i - 1] as EndpointAddress, endpoint) < 0)) return endpoints;
  const byKey = new Map<string, EndpointAddress>();
  for (const endpoint of endpoints) {
    const key = `${endpoint.host} ${endpoint.port}`;
    if (!byKey.has(key)) byKey.set(key, endpoint);
  }
  return [...byKey.values()].sort(compareAddresses);
};

/** Whether two normalized lists say the same about the same endpoints. */
export const sameEndpoints = (a: readonly EndpointAddress[], b: readonly EndpointAddress[]): boolean =>
  a.length === b.length && a.every((endpoint, i) => sameEndpoint(endpoint, b[i] as EndpointAddress));

/** Whether both say the same about the same endpoint. */
export const sameEndpoint = (a: EndpointAddress, b: EndpointAddress): boolean =>
  a === b ||
  (a.host === b.host &&
    a.port === b.port &&
    a.weight === b.weight &&
    a.hostname === b.hostname &&
    a.instance === b.instance &&
    a.service === b.service &&
    a.priority === b.priority &&
    a.locality === b.locality &&
    a.localityWeight === b.localityWeight &&
    (a.metadata === b.metadata || isDeepStrictEqual(a.metadata, b.metadata)));
