import { parse, stringify } from 'yaml';
import { compilePolicies, formatProblem, type PolicyCompilation, type PolicyTable } from '../../src/policy/index.ts';
import { defaultFailureStatuses } from '../../src/resilience/breaker.ts';
import { descriptorSetOf } from '../harness/descriptor-set.ts';
import type { DocumentExample, Frame } from './policy-document.ts';

/** Ten, so that a tenth of them is one. */
const endpoints = JSON.stringify(Array.from({ length: 10 }, (_, i) => `10.0.0.${i + 1}:50051`));
const clusters = `clusters:\n  shop: { endpoints: ${endpoints} }\n  shop-v2: { endpoints: ${endpoints} }\n`;

const indent = (text: string, spaces: number): string => text.trim().replaceAll(/^/gm, ' '.repeat(spaces));

/** Keys that say where endpoints are; a cluster without any of them gets some. */
const sources = ['endpoints', 'load_assignment', 'dns', 'consul', 'http', 'file', 'kubernetes', 'eds_cluster_config'];

const keysOf = (text: string): readonly string[] => Object.keys((parse(text) ?? {}) as object);
const unlessIn = (keys: readonly string[], wanted: readonly string[], line: string): string =>
  keys.some((key) => wanted.includes(key)) ? '' : `${line}\n`;

/** The whole file that an example stands for. */
export const wholeFile = ({ frame, text }: { readonly frame: Frame; readonly text: string }): string => {
  if (frame === 'file' || frame === 'service-config') return text;
  const keys = keysOf(text);
  switch (frame) {
    case 'action': {
      const rest = `${unlessIn(keys, ['cluster', 'weighted_clusters'], 'cluster: shop')}${unlessIn(keys, ['timeout'], 'timeout: 10s')}${text}`;
      return `routes:\n  - match: { prefix: / }\n    route:\n${indent(rest, 6)}\n${clusters}`;
    }
    case 'route': {
      const rest = `${unlessIn(keys, ['match'], 'match: { prefix: / }')}${unlessIn(keys, ['route'], 'route: { cluster: shop, timeout: 10s }')}${text}`;
      return `routes:\n  -\n${indent(rest, 4)}\n${clusters}`;
    }
    case 'cluster':
      return `clusters:\n  shop:\n${indent(`${unlessIn(keys, sources, `endpoints: ${endpoints}`)}${text}`, 4)}\n`;
  }
};

/** What examples name as `shop.binpb`. */
export const descriptorsOfExamples = descriptorSetOf(`
  syntax = "proto3";
  package acme;
  message Empty {}
  service Shop { rpc Get (Empty) returns (Empty) { option idempotency_level = NO_SIDE_EFFECTS; } }
`);

/** Compiles what an example stands for, beside a descriptor set `shop.binpb`. */
export const compileText = (frame: Frame, text: string): PolicyCompilation => {
  const path = frame === 'service-config' ? 'shop.service-config.json' : 'policies.yaml';
  return compilePolicies([{ path, bytes: new TextEncoder().encode(text) }], [{ path: 'shop.binpb', bytes: descriptorsOfExamples }]);
};

/** What the compiler says, as the document writes it: without the place. */
export const problemsWithoutPlace = ({ problems }: PolicyCompilation): readonly string[] =>
  problems.map((problem) => formatProblem(problem).replace(/^[^:]*:\d+:\d+: /, ''));

export const compileExample = (example: DocumentExample): PolicyCompilation => compileText(example.frame, wholeFile(example));

/** What functions of a table are asked, to tell them apart. */
const probes = [
  undefined,
  '',
  '5',
  'true',
  'v2',
  'EU-west',
  'eu-west',
  'west-eu',
  'eu-west-1',
  'acme/1',
  '/acme.Shop/Get',
  '/shop.Cart/Add',
];

/** Left out where nobody wrote them, so that they cost nothing: what the machines take then. */
const machineDefaults: Readonly<Record<string, unknown>> = { failureStatuses: defaultFailureStatuses, successThreshold: 1 };

const describe = (key: string, value: unknown): unknown => {
  if (key === 'location' || (value !== undefined && value === machineDefaults[key])) return undefined;
  if (value instanceof Map) return [...value];
  if (value instanceof Set) return [...value];
  if (value === Number.POSITIVE_INFINITY) return 'infinite';
  if (typeof value === 'function') return probes.map((probe) => (key === 'rewrite' && probe === undefined ? null : value(probe)));
  return value;
};

/** Everything that a table says, without where it is written: equal texts, equal policies. */
export const tableText = ({ version: _version, files: _files, warnings: _warnings, ...table }: PolicyTable): string =>
  JSON.stringify(table, describe);

export type YamlValue = string | number | boolean | null | YamlValue[] | { [key: string]: YamlValue };

/** Calls `change` with each group that has the field `path`; names of clusters and list items are passed over. */
const visit = (value: YamlValue, path: readonly string[], change: (group: { [key: string]: YamlValue }, key: string) => void): void => {
  if (Array.isArray(value)) {
    for (const item of value) visit(item, path, change);
    return;
  }
  const [key, ...rest] = path;
  if (typeof value !== 'object' || value === null || key === undefined) return;
  if (key === '*') {
    for (const item of Object.values(value)) visit(item, rest, change);
    return;
  }
  if (!Object.hasOwn(value, key)) return;
  if (rest.length === 0) change(value, key);
  else visit(value[key] as YamlValue, rest, change);
};

const pathsIn = (document: YamlValue, path: string): readonly (readonly string[])[] => {
  const keys = path.replace(/^service_config\./, '').split('.');
  const isMap = (holder: string): boolean => {
    const at = typeof document === 'object' && document !== null && !Array.isArray(document) ? document[holder] : undefined;
    return typeof at === 'object' && at !== null && !Array.isArray(at);
  };
  // `clusters` by name, or as Envoy's list.
  const named = keys[0] === 'clusters' && keys.length > 1 && isMap('clusters') ? ['clusters', '*', ...keys.slice(1)] : keys;
  return keys[0] === 'routes' ? [named, ['inbound', ...named]] : [named];
};

/** Whether the field is written anywhere at one of its paths. */
export const writes = (text: string, paths: readonly string[]): boolean => {
  const document = parse(text) as YamlValue;
  let found = false;
  for (const path of paths) for (const keys of pathsIn(document, path)) visit(document, keys, () => (found = true));
  return found;
};

/** The file with the field changed wherever it is written: to a value, or left out. */
export const withField = (text: string, paths: readonly string[], value: YamlValue | undefined): string => {
  const document = parse(text) as YamlValue;
  for (const path of paths) {
    for (const keys of pathsIn(document, path)) {
      visit(document, keys, (group, key) => {
        if (value === undefined) delete group[key];
        else group[key] = value;
      });
    }
  }
  return stringify(document);
};
