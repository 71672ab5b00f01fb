import { isIP } from 'node:net';
import type { EndpointAddress } from './endpoints.ts';

/** What is used of an `EndpointSlice` (discovery.k8s.io/v1). */
export interface EndpointSlice {
  readonly name: string;
  readonly resourceVersion: string;
  readonly addressType: string;
  readonly ports: readonly { readonly name: string; readonly port: number }[];
  readonly endpoints: readonly SliceEndpoint[];
}

interface SliceEndpoint {
  readonly addresses: readonly string[];
  readonly ready: boolean;
  readonly serving: boolean;
  readonly terminating: boolean;
  readonly zone: string | undefined;
  readonly hostname: string | undefined;
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const record = (value: unknown): Readonly<Record<string, unknown>> => (isRecord(value) ? value : {});
const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);
const text = (value: unknown): string => (typeof value === 'string' ? value : '');

/** Reads one object of the API; throws where it is no EndpointSlice. */
export const readSlice = (object: unknown): EndpointSlice => {
  const { metadata, addressType, ports, endpoints } = record(object);
  const { name, resourceVersion } = record(metadata);
  if (typeof name !== 'string' || typeof addressType !== 'string') throw new Error('an object that is no EndpointSlice');
  return {
    name,
    resourceVersion: text(resourceVersion),
    addressType,
    ports: list(ports).flatMap((item) => {
      const { name: portName, port, protocol = 'TCP' } = record(item);
      return typeof port === 'number' && port >= 1 && port <= 65_535 && protocol === 'TCP' ? [{ name: text(portName), port }] : [];
    }),
    endpoints: list(endpoints).map((item) => {
      const { addresses, conditions, zone, hostname } = record(item);
      const { ready, serving, terminating } = record(conditions);
      return {
        addresses: list(addresses).filter((address) => typeof address === 'string'),
        // Unknown is to be taken for ready, and serving for what ready says (API reference).
        ready: ready !== false,
        serving: typeof serving === 'boolean' ? serving : ready !== false,
        terminating: terminating === true,
        zone: typeof zone === 'string' && zone !== '' ? zone : undefined,
        hostname: typeof hostname === 'string' && hostname !== '' ? hostname : undefined,
      };
    }),
  };
};

export interface SliceEndpoints {
  readonly endpoints: readonly EndpointAddress[];
  /** What of the slices could not be used. */
  readonly wrong: string | undefined;
}

/**
 * The endpoints of all slices of a service. Ready ones; where there is none, those that are shutting down and still serve, as kube-proxy
 * does. The same address in two slices, which happens while it moves from one to the other, is one endpoint.
 * @param port name or number; `undefined`: the one named `grpc`, else the only one.
 */
export const endpointsOf = (slices: Iterable<EndpointSlice>, port: string | number | undefined): SliceEndpoints => {
  const ready: EndpointAddress[] = [];
  const leaving: EndpointAddress[] = [];
  let wrong: string | undefined;
  for (const slice of slices) {
    if (slice.endpoints.length === 0) continue;
    if (slice.addressType !== 'IPv4' && slice.addressType !== 'IPv6') {
      wrong ??= `EndpointSlice ${slice.name} has addresses of type ${slice.addressType}, which are not used`;
      continue;
    }
    const number = portOf(slice, port);
    if (number === undefined) {
      const known = slice.ports.map((each) => `${each.name || '(no name)'} ${each.port}`).join(', ') || 'none';
      wrong ??= `EndpointSlice ${slice.name} has no port ${port === undefined ? 'named grpc, and not just one' : `"${port}"`} (it has ${known})`;
      continue;
    }
    for (const { addresses, ready: isReady, serving, terminating, zone, hostname } of slice.endpoints) {
      const target = isReady && !terminating ? ready : serving && terminating ? leaving : undefined;
      // All addresses of one endpoint lead to the same pod; the API says to use the first.
      const [host] = addresses;
      if (target === undefined || host === undefined || isIP(host) === 0) continue;
      target.push({
        host,
        port: number,
        weight: 1,
        ...(hostname !== undefined && { hostname }),
        ...(zone !== undefined && { locality: `/${zone}` }),
      });
    }
  }
  return { endpoints: ready.length > 0 ? ready : leaving, wrong };
};

const portOf = ({ ports }: EndpointSlice, wanted: string | number | undefined): number | undefined => {
  if (typeof wanted === 'number') return ports.find(({ port }) => port === wanted)?.port;
  if (wanted !== undefined) return ports.find(({ name }) => name === wanted)?.port;
  return ports.find(({ name }) => name === 'grpc')?.port ?? (ports.length === 1 ? ports[0]?.port : undefined);
};
