import type { CheckEntry } from './catalogue.ts';
import {
  blockingAnswer,
  filterOf,
  isPretty,
  nonEmpty,
  type RegistryParts,
  type RegistryPath,
  type RegistryRequest,
  serviceOf,
} from './path.ts';
import { json, type RegistryReply } from './reply.ts';
import { sampleCatalogueService, sampleCheck, sampleHealthEntry, sampleNode } from './samples.ts';
import { catalogueServiceJson, checkJson, healthEntryJson, healthServiceJson, nodeJson } from './shapes.ts';

const get = (path: string, answer: RegistryPath['answer']): RegistryPath => ({ path, methods: ['GET'], answer });

/** `?passing`, which `?passing=false` takes back. */
const onlyPassing = (query: URLSearchParams): boolean => query.has('passing') && !/^(0|f|false)$/i.test(query.get('passing') ?? '');

const hasTags = (tags: readonly string[], query: URLSearchParams): boolean => {
  const lower = tags.map((tag) => tag.toLowerCase());
  return query.getAll('tag').every((tag) => lower.includes(tag.toLowerCase()));
};

/** No node of a registry has metadata of its own: whoever asks for some finds nothing. */
const isForThisNode = (query: URLSearchParams): boolean => query.getAll('node-meta').length === 0;

const healthService = (parts: RegistryParts, request: RegistryRequest): Promise<RegistryReply> => {
  const { catalogue, node } = parts;
  const { rest, query } = request;
  const name = nonEmpty(rest, 'Missing service name');
  const matches = filterOf(request, sampleHealthEntry);
  const entries = () => {
    if (!isForThisNode(query)) return [];
    return catalogue
      .instancesOf(name)
      .filter(({ definition }) => hasTags(definition.tags, query))
      .map((service) => ({ service, checks: catalogue.checksFor(service.definition.id) }))
      .filter(({ checks }) => !onlyPassing(query) || checks.every(({ status }) => status === 'passing'))
      .map(({ service, checks }) => healthEntryJson(service, checks, serviceOf(catalogue), node))
      .filter(matches);
  };
  return blockingAnswer(parts, request, () => catalogue.healthIndex(name), entries);
};

/** Lists of checks, of which `select` says whose. */
const listChecks = (
  parts: RegistryParts,
  request: RegistryRequest,
  select: (check: CheckEntry) => boolean,
  indexNow: () => number,
): Promise<RegistryReply> => {
  const { catalogue, node } = parts;
  const matches = filterOf(request, sampleCheck);
  const list = () => {
    const found = isForThisNode(request.query) ? catalogue.checks.filter(select) : [];
    return found.map((check) => checkJson(check, serviceOf(catalogue)(check), node.name, true)).filter(matches);
  };
  return blockingAnswer(parts, request, indexNow, list);
};

const healthChecks = (parts: RegistryParts, request: RegistryRequest): Promise<RegistryReply> => {
  const { catalogue } = parts;
  const name = nonEmpty(request.rest, 'Missing service name');
  const ofService = (check: CheckEntry): boolean => serviceOf(catalogue)(check)?.definition.name === name;
  return listChecks(parts, request, ofService, () => catalogue.healthIndex(name));
};

const healthState = (parts: RegistryParts, request: RegistryRequest): Promise<RegistryReply> => {
  const state = nonEmpty(request.rest, 'Missing check state');
  return listChecks(
    parts,
    request,
    ({ status }) => state === 'any' || status === state,
    () => parts.catalogue.checksIndex,
  );
};

const healthNode = (parts: RegistryParts, request: RegistryRequest): Promise<RegistryReply> => {
  const name = nonEmpty(request.rest, 'Missing node name');
  return listChecks(
    parts,
    request,
    () => name === parts.node.name,
    () => parts.catalogue.checksIndex,
  );
};

const catalogueServices = (parts: RegistryParts, request: RegistryRequest): Promise<RegistryReply> => {
  const { catalogue } = parts;
  const byName = () => {
    const tagsByName = new Map<string, Set<string>>();
    for (const { definition } of isForThisNode(request.query) ? catalogue.services : []) {
      const tags = tagsByName.get(definition.name) ?? new Set<string>();
      tagsByName.set(definition.name, tags);
      for (const tag of definition.tags) tags.add(tag);
    }
    return Object.fromEntries([...tagsByName].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, tags]) => [name, [...tags]]));
  };
  return blockingAnswer(parts, request, () => catalogue.servicesIndex, byName);
};

const catalogueService = (parts: RegistryParts, request: RegistryRequest): Promise<RegistryReply> => {
  const { catalogue, node } = parts;
  const { rest, query } = request;
  const name = nonEmpty(rest, 'Missing service name');
  const matches = filterOf(request, sampleCatalogueService);
  const instances = () => {
    const found = isForThisNode(query) ? catalogue.instancesOf(name) : [];
    return found
      .filter(({ definition }) => hasTags(definition.tags, query))
      .map((service) => catalogueServiceJson(service, node))
      .filter(matches);
  };
  return blockingAnswer(parts, request, () => catalogue.healthIndex(name), instances);
};

const catalogueNodes = (parts: RegistryParts, request: RegistryRequest): Promise<RegistryReply> => {
  const matches = filterOf(request, sampleNode);
  const nodes = () => (isForThisNode(request.query) ? [nodeJson(parts.node)].filter(matches) : []);
  return blockingAnswer(parts, request, () => 1, nodes);
};

const catalogueNode = (parts: RegistryParts, request: RegistryRequest): Promise<RegistryReply> => {
  const { catalogue, node } = parts;
  const name = nonEmpty(request.rest, 'Missing node name');
  const found = () =>
    name === node.name
      ? {
          Node: nodeJson(node),
          Services: Object.fromEntries(catalogue.services.map((service) => [service.definition.id, healthServiceJson(service)])),
        }
      : null;
  return blockingAnswer(parts, request, () => catalogue.servicesIndex, found);
};

/** Where services are, and how they are. */
export const cataloguePaths: readonly RegistryPath[] = [
  get('/v1/health/service/', healthService),
  get('/v1/health/checks/', healthChecks),
  get('/v1/health/state/', healthState),
  get('/v1/health/node/', healthNode),
  get('/v1/catalog/services', catalogueServices),
  get('/v1/catalog/service/', catalogueService),
  get('/v1/catalog/nodes', catalogueNodes),
  get('/v1/catalog/node/', catalogueNode),
  get('/v1/catalog/datacenters', ({ node }, request) => json([node.datacenter], isPretty(request))),
];
