import { suggest } from '../core/index.ts';
import type { DocumentMap } from './document.ts';
import type { Place, Problems } from './problems.ts';
import { type JsonSchema, placeOf, refuseKind, type Shape } from './shape.ts';

export interface LiveField<T> {
  readonly kind: 'field';
  readonly shape: Shape<T>;
  readonly doc: string;
  readonly required: boolean;
}

/** Reads like a field, but does nothing: a warning says so. */
export interface InertField<T> {
  readonly kind: 'inert';
  readonly shape: Shape<T>;
  readonly remedy: string;
}

/** A key that people know from elsewhere, and that would do nothing here: an error says what to do instead. */
export interface RefusedField {
  readonly kind: 'refused';
  readonly message: string;
  readonly remedy: string;
}

/** One key of a group. */
export type Field = LiveField<unknown> | InertField<unknown> | RefusedField;
export type Fields = Readonly<Record<string, Field>>;

/** @param doc one sentence for editors, without a full stop. */
export const field = <T>(shape: Shape<T>, doc: string): LiveField<T> => ({ kind: 'field', shape, doc, required: false });
export const required = <T>(shape: Shape<T>, doc: string): LiveField<T> => ({ kind: 'field', shape, doc, required: true });
export const inert = <T>(shape: Shape<T>, remedy: string): InertField<T> => ({ kind: 'inert', shape, remedy });
export const refused = (remedy: string): RefusedField => ({ kind: 'refused', message: 'is not accepted', remedy });
/** A key of the product that this release does not serve yet. */
export const later = (remedy = 'remove it'): RefusedField => ({ kind: 'refused', message: 'is not supported by this release', remedy });

type ValueOf<F> = F extends { readonly shape: Shape<infer T> } ? T : never;

/** A group that was read: the values of its keys, and where each stands. */
export interface Group<F extends Fields> {
  readonly place: Place;
  readonly values: { readonly [K in keyof F]?: ValueOf<F[K]> | undefined };
  /** Whether the key is there, with a right value or a wrong one. */
  wrote(key: keyof F & string): boolean;
  /** Where the key is written, else the group. */
  placeOf(key: keyof F & string): Place;
}

/** A group whose key may be anything, seen by rules that only ask what was written. */
export interface GroupShape<F extends Fields> extends Shape<Group<F>> {
  readonly name: string;
  readonly fields: F;
}

const longestSuggested = 64;

/**
 * A group of known keys. Unknown ones are errors, with the key that was probably meant, or the place where it belongs.
 * @param name of the part in the JSON Schema.
 * @param homes says in which groups a key is known, by path in the document.
 */
export const group = <const F extends Fields>(
  name: string,
  expected: string,
  fields: F,
  homes: (key: string) => string | undefined = () => undefined,
): GroupShape<F> => {
  const known = Object.entries(fields).flatMap(([key, { kind }]) => (kind === 'refused' ? [] : [key]));
  const wanted = Object.entries(fields).flatMap(([key, entry]) => (entry.kind === 'field' && entry.required ? [{ key, entry }] : []));

  const unknownKey = (key: string): string => {
    const meant = key.length <= longestSuggested ? suggest(key, known) : undefined;
    if (meant !== undefined) return `did you mean ${meant}?`;
    const home = homes(key);
    if (home !== undefined) return `it belongs under ${home}`;
    return known.length === 0 ? 'remove it' : `known here: ${known.join(', ')}`;
  };

  const read = (node: DocumentMap, path: string, problems: Problems): Group<F> => {
    const places = new Map<string, Place>();
    const values: Record<string, unknown> = Object.create(null);
    for (const { key, location, value } of node.entries) {
      const place = { location, path: path === '' ? key : `${path}.${key}` };
      const entry = Object.hasOwn(fields, key) ? fields[key] : undefined;
      if (entry === undefined) {
        problems.error(place, 'unknown key', unknownKey(key));
        continue;
      }
      places.set(key, place);
      if (entry.kind === 'refused') {
        problems.error(place, entry.message, entry.remedy);
        continue;
      }
      if (entry.kind === 'inert') problems.warning(place, 'has no effect', entry.remedy);
      values[key] = entry.shape.read(value, place.path, problems);
    }
    for (const { key, entry } of wanted) {
      if (!places.has(key)) problems.error(placeOf(node, path), `${key} is missing`, `add "${key}:" with ${entry.shape.expected}`);
    }
    const place = placeOf(node, path);
    return {
      place,
      values: values as Group<F>['values'],
      wrote: (key) => places.has(key),
      placeOf: (key) => places.get(key) ?? place,
    };
  };

  return {
    name,
    fields,
    expected,
    read: (node, path, problems) => (node.kind === 'map' ? read(node, path, problems) : refuseKind(node, path, expected, problems)),
    jsonSchema: (parts) => {
      if (!parts.has(name)) {
        // Entered before it is complete, so that a part within a part finds it.
        parts.set(name, {});
        const properties: Record<string, JsonSchema> = {};
        for (const [key, entry] of Object.entries(fields)) {
          if (entry.kind === 'refused') continue;
          const description = entry.kind === 'field' ? entry.doc : `Without effect: ${entry.remedy}`;
          properties[key] = { description, ...entry.shape.jsonSchema(parts) };
        }
        parts.set(name, {
          type: 'object',
          additionalProperties: false,
          ...(wanted.length > 0 ? { required: wanted.map(({ key }) => key) } : {}),
          properties,
        });
      }
      return { $ref: `#/$defs/${name}` };
    },
  };
};
