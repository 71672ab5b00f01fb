import { formatDurationMs, parseDurationMs, suggest } from '../core/index.ts';
import type { DocumentNode, DocumentScalar } from './document.ts';
import type { Place, Problems } from './problems.ts';

/** A JSON Schema, or a part of one. */
export type JsonSchema = { readonly [keyword: string]: unknown };
/** Named parts, collected while a schema is printed. */
export type JsonSchemaParts = Map<string, JsonSchema>;

/**
 * What may stand somewhere in a policy file. The one description that reads values, explains what is wrong with them and
 * prints the JSON Schema, so that the three cannot drift apart.
 */
export interface Shape<T> {
  /** `a duration such as 5s`: completes "is ..., write". */
  readonly expected: string;
  /** @returns `undefined` where the value is wrong; why is then among `problems`. */
  read(node: DocumentNode, path: string, problems: Problems): T | undefined;
  jsonSchema(parts: JsonSchemaParts): JsonSchema;
}

/** What a shape yields. */
export type Read<S> = S extends Shape<infer T> ? T : never;

/** A value that knows where it stands. */
export interface Placed<T> {
  readonly value: T;
  readonly place: Place;
}

/** What was written instead, in the words of a person. */
const describe = (node: DocumentNode): string => {
  if (node.kind === 'list') return 'a list';
  if (node.kind === 'map') return 'a group of keys';
  if (node.value === null) return 'empty';
  if (typeof node.value === 'boolean') return `${node.value}`;
  const text = String(node.value);
  const short = text.length > 60 ? `${text.slice(0, 60)}...` : text;
  return typeof node.value === 'string' ? JSON.stringify(short) : `the number ${short}`;
};

export const placeOf = (node: DocumentNode, path: string): Place => ({ location: node.location, path });

/** Reports that something else stands here than what is expected. */
export const refuseKind = (node: DocumentNode, path: string, expected: string, problems: Problems): undefined => {
  problems.error(placeOf(node, path), `is ${describe(node)}`, `write ${expected}`);
  return undefined;
};

const scalar = <T>(
  expected: string,
  schema: JsonSchema,
  accept: (value: DocumentScalar['value'], refuse: (message: string, remedy: string) => undefined) => T | undefined,
): Shape<T> => ({
  expected,
  read: (node, path, problems) => {
    if (node.kind !== 'scalar') return refuseKind(node, path, expected, problems);
    let refused = false;
    const accepted = accept(node.value, (message, remedy) => {
      refused = true;
      problems.error(placeOf(node, path), message, remedy);
      return undefined;
    });
    if (accepted === undefined && !refused) refuseKind(node, path, expected, problems);
    return accepted;
  },
  jsonSchema: () => schema,
});

/** Text that is not empty. A number or `true` is none: YAML would have changed it (`1.10` is 1.1), so quotes are asked for. */
export const text = (expected: string, options: { readonly pattern?: RegExp; readonly mayBeEmpty?: boolean } = {}): Shape<string> =>
  scalar(
    expected,
    {
      type: 'string',
      ...(options.mayBeEmpty === true ? {} : { minLength: 1 }),
      ...(options.pattern === undefined ? {} : { pattern: options.pattern.source }),
    },
    (value, refuse) => {
      if (typeof value === 'number' || typeof value === 'boolean')
        return refuse(`is ${value}, which is not text`, `put it into quotes: "${value}"`);
      if (typeof value !== 'string' || (value === '' && options.mayBeEmpty !== true)) return undefined;
      return options.pattern === undefined || options.pattern.test(value) ? value : undefined;
    },
  );

export const flag: Shape<boolean> = scalar('true or false', { type: 'boolean' }, (value) =>
  typeof value === 'boolean' ? value : undefined,
);

export const number = (limits: { readonly min: number; readonly max: number; readonly integer: boolean }): Shape<number> => {
  const range = limits.max >= Number.MAX_SAFE_INTEGER ? `of at least ${limits.min}` : `from ${limits.min} to ${limits.max}`;
  const expected = `a ${limits.integer ? 'whole ' : ''}number ${range}`;
  const schema = { type: limits.integer ? 'integer' : 'number', minimum: limits.min, maximum: limits.max };
  return scalar(expected, schema, (value, refuse) => {
    if (typeof value === 'string' && /^-?\d+(\.\d+)?$/.test(value)) return refuse(`is text ("${value}")`, `write ${value} without quotes`);
    if (typeof value !== 'number' || (limits.integer && !Number.isInteger(value))) return undefined;
    return value >= limits.min && value <= limits.max ? value : undefined;
  });
};

/** Envoy's UInt32. */
export const count = (min = 0, max = 4_294_967_295): Shape<number> => number({ min, max, integer: true });

