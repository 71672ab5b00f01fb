import { endpointShape, loadAssignmentShape } from './cluster-schema.ts';
import { type PlacedEndpoint, readLoadAssignment, readShort, refuseDuplicates } from './compile-endpoints.ts';
import { type DocumentEntry, type DocumentMap, type DocumentNode, type PolicyText, parseDocument } from './document.ts';
import { isName } from './endpoint-address.ts';
import { readPlainEndpoints } from './endpoint-file-fast.ts';
import { field, group, required } from './group.ts';
import { Problems } from './problems.ts';
import { list } from './shape.ts';
import type { EndpointPolicy, PolicyProblem } from './types.ts';

/** What a file of endpoints says. */
export interface EndpointFileReading {
  readonly endpoints: readonly EndpointPolicy[];
  /** Where there is an error among them, `endpoints` are not to be used. */
  readonly problems: readonly PolicyProblem[];
}

export const largestEndpointFileBytes = 16 * 1_048_576;

const ownShape = group('endpoint_file', 'a group with "endpoints:"', {
  endpoints: required(list(endpointShape), 'Endpoints as host:port, or as groups with address, weight, priority, locality, metadata'),
});
const assignmentShape = group('endpoint_file_assignment', loadAssignmentShape.expected, {
  ...loadAssignmentShape.fields,
  // Envoy takes a resource without endpoints for one that has none.
  endpoints: field(loadAssignmentShape.fields.endpoints.shape, 'Groups of endpoints'),
});

const assignmentType = 'envoy.config.endpoint.v3.ClusterLoadAssignment';
const clusterType = 'envoy.config.cluster.v3.Cluster';
const nowhere = { file: '', line: 0, column: 0 };

/**
 * Reads endpoints of one cluster from a file: our own list (`endpoints: ["10.0.0.4:50051"]`), or what Envoy reads for EDS and CDS: a
 * `DiscoveryResponse`, or a bare `ClusterLoadAssignment` or `Cluster`; YAML or JSON, in the spelling of either. Of a `Cluster` only
 * `load_assignment` is looked at. Addresses only: whoever has names writes them under `dns`.
 *
 * @param clusterName under which a response of several clusters lists the endpoints.
 */
export const readEndpointFile = (text: PolicyText, clusterName: string): EndpointFileReading => {
  // JSON of thousands of endpoints is read a hundred times as fast when nobody asks where each value stands; only errors need that.
  const json = jsonOf(text);
  if (json !== undefined) {
    const plain = readPlainEndpoints(json, clusterName);
    if (plain !== undefined) return { endpoints: plain, problems: [] };
    const document = documentOfJson(json);
    const reading = document && readRoot(document, text, clusterName, new Problems([text.path]));
    if (reading?.problems.length === 0) return reading;
  }
  const problems = new Problems([text.path]);
  const document = parseDocument(text, problems);
  if (document === undefined) {
    // An empty file is one that somebody is about to write.
    if (!problems.hasErrors) problems.error(wholeFile(text), 'is empty', 'write "endpoints: []" where there are none');
    return { endpoints: [], problems: problems.list() };
  }
  return readRoot(spelledAsInYaml(document), text, clusterName, problems);
};

const wholeFile = ({ path }: PolicyText) => ({ location: { file: path, line: 0, column: 0 }, path: '' });

const readRoot = (root: DocumentMap, text: PolicyText, clusterName: string, problems: Problems): EndpointFileReading => {
  const endpoints = readAny(root, text, clusterName, problems);
  for (const { endpoint, place } of endpoints)
    if (isName(endpoint.host))
      problems.error(place, `"${endpoint.host}" is a name`, 'write an address; names belong under dns of the cluster');
  refuseDuplicates(endpoints, problems);
  return { endpoints: endpoints.map(({ endpoint }) => endpoint), problems: problems.list() };
};

const readAny = (root: DocumentMap, text: PolicyText, clusterName: string, problems: Problems): readonly PlacedEndpoint[] => {
  const resources = entryOf(root, 'resources');
  if (resources !== undefined) return readResponse(resources, text, clusterName, problems);
  const first = entryOf(root, 'endpoints')?.value;
  const isEnvoys = first?.kind === 'list' && first.items.some((item) => item.kind === 'map' && entryOf(item, 'lb_endpoints') !== undefined);
  if (isEnvoys || entryOf(root, 'cluster_name') !== undefined || entryOf(root, '@type') !== undefined || entryOf(root, 'load_assignment'))
    return readResource(root, '', problems) ?? [];
  const own = ownShape.read(root, '', problems);
  return own?.values.endpoints === undefined ? [] : readShort(own.values.endpoints, problems);
};

