import type { DocumentMap, DocumentNode } from './document.ts';
import type { Problems } from './problems.ts';
import { type JsonSchema, refuseKind, type Shape } from './shape.ts';

/** The namespace of Envoy's metadata that balancing looks at. */
const balancing = 'envoy.lb';
const expected = 'a group such as { version: v2 }';
const pairs: JsonSchema = { type: 'object', additionalProperties: { type: ['string', 'number', 'boolean'] } };

/**
 * What an endpoint offers, or a route asks for: keys and values, also in Envoy's form (`filter_metadata: { envoy.lb: {...} }`).
 * Numbers and booleans count as their text.
 */
export const metadataShape: Shape<Readonly<Record<string, string>>> = {
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
    if (wanted === undefined) return {};
    const place = `${inner}.${balancing}`;
    return wanted.kind === 'map' ? readPairs(wanted, place, problems) : refuseKind(wanted, place, expected, problems);
  },
  jsonSchema: () => ({
    anyOf: [
      {
        type: 'object',
        required: ['filter_metadata'],
        properties: { filter_metadata: { type: 'object', properties: { [balancing]: pairs } } },
      },
      pairs,
    ],
  }),
};

const entryOf = (node: DocumentMap, wanted: string): DocumentNode | undefined => node.entries.find(({ key }) => key === wanted)?.value;

const readPairs = (node: DocumentMap, path: string, problems: Problems): Readonly<Record<string, string>> => {
  const read: Record<string, string> = Object.create(null);
  for (const { key, value } of node.entries) {
    if (value.kind !== 'scalar' || value.value === null) refuseKind(value, `${path}.${key}`, 'text, a number, or true or false', problems);
    else read[key] = String(value.value);
  }
  return Object.freeze(read);
};