/** Milliseconds of a duration as people write it. */
export const duration = (limits: { readonly minMs?: number; readonly maxMs?: number; readonly example?: string } = {}): Shape<number> => {
  const { minMs = 0, maxMs = Number.POSITIVE_INFINITY, example = '5s' } = limits;
  const least = minMs > 0 ? `, at least ${formatDurationMs(minMs)}` : '';
  const most = Number.isFinite(maxMs) ? `, at most ${formatDurationMs(maxMs)}` : '';
  const expected = `a duration such as ${example}${least}${most}`;
  return scalar(expected, { type: 'string', pattern: '^\\d+(\\.\\d+)?(ns|us|ms|s|m|h|d)$' }, (value, refuse) => {
    if (typeof value === 'number') return refuse(`is the number ${value}, without a unit`, `write ${value}s or ${value}ms`);
    const ms = typeof value === 'string' ? parseDurationMs(value) : undefined;
    return ms !== undefined && ms >= minMs && ms <= maxMs ? ms : undefined;
  });
};

/** One of a few words. Values that are accepted beside them (Envoy's spelling) are keys of `aliases`. */
export const word = <const W extends string>(words: readonly W[], aliases: Readonly<Record<string, W>> = {}): Shape<W> => {
  const known = [...words, ...Object.keys(aliases)];
  return scalar(`one of ${words.join(', ')}`, { enum: known }, (value, refuse) => {
    if (typeof value !== 'string') return undefined;
    const found = words.find((candidate) => candidate === value) ?? (Object.hasOwn(aliases, value) ? aliases[value] : undefined);
    if (found !== undefined) return found;
    const meant = value.length <= 64 ? suggest(value, known) : undefined;
    return refuse(
      `is ${describe({ kind: 'scalar', value, location: nowhere })}`,
      meant === undefined ? `write one of ${words.join(', ')}` : `did you mean ${meant}?`,
    );
  });
};

const nowhere = { file: '', line: 0, column: 0 };

/** What is written, with its place. */
export const placed = <T>(shape: Shape<T>): Shape<Placed<T>> => ({
  expected: shape.expected,
  read: (node, path, problems) => {
    const value = shape.read(node, path, problems);
    return value === undefined ? undefined : { value, place: placeOf(node, path) };
  },
  jsonSchema: (parts) => shape.jsonSchema(parts),
});

export const list = <T>(item: Shape<T>, options: { readonly minItems?: number } = {}): Shape<readonly T[]> => {
  const { minItems = 0 } = options;
  const expected = `a list${minItems > 0 ? ` of at least ${minItems}` : ''}, each ${item.expected}`;
  return {
    expected,
    read: (node, path, problems) => {
      if (node.kind !== 'list') return refuseKind(node, path, expected, problems);
      if (node.items.length < minItems) {
        if (node.items.length === 0) problems.error(placeOf(node, path), 'is an empty list', `write ${expected}`);
        else problems.error(placeOf(node, path), `is a list of ${node.items.length}`, `write at least ${minItems}`);
        return undefined;
      }
      return node.items.map((child, index) => item.read(child, `${path}[${index}]`, problems)).filter((value) => value !== undefined);
    },
    jsonSchema: (parts) => ({ type: 'array', items: item.jsonSchema(parts), ...(minItems > 0 ? { minItems } : {}) }),
  };
};

/** A group of keys that people choose, such as the names of clusters. */
export const dictionary = <T>(
  key: Shape<string>,
  item: Shape<T>,
): Shape<readonly { readonly key: string; readonly keyPlace: Place; readonly value: T }[]> => {
  const expected = `${key.expected} as key, ${item.expected} below it`;
  return {
    expected,
    read: (node, path, problems) => {
      if (node.kind !== 'map') return refuseKind(node, path, expected, problems);
      return node.entries.flatMap((entry) => {
        const here = `${path}.${entry.key}`;
        const name = key.read({ kind: 'scalar', value: entry.key, location: entry.location }, here, problems);
        const value = item.read(entry.value, here, problems);
        return name === undefined || value === undefined ? [] : [{ key: name, keyPlace: { location: entry.location, path: here }, value }];
      });
    },
    jsonSchema: (parts) => ({ type: 'object', propertyNames: key.jsonSchema(parts), additionalProperties: item.jsonSchema(parts) }),
  };
};

/** One shape or another, told apart by what kind of value is written. */
export const either = <A, B>(kind: DocumentNode['kind'], first: Shape<A>, second: Shape<B>): Shape<A | B> => ({
  expected: `${first.expected}, or ${second.expected}`,
  read: (node, path, problems) => (node.kind === kind ? first : second).read(node, path, problems),
  jsonSchema: (parts) => ({ anyOf: [first.jsonSchema(parts), second.jsonSchema(parts)] }),
});
