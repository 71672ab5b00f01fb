import { isIP } from 'node:net';
import type { CheckEntry, ServiceEntry } from './catalogue.ts';
import type { TaggedAddress } from './definitions.ts';
import { formatGoDuration } from './go-duration.ts';

/** The JSON of Consul's answers, field for field, in Consul's order. */

/** The one node that a registry is. */
export interface RegistryNode {
  readonly id: string;
  readonly name: string;
  readonly address: string;
  readonly datacenter: string;
}

/** The release of Consul whose answers these are. */
export const consulVersion = '1.20.1';

const nodeMeta = { 'consul-network-segment': '', 'consul-version': consulVersion };

const nodeAddresses = (address: string): Readonly<Record<string, string>> => {
  const family = isIP(address) === 6 ? 'ipv6' : 'ipv4';
  return { lan: address, [`lan_${family}`]: address, wan: address, [`wan_${family}`]: address };
};

export const nodeJson = ({ id, name, address, datacenter }: RegistryNode) => ({
  ID: id,
  Node: name,
  Address: address,
  Datacenter: datacenter,
  TaggedAddresses: nodeAddresses(address),
  Meta: nodeMeta,
  CreateIndex: 1,
  ModifyIndex: 1,
});

/** What was written, and what Consul adds for an IP address. Absent where there is neither. */
const taggedAddressesOf = ({ definition }: ServiceEntry): Readonly<Record<string, TaggedAddress>> | undefined => {
  const { address, port, taggedAddresses } = definition;
  const family = isIP(address);
  const own = { Address: address, Port: port };
  const added = family === 0 ? {} : { [`lan_ipv${family}`]: own, [`wan_ipv${family}`]: own };
  const all = { ...added, ...taggedAddresses };
  if (Object.keys(all).length === 0) return undefined;
  return Object.fromEntries(Object.entries(all).sort(([a], [b]) => (a < b ? -1 : 1)));
};

const noProxy = { Mode: '', MeshGateway: {}, Expose: {} };

/** An instance as the agent shows it. */
export const agentServiceJson = (service: ServiceEntry, datacenter: string, contentHash?: string) => {
  const { id, name, tags, meta, port, address, weights, enableTagOverride } = service.definition;
  const TaggedAddresses = taggedAddressesOf(service);
  return {
    ID: id,
    Service: name,
    Tags: tags,
    Meta: meta,
    Port: port,
    Address: address,
    ...(TaggedAddresses === undefined ? {} : { TaggedAddresses }),
    Weights: weights,
    EnableTagOverride: enableTagOverride,
    ...(contentHash === undefined ? {} : { ContentHash: contentHash }),
    Datacenter: datacenter,
  };
};

/** An instance as `/v1/health/service` and `/v1/catalog/node` show it: empty metadata is null, and no port is left out. */
export const healthServiceJson = (service: ServiceEntry) => {
  const { id, name, tags, meta, port, address, weights, enableTagOverride } = service.definition;
  const TaggedAddresses = taggedAddressesOf(service);
  return {
    ID: id,
    Service: name,
    Tags: tags,
    Address: address,
    ...(TaggedAddresses === undefined ? {} : { TaggedAddresses }),
    Meta: Object.keys(meta).length === 0 ? null : meta,
    ...(port === 0 ? {} : { Port: port }),
    Weights: weights,
    EnableTagOverride: enableTagOverride,
    Proxy: noProxy,
    Connect: {},
    PeerName: '',
    CreateIndex: service.createIndex,
    ModifyIndex: service.modifyIndex,
  };
};

/** An instance as `/v1/catalog/service` shows it. */
export const catalogueServiceJson = (service: ServiceEntry, node: RegistryNode) => {
  const { id, name, tags, meta, port, address, weights, enableTagOverride } = service.definition;
  return {
    ID: node.id,
    Node: node.name,
    Address: node.address,
    Datacenter: node.datacenter,
    TaggedAddresses: nodeAddresses(node.address),
    NodeMeta: nodeMeta,
    ServiceKind: '',
    ServiceID: id,
    ServiceName: name,
    ServiceTags: tags,
    ServiceAddress: address,
    ServiceTaggedAddresses: taggedAddressesOf(service) ?? null,
    ServiceWeights: weights,
    ServiceMeta: meta,
    ServicePort: port,
    ServiceSocketPath: '',
    ServiceEnableTagOverride: enableTagOverride,
    ServiceProxy: noProxy,
    ServiceConnect: {},
    ServiceLocality: null,
    CreateIndex: service.createIndex,
    ModifyIndex: service.modifyIndex,
  };
};

/** A check; the agent shows its own without indexes. */
export const checkJson = (check: CheckEntry, service: ServiceEntry | undefined, node: string, withIndexes: boolean) => {
  const { id, name, notes, serviceId, intervalText, timeoutText, intervalMs, timeoutMs } = check.definition;
  const registeredAlone = !check.withService && check.kind !== '';
  return {
    Node: node,
    CheckID: id,
    Name: name,
    Status: check.status,
    Notes: notes,
    Output: check.output,
    ServiceID: serviceId,
    ServiceName: service?.definition.name ?? '',
    ServiceTags: service?.definition.tags ?? [],
    Type: check.kind,
    Interval: registeredAlone ? formatGoDuration(intervalMs) : intervalText,
    Timeout: registeredAlone ? formatGoDuration(timeoutMs) : timeoutText,
    ExposedPort: 0,
    Definition: {},
    CreateIndex: withIndexes ? check.createIndex : 0,
    ModifyIndex: withIndexes ? check.modifyIndex : 0,
  };
};

/** An entry of `/v1/health/service`. */
export const healthEntryJson = (
  service: ServiceEntry,
  checks: readonly CheckEntry[],
  serviceOf: (check: CheckEntry) => ServiceEntry | undefined,
  node: RegistryNode,
) => ({
  Node: nodeJson(node),
  Service: healthServiceJson(service),
  Checks: checks.map((check) => checkJson(check, serviceOf(check), node.name, true)),
});

export type HealthEntryJson = ReturnType<typeof healthEntryJson>;
