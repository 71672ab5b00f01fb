import { formatHostPort } from '../core/index.ts';
import type { EndpointMetadata } from '../resilience/index.ts';
import type { ListedCluster, MappedCluster } from './cluster-schema.ts';
import { compileDns, compileSource, dnsOptions, refuseOtherType, sourceKeys } from './compile-sources.ts';
import { type HostPort, isName, readHost, readHostPort } from './endpoint-address.ts';
import type { Place, Problems } from './problems.ts';
import type { Placed } from './shape.ts';
import type { EndpointPolicy, EndpointSourcePolicy } from './types.ts';

type ClusterGroup = MappedCluster | ListedCluster;

export interface PlacedEndpoint {
  readonly endpoint: EndpointPolicy;
  readonly place: Place;
}

const defaultWeight = 1;

/** The ways of writing endpoints, one of which may be there. */
export const compileEndpoints = (name: string, written: ClusterGroup, problems: Problems): EndpointSourcePolicy => {
  const { values } = written;
  const ways = sourceKeys.filter((way) => written.wrote(way));
  const second = ways[1];
  if (second !== undefined) problems.error(written.placeOf(second), `is written beside ${ways[0]}`, 'keep one of them');

  refuseOtherType(written, ways[0], problems);
  if (values.dns !== undefined) return compileDns(written, problems);
  const source = compileSource(name, written, problems);
  if (source !== undefined) return source;
  const endpoints =
    values.endpoints !== undefined ? readShort(values.endpoints, problems) : readLoadAssignment(values.load_assignment, problems);
  if (ways.length === 0) return { kind: 'unwritten' };
  refuseDuplicates(endpoints, problems);
  refuseGaps(endpoints, problems);

  const names = endpoints.filter(({ endpoint }) => isName(endpoint.host));
  if (values.type === 'STATIC') {
    for (const { endpoint, place } of names)
      problems.error(place, `"${endpoint.host}" is a name, and type: STATIC takes addresses`, 'write type: STRICT_DNS');
  }
  const resolved = values.type === 'STRICT_DNS' || values.type === 'LOGICAL_DNS' || (values.type === undefined && names.length > 0);
  if (!resolved) {
    for (const key of [
      'dns_refresh_rate',
      'dns_lookup_family',
      'dns_resolvers',
      'dns_resolution_config',
      'respect_dns_ttl',
      'keep_last',
    ] as const) {
      if (written.wrote(key)) problems.warning(written.placeOf(key), 'has no effect: no endpoint is a name', 'remove it');
    }
    return { kind: 'static', endpoints: endpoints.map(({ endpoint }) => endpoint) };
  }
  return {
    kind: 'dns',
    names: endpoints.map(({ endpoint }) => endpoint),
    ...dnsOptions(written, problems),
  };
};

export const readShort = (written: NonNullable<ClusterGroup['values']['endpoints']>, problems: Problems): readonly PlacedEndpoint[] =>
  written.flatMap((item) => {
    if (!('values' in item)) {
      const read = readHostPort(item, problems);
      return read === undefined ? [] : [{ endpoint: { ...read, weight: defaultWeight }, place: item.place }];
    }
    const { address, weight, priority, locality, metadata } = item.values;
    const read = address === undefined ? undefined : readHostPort(address, problems);
    if (read === undefined || address === undefined) return [];
    const place = { priority, locality: typeof locality === 'object' ? localityText(locality) : locality, metadata };
    return [{ endpoint: endpointOf({ ...read, weight: weight ?? defaultWeight }, place), place: priority?.place ?? address.place }];
  });

export const readLoadAssignment = (written: ClusterGroup['values']['load_assignment'], problems: Problems): readonly PlacedEndpoint[] =>
  (written?.values.endpoints ?? []).flatMap(
    ({ values: { lb_endpoints: items, locality, priority, load_balancing_weight: localityWeight } }) =>
      (items ?? []).flatMap((item) => {
        const socket = item.values.endpoint?.values.address?.values.socket_address;
        const address = socket?.values.address;
        const port = socket?.values.port_value;
        const host = address === undefined ? undefined : readHost(address, problems);
        if (unusable.has(item.values.health_status ?? 'UNKNOWN')) return [];
        if (address === undefined || host === undefined || port === undefined) return [];
        const weight = item.values.load_balancing_weight ?? defaultWeight;
        const where = { priority, locality: locality && localityText(locality), localityWeight, metadata: item.values.metadata };
        return [{ endpoint: endpointOf({ host, port, weight }, where), place: priority?.place ?? address.place }];
      }),
  );

/** Envoy sends nothing to them as long as there are others; here they are not endpoints. */
const unusable: ReadonlySet<string> = new Set(['UNHEALTHY', 'DRAINING', 'TIMEOUT']);

interface Where {
  readonly priority: Placed<number> | undefined;
  readonly locality: string | undefined;
  readonly localityWeight?: number | undefined;
  readonly metadata: EndpointMetadata | undefined;
}

/** Only what was written: most endpoints have nothing but an address. */
const endpointOf = (
  address: HostPort & { readonly weight: number },
  { priority, locality, localityWeight, metadata }: Where,
): EndpointPolicy => ({
  ...address,
  ...(priority !== undefined && priority.value !== 0 && { priority: priority.value }),
  ...(locality !== undefined && locality !== '' && { locality }),
  ...(localityWeight !== undefined && { localityWeight }),
  ...(metadata !== undefined && { metadata }),
});

/** `region/zone/sub_zone`, without what is missing at its end. */
const localityText = ({
  values,
}: {
  readonly values: { readonly region?: string | undefined; readonly zone?: string | undefined; readonly sub_zone?: string | undefined };
}): string => `${values.region ?? ''}/${values.zone ?? ''}/${values.sub_zone ?? ''}`.replace(/\/+$/, '');

/** A priority without endpoints would be one that can carry nothing; Envoy refuses it too. */
export const refuseGaps = (endpoints: readonly PlacedEndpoint[], problems: Problems): void => {
  const written = new Set(endpoints.map(({ endpoint }) => endpoint.priority ?? 0));
  for (const { endpoint, place } of endpoints) {
    const priority = endpoint.priority ?? 0;
    if (priority > 0 && !written.has(priority - 1))
      problems.error(place, `priority ${priority} without priority ${priority - 1}`, 'number the priorities 0, 1, 2 without gaps');
  }
};

export const refuseDuplicates = (endpoints: readonly PlacedEndpoint[], problems: Problems): void => {
  const first = new Map<string, Place>();
  for (const { endpoint, place } of endpoints) {
    const key = formatHostPort(endpoint).toLowerCase();
    const earlier = first.get(key);
    if (earlier === undefined) first.set(key, place);
    else
      problems.error(
        place,
        `${key} is written twice (first in line ${earlier.location.line})`,
        'keep one of them; a weight says how much it gets',
      );
  }
};
