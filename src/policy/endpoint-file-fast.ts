import { isIP } from 'node:net';
import type { EndpointPolicy } from './types.ts';

type Json = Readonly<Record<string, unknown>>;

const isGroup = (value: unknown): value is Json => typeof value === 'object' && value !== null && !Array.isArray(value);
const hasOnly = (group: Json, known: ReadonlySet<string>): boolean => {
  for (const key in group) if (!known.has(key)) return false;
  return true;
};
const keys = (...names: readonly string[]): ReadonlySet<string> => new Set(names);

const responseKeys = keys('resources', 'version_info', 'versionInfo', 'type_url', 'typeUrl', 'nonce');
const assignmentKeys = keys('@type', 'cluster_name', 'clusterName', 'endpoints');
const localityKeys = keys('lb_endpoints', 'lbEndpoints');
const lbEndpointKeys = keys('endpoint', 'load_balancing_weight', 'loadBalancingWeight', 'health_status', 'healthStatus');
const endpointKeys = keys('address');
const addressKeys = keys('socket_address', 'socketAddress');
const socketKeys = keys('address', 'port_value', 'portValue');
const ownKeys = keys('endpoints');
const assignmentType = 'type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment';

/**
 * Endpoints of the plain kind, which thousands are: addresses and ports, at most with a weight and a health. `undefined` for whatever
 * has more to it, or is wrong: the description of the format (`endpoint-file.ts`) reads all of it, and explains, but takes fifty times as long.
 */
export const readPlainEndpoints = (root: unknown, clusterName: string): readonly EndpointPolicy[] | undefined => {
  if (!isGroup(root)) return undefined;
  const { resources } = root;
  if (resources === undefined) return hasOnly(root, ownKeys) ? readOwn(root['endpoints']) : readAssignment(root, undefined);
  if (!Array.isArray(resources) || !hasOnly(root, responseKeys)) return undefined;
  for (const resource of resources) {
    if (!isGroup(resource)) return undefined;
    const name = resource['cluster_name'] ?? resource['clusterName'] ?? resource['name'];
    if (name === clusterName) return readAssignment(resource, assignmentType);
  }
  return undefined;
};

const readOwn = (list: unknown): readonly EndpointPolicy[] | undefined => {
  if (!Array.isArray(list)) return undefined;
  const found = new Found();
  for (const item of list) {
    const colon = typeof item === 'string' ? item.lastIndexOf(':') : -1;
    if (colon < 0 || !/^\d{1,5}$/.test(item.slice(colon + 1))) return undefined;
    const host = item.slice(0, colon);
    if (isIP(host) !== 4 || !found.add(host, Number(item.slice(colon + 1)), 1)) return undefined;
  }
  return found.endpoints;
};

const readAssignment = (resource: Json, type: string | undefined): readonly EndpointPolicy[] | undefined => {
  if (!hasOnly(resource, assignmentKeys) || (type !== undefined && resource['@type'] !== type)) return undefined;
  if (type === undefined && resource['@type'] !== undefined && resource['@type'] !== assignmentType) return undefined;
  const { endpoints: localities } = resource;
  if (!Array.isArray(localities)) return undefined;
  const found = new Found();
  for (const locality of localities) {
    if (!isGroup(locality) || !hasOnly(locality, localityKeys)) return undefined;
    const list = locality['lb_endpoints'] ?? locality['lbEndpoints'];
    if (!Array.isArray(list)) return undefined;
    for (const item of list) if (!readLbEndpoint(item, found)) return undefined;
  }
  return found.endpoints;
};

const readLbEndpoint = (item: unknown, found: Found): boolean => {
  if (!isGroup(item) || !hasOnly(item, lbEndpointKeys)) return false;
  const { endpoint } = item;
  if (!isGroup(endpoint) || !hasOnly(endpoint, endpointKeys)) return false;
  const { address } = endpoint;
  if (!isGroup(address) || !hasOnly(address, addressKeys)) return false;
  const socket = address['socket_address'] ?? address['socketAddress'];
  if (!isGroup(socket) || !hasOnly(socket, socketKeys)) return false;
  const { address: host } = socket;
  const port = socket['port_value'] ?? socket['portValue'];
  const weight = item['load_balancing_weight'] ?? item['loadBalancingWeight'] ?? 1;
  const health = item['health_status'] ?? item['healthStatus'] ?? 'HEALTHY';
  if (health !== 'HEALTHY' || typeof host !== 'string' || isIP(host) === 0 || typeof port !== 'number' || typeof weight !== 'number')
    return false;
  return found.add(host, port, weight);
};

/** Refuses what is out of range, or there already. */
class Found {
  readonly endpoints: EndpointPolicy[] = [];
  readonly #known = new Set<string>();

  add(host: string, port: number, weight: number): boolean {
    if (!Number.isInteger(port) || port < 1 || port > 65_535) return false;
    if (!Number.isInteger(weight) || weight < 1 || weight > 4_294_967_295) return false;
    const key = `${host} ${port}`;
    if (this.#known.has(key)) return false;
    this.#known.add(key);
    this.endpoints.push({ host, port, weight });
    return true;
  }
}
