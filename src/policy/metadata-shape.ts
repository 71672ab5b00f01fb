import type { EndpointMetadata, WantedMetadata } from '../resilience/index.ts';
import type { DocumentMap, DocumentNode } from './document.ts';
import type { Problems } from './problems.ts';
import { type JsonSchema, refuseKind, type Shape } from './shape.ts';

/** The namespace of Envoy's metadata that balancing looks at. */
const balancing = 'envoy.lb';
const expected = 'a group such as { version: v2 }';
const scalar: JsonSchema = { type: ['string', 'number', 'boolean'] };
const pairs: JsonSchema = { type: 'object', additionalProperties: scalar };

/** In a route's metadata: what is asked for where there is no endpoint. */
const fallbackList = 'fallback_list';

/** Reads keys and values, also in Envoy's form (`filter_metadata: { envoy.lb: {...} }`). Numbers and booleans count as their text. */
const metadata = <T>(none: T, readPairs: (node: DocumentMap, path: string, problems: Problems) => T, schema: JsonSchema): Shape<T> => ({
  expected,
  read: (node, path, problems) => {
    if (node.kind !== 'map') return refuseKind(node, path, expected, problems);
    const filters = entryOf(node, 'filter_metadata');
    if (filters === undefined) return readPairs(node, path, problems);
    for (const { key, location } of node.entries) {
      if (key !== 'filter_metadata')
        problems.error({ location, path: `${path}.${key}` }, 'stands beside filter_metadata', `move it under filter_metadata.${balancing}`);
    }
    const inner = `${path}.filter_metadata`;
    if (filters.kind !== 'map') return refuseKind(filters, inner, `a group with "${balancing}:"`, problems);
    for (const { key, location } of filters.entries) {
      if (key !== balancing)
        problems.warning({ location, path: `${inner}.${key}` }, 'has no effect', `write ${balancing}, which balancing looks at`);
    }
    const wanted = entryOf(filters, balancing);
    if (wanted === undefined) return none;
    const place = `${inner}.${balancing}`;
    return wanted.kind === 'map' ? readPairs(wanted, place, problems) : refuseKind(wanted, place, expected, problems);
  },
  jsonSchema: () => ({
    anyOf: [
      {
        type: 'object',
        required: ['filter_metadata'],
        properties: { filter_metadata: { type: 'object', properties: { [balancing]: schema } } },
      },
      schema,
    ],
  }),
});

const entryOf = (node: DocumentMap, wanted: string): DocumentNode | undefined => node.entries.find(({ key }) => key === wanted)?.value;

const textOf = (node: DocumentNode, path: string, what: string, problems: Problems): string | undefined => {
  if (node.kind === 'scalar' && node.value !== null) return String(node.value);
  refuseKind(node, path, what, problems);
  return undefined;
};

const oneValue = 'text, a number, or true or false';

const readPairs = (node: DocumentMap, path: string, problems: Problems): Readonly<Record<string, string>> => {
  const read: Record<string, string> = Object.create(null);
  for (const { key, value } of node.entries) {
    const text = textOf(value, `${path}.${key}`, oneValue, problems);
    if (text !== undefined) read[key] = text;
  }
  return Object.freeze(read);
};

/** Keys with one value each. */
export const metadataShape: Shape<Readonly<Record<string, string>>> = metadata({}, readPairs, pairs);

const readOffered = (node: DocumentMap, path: string, problems: Problems): EndpointMetadata => {
  const read: Record<string, string | readonly string[]> = Object.create(null);
  for (const { key, value } of node.entries) {
    const place = `${path}.${key}`;
    if (value.kind === 'list') {
      const values = value.items.map((item, i) => textOf(item, `${place}[${i}]`, oneValue, problems));
      read[key] = Object.freeze(values.filter((text) => text !== undefined));
      continue;
    }
    const text = textOf(value, place, `${oneValue}, or a list of them`, problems);
    if (text !== undefined) read[key] = text;
  }
  return Object.freeze(read);
};

/** What an endpoint offers: keys with a value, or with a list of values. */
export const endpointMetadataShape: Shape<EndpointMetadata> = metadata({}, readOffered, {
  type: 'object',
  additionalProperties: { anyOf: [scalar, { type: 'array', items: scalar }] },
});

const readWanted = (node: DocumentMap, path: string, problems: Problems): WantedMetadata => {
  const list = entryOf(node, fallbackList);
  const asked = readPairs({ ...node, entries: node.entries.filter(({ key }) => key !== fallbackList) }, path, problems);
  if (list === undefined) return { pairs: asked, fallbacks: [] };
  const place = `${path}.${fallbackList}`;
  if (list.kind !== 'list') {
    refuseKind(list, place, 'a list of groups such as [{ version: v1 }]', problems);
    return { pairs: asked, fallbacks: [] };
  }
  const fallbacks = list.items.flatMap((item, i) => {
    if (item.kind === 'map') return [readPairs(item, `${place}[${i}]`, problems)];
    refuseKind(item, `${place}[${i}]`, expected, problems);
    return [];
  });
  return Object.freeze({ pairs: asked, fallbacks: Object.freeze(fallbacks) });
};

/** What a route asks for: keys with a value, and `fallback_list`. */
export const wantedMetadataShape: Shape<WantedMetadata> = metadata({ pairs: {}, fallbacks: [] }, readWanted, {
  type: 'object',
  properties: { [fallbackList]: { type: 'array', items: pairs } },
  additionalProperties: scalar,
});