const readResponse = (resources: DocumentEntry, text: PolicyText, clusterName: string, problems: Problems): readonly PlacedEndpoint[] => {
  const { value, location } = resources;
  if (value.kind !== 'list') {
    problems.error({ location, path: 'resources' }, 'is no list', 'write a list of resources, each with "@type" and "cluster_name"');
    return [];
  }
  const names: string[] = [];
  for (const [i, item] of value.items.entries()) {
    const path = `resources[${i}]`;
    if (item.kind !== 'map') {
      problems.error({ location: item.location, path }, 'is no resource', 'write a group with "@type" and "cluster_name"');
      return [];
    }
    const name = textOf(item, 'cluster_name') ?? textOf(item, 'name') ?? '';
    names.push(name);
    if (name === clusterName) return readResource(item, path, problems) ?? [];
  }
  const listed = names.length === 0 ? 'it lists none' : `it lists ${names.slice(0, 10).join(', ')}`;
  problems.error(
    wholeFile(text),
    `has nothing about the cluster "${clusterName}"; ${listed}`,
    'correct cluster_name, or write service_name in the policy',
  );
  return [];
};

const readResource = (resource: DocumentMap, path: string, problems: Problems): readonly PlacedEndpoint[] | undefined => {
  const type = textOf(resource, '@type')?.replace(/^type\.googleapis\.com\//, '');
  const assignment = entryOf(resource, 'load_assignment');
  if (type === clusterType || (type === undefined && assignment !== undefined)) {
    if (assignment === undefined) {
      problems.error(
        { location: resource.location, path },
        'is a cluster without load_assignment',
        'add load_assignment with its endpoints',
      );
      return undefined;
    }
    return readAssignment(assignment.value, `${path === '' ? '' : `${path}.`}load_assignment`, problems);
  }
  if (type !== undefined && type !== assignmentType) {
    const place = { location: entryOf(resource, '@type')?.location ?? resource.location, path: `${path}.@type` };
    problems.error(place, `"${type}" holds no endpoints`, `write ${assignmentType} or ${clusterType}`);
    return undefined;
  }
  return readAssignment({ ...resource, entries: resource.entries.filter(({ key }) => key !== '@type') }, path, problems);
};

const readAssignment = (node: DocumentNode, path: string, problems: Problems): readonly PlacedEndpoint[] | undefined => {
  const read = assignmentShape.read(node, path, problems);
  return read === undefined ? undefined : readLoadAssignment(read, problems);
};

const entryOf = (node: DocumentMap, key: string): DocumentEntry | undefined => node.entries.find((entry) => entry.key === key);
const textOf = (node: DocumentMap, key: string): string | undefined => {
  const value = entryOf(node, key)?.value;
  return value?.kind === 'scalar' && typeof value.value === 'string' ? value.value : undefined;
};

/** Protobuf's JSON has both spellings, `lb_endpoints` and `lbEndpoints`. Keys of metadata are people's own. */
const snakeCase = (key: string): string => (key.startsWith('@') ? key : key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`));

const spelledAsInYaml = <N extends DocumentNode>(node: N): N => {
  if (node.kind === 'list') return { ...node, items: node.items.map(spelledAsInYaml) };
  if (node.kind !== 'map') return node;
  const entries = node.entries.map(({ key, location, value }) => ({
    key: snakeCase(key),
    location,
    value: key === 'metadata' ? metadataSpelled(value) : spelledAsInYaml(value),
  }));
  return { ...node, entries };
};
const metadataSpelled = (node: DocumentNode): DocumentNode =>
  node.kind !== 'map'
    ? node
    : { ...node, entries: node.entries.map((entry) => (entry.key === 'filterMetadata' ? { ...entry, key: 'filter_metadata' } : entry)) };

/** `undefined` where it is no JSON of a group. */
const jsonOf = ({ bytes }: PolicyText): unknown => {
  if (bytes.length > largestEndpointFileBytes || bytes.find((byte) => byte > 0x20) !== 0x7b) return undefined;
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    return undefined;
  }
};

/** Without places; `undefined` where it is not of a kind that `parseDocument` would accept. */
const documentOfJson = (json: unknown): DocumentMap | undefined => {
  try {
    const node = nodeOf(json, 0);
    return node.kind === 'map' ? spelledAsInYaml(node) : undefined;
  } catch {
    return undefined;
  }
};

const deepest = 64;

const nodeOf = (value: unknown, depth: number): DocumentNode => {
  if (depth > deepest) throw new Error('too deep');
  if (Array.isArray(value)) return { kind: 'list', items: value.map((item) => nodeOf(item, depth + 1)), location: nowhere };
  if (typeof value !== 'object' || value === null)
    return { kind: 'scalar', value: value as string | number | boolean | null, location: nowhere };
  const entries = Object.entries(value).map(([key, inner]) => {
    if (key === '__proto__') throw new Error('not accepted');
    return { key, location: nowhere, value: nodeOf(inner, depth + 1) };
  });
  return { kind: 'map', entries, location: nowhere };
};
