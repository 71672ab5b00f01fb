import { hash } from 'node:crypto';
import { isIP } from 'node:net';
import type { EndpointAddress } from '../endpoints.ts';

/** Which instances of an answer count, and as what. */
export interface InstanceSelection {
  /** Leaves out instances of which a check warns; critical ones are always left out. */
  readonly passingOnly: boolean;
  /** The answer is sorted by distance: only so many of the nearest count; 0 = all. */
  readonly nearest: number;
  /** Calls go to the lowest number that can carry them. */
  readonly priority: number;
  /** The name in certificates, where the cluster has another one. */
  readonly service?: string;
}

/** What an answer says, in a form that crosses threads as one flat string. */
export interface InstanceList {
  /** The same for the same instances, in whatever order and at whatever index. */
  readonly digest: string;
  /** One line of JSON for each endpoint, sorted by host and port; `undefined` where the digest is that of before. */
  readonly lines: string | undefined;
  /** Endpoints. */
  readonly count: number;
  /** Instances that are what they have to be, whether they count or not. */
  readonly instances: number;
  /** Instances that could not be read, and what was wrong with the first of them. */
  readonly refused: number;
  readonly problem: string | undefined;
}

type Json = { readonly [key: string]: unknown };

const hostPattern = /^(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*$/;
/** What Consul itself allows of metadata. */
const mostMetadata = 64;
const longestKey = 128;
const longestValue = 512;
const largestWeight = 65_535;
const longestId = 256;

const isObject = (value: unknown): value is Json => typeof value === 'object' && value !== null && !Array.isArray(value);
const textOf = (value: unknown): string => (typeof value === 'string' ? value : '');

class Unreadable extends Error {}

/**
 * Reads an answer of `/v1/health/service/:name`, or of a prepared query. What comes from the network is believed as little as it can be: an
 * instance that is not what it has to be is left out and counted; only an answer of another shape altogether throws.
 * @param known digest of what is known already.
 */
export const readInstances = (text: string, selection: InstanceSelection, known: string): InstanceList => {
  const parsed: unknown = JSON.parse(text);
  const entries = isObject(parsed) ? parsed['Nodes'] : parsed;
  // A prepared query without instances says null.
  const list = entries === null && isObject(parsed) ? [] : entries;
  if (!Array.isArray(list)) throw new Unreadable('the answer is no list of instances');
  const endpoints: EndpointAddress[] = [];
  let refused = 0;
  let problem: string | undefined;
  for (const entry of list as readonly unknown[]) {
    try {
      const endpoint = readInstance(entry, selection);
      if (endpoint !== undefined) endpoints.push(endpoint);
    } catch (error) {
      refused++;
      problem ??= error instanceof Error ? error.message : String(error);
    }
  }
  const chosen = selection.nearest > 0 ? endpoints.slice(0, selection.nearest) : endpoints;
  chosen.sort(byAddress);
  const unique = chosen.filter((endpoint, i) => i === 0 || !sameAddress(endpoint, chosen[i - 1] as EndpointAddress));
  const lines = unique.map((endpoint) => JSON.stringify(endpoint)).join('\n');
  const digest = hash('sha1', lines);
  return {
    digest,
    lines: digest === known ? undefined : lines,
    count: unique.length,
    instances: list.length - refused,
    refused,
    problem,
  };
};

/** The order of endpoint sets; of those that share an address the same one comes first each time, whatever Consul's order. */
const byAddress = (a: EndpointAddress, b: EndpointAddress): number => {
  if (a.host !== b.host) return a.host < b.host ? -1 : 1;
  if (a.port !== b.port) return a.port - b.port;
  const [first, second] = [a.instance ?? '', b.instance ?? ''];
  return first === second ? 0 : first < second ? -1 : 1;
};

const sameAddress = (a: EndpointAddress, b: EndpointAddress): boolean => a.host === b.host && a.port === b.port;

/** `undefined` for an instance that does not count now. */
const readInstance = (entry: unknown, { passingOnly, priority, service: named }: InstanceSelection): EndpointAddress | undefined => {
  if (!isObject(entry) || !isObject(entry['Service'])) throw new Unreadable('an instance without Service');
  const service = entry['Service'];
  const node = isObject(entry['Node']) ? entry['Node'] : {};
  const id = textOf(service['ID']).slice(0, longestId);
  const name = JSON.stringify(id);
  const health = healthOf(entry['Checks'], name);
  const host = textOf(service['Address']) || textOf(node['Address']);
  if (isIP(host) === 0 && !hostPattern.test(host)) throw new Unreadable(`instance ${name} has no usable address`);
  const port = service['Port'];
  if (!isNumber(port, 1, 65_535)) throw new Unreadable(`instance ${name} has no usable port`);
  if (health === 'critical' || (health === 'warning' && passingOnly)) return undefined;
  const weight = weightOf(service['Weights'], health);
  if (weight === 0) return undefined;
  const metadata = metadataOf(service, node);
  const locality = localityOf(service, node, metadata);
  return {
    host,
    port,
    weight,
    instance: id,
    ...(priority === 0 ? {} : { priority }),
    ...(locality === undefined ? {} : { locality }),
    ...(named === undefined ? {} : { service: named }),
    metadata,
  };
};

const isNumber = (value: unknown, lowest: number, highest: number): value is number =>
  typeof value === 'number' && Number.isInteger(value) && value >= lowest && value <= highest;

/** The worst of its checks; maintenance mode is a critical check of its own. */
const healthOf = (checks: unknown, name: string): 'passing' | 'warning' | 'critical' => {
  if (checks === undefined || checks === null) return 'passing';
  if (!Array.isArray(checks)) throw new Unreadable(`the checks of instance ${name} are no list`);
  let worst: 'passing' | 'warning' = 'passing';
  for (const check of checks as readonly unknown[]) {
    const status = isObject(check) ? check['Status'] : undefined;
    if (status === 'critical') return 'critical';
    if (status === 'warning') worst = 'warning';
    else if (status !== 'passing') throw new Unreadable(`a check of instance ${name} has no status that Consul knows`);
  }
  return worst;
};

/** Consul's own defaults: 1 while all checks pass, 1 while one warns. 0 takes the instance out. */
const weightOf = (weights: unknown, health: 'passing' | 'warning'): number => {
  const weight = isObject(weights) ? weights[health === 'passing' ? 'Passing' : 'Warning'] : undefined;
  return isNumber(weight, 0, largestWeight) ? weight : 1;
};

/**
 * What subsets choose by: `Meta` as it is, tags of the form `key=value`, every other tag as `tag.<tag>: "true"`, `version` (of `Meta`, else the
 * tag that looks like one), and `datacenter`. What `Meta` says wins.
 */
const metadataOf = (service: Json, node: Json): Readonly<Record<string, string>> => {
  const found = new Map<string, string>();
  const add = (key: string, value: unknown): void => {
    if (found.size >= mostMetadata || found.has(key) || key === '' || key.length > longestKey) return;
    if (typeof value === 'string' && value.length <= longestValue) found.set(key, value);
  };
  if (isObject(service['Meta'])) for (const [key, value] of Object.entries(service['Meta'])) add(key, value);
  const tags = Array.isArray(service['Tags']) ? (service['Tags'] as readonly unknown[]).filter((tag) => typeof tag === 'string') : [];
  for (const tag of tags) {
    const at = tag.indexOf('=');
    if (at > 0) add(tag.slice(0, at), tag.slice(at + 1));
    else add(`tag.${tag}`, 'true');
  }
  const version = tags.find((tag) => /^v\d[\w.+-]*$/.test(tag));
  if (version !== undefined) add('version', version);
  add('datacenter', node['Datacenter']);
  return Object.fromEntries([...found].sort(([a], [b]) => (a < b ? -1 : 1)));
};

/** `region/zone/sub_zone`: Consul's own locality, else what the instance was registered with. */
const localityOf = (service: Json, node: Json, metadata: Readonly<Record<string, string>>): string | undefined => {
  const locality = isObject(service['Locality']) ? service['Locality'] : isObject(node['Locality']) ? node['Locality'] : {};
  const region = textOf(locality['Region']) || (metadata['region'] ?? '');
  const zone = textOf(locality['Zone']) || (metadata['zone'] ?? '');
  const subZone = metadata['sub_zone'] ?? '';
  return region === '' && zone === '' && subZone === '' ? undefined : `${region}/${zone}/${subZone}`;
};
