import { readServiceDefinition } from './definitions.ts';
import { agentServiceJson, catalogueServiceJson, checkJson, healthEntryJson, nodeJson, type RegistryNode } from './shapes.ts';

/** One record of each kind of answer, which has every name that a filter may ask for. */

const { checks, ...definition } = readServiceDefinition({ Name: 'sample', Address: '127.0.0.1', Port: 1, Check: { TTL: '1s' } });
const node: RegistryNode = { id: '', name: '', address: '127.0.0.1', datacenter: '' };
const service = { definition, createIndex: 1, modifyIndex: 1 };
const sampleChecks = checks.map((check) => ({
  definition: check,
  kind: 'ttl' as const,
  withService: true,
  status: 'critical' as const,
  output: '',
  criticalSinceMs: undefined,
  createIndex: 1,
  modifyIndex: 1,
}));

export const sampleNode = nodeJson(node);
export const sampleAgentService = agentServiceJson(service, '');
export const sampleCatalogueService = catalogueServiceJson(service, node);
export const sampleHealthEntry = healthEntryJson(service, sampleChecks, () => service, node);
export const sampleCheck = sampleChecks.map((check) => checkJson(check, service, '', true))[0];
