import { policyJsonSchema } from '../../src/policy/index.ts';
import { serviceConfigShape } from '../../src/policy/service-config.ts';
import type { JsonSchema } from '../../src/policy/shape.ts';

/** One key that policy files may have, as the JSON Schema has it. */
export interface PolicyField {
  /** Part of the schema and key: what may be written in several places is one field. */
  readonly id: string;
  /** Where it may stand; lists, names of clusters and `inbound.` before routes are left out: `routes.route.timeout`. */
  readonly paths: readonly string[];
  readonly required: boolean;
  /** A warning says that it does nothing. */
  readonly inert: boolean;
  /** What editors show. */
  readonly description: string;
}

/** Parts that are described once although the schema has two of them. */
const twins: Readonly<Record<string, string>> = {
  inbound_route: 'route',
  inbound_route_action: 'route_action',
  listed_cluster: 'cluster',
  healthy_panic_percent: 'percent',
  slow_start_percent: 'percent',
  percent_jitter: 'percent',
};

type Parts = Readonly<Record<string, unknown>>;
type Found = Map<string, { readonly paths: Set<string>; required: boolean; inert: boolean; readonly description: string }>;

const isGroup = (value: unknown): value is JsonSchema => typeof value === 'object' && value !== null && !Array.isArray(value);

/** Notes each key of each part with every path to it. @param within the parts on the way, none of which is entered again. */
const walk = (schema: unknown, parts: Parts, path: string, within: readonly string[], found: Found): void => {
  if (!isGroup(schema)) return;
  for (const key of ['items', 'additionalProperties']) walk(schema[key], parts, path, within, found);
  if (Array.isArray(schema['anyOf'])) for (const each of schema['anyOf']) walk(each, parts, path, within, found);
  const name = /^#\/\$defs\/(.+)$/.exec(String(schema['$ref'] ?? ''))?.[1];
  const part = name === undefined ? undefined : parts[name];
  if (name === undefined || within.includes(name) || !isGroup(part) || !isGroup(part['properties'])) return;
  const wanted = Array.isArray(part['required']) ? part['required'] : [];
  for (const [key, property] of Object.entries(part['properties'])) {
    const here = (path === '' ? key : `${path}.${key}`).replace(/^inbound\.routes\./, 'routes.');
    const id = `${twins[name] ?? name}.${key}`;
    const field = found.get(id) ?? {
      paths: new Set(),
      required: false,
      inert: false,
      description: isGroup(property) ? String(property['description']) : '',
    };
    found.set(id, field);
    field.paths.add(here);
    field.required ||= wanted.includes(key);
    field.inert ||= isGroup(property) && String(property['description']).startsWith('Without effect');
    walk(property, parts, here, [...within, name], found);
  }
};

/** Every field of policy files and of service configs, whose paths begin with `service_config`. */
export const policyFields = (): readonly PolicyField[] => {
  const found: Found = new Map();
  const schema = policyJsonSchema();
  walk(schema, isGroup(schema['$defs']) ? schema['$defs'] : {}, '', [], found);
  const parts = new Map<string, JsonSchema>();
  const serviceConfig = serviceConfigShape.jsonSchema(parts);
  walk(serviceConfig, Object.fromEntries(parts), 'service_config', [], found);
  return [...found].map(([id, { paths, ...rest }]) => ({ id, paths: [...paths], ...rest }));
};

/** The fields that a name means: the one whose whole path it is, else those whose paths end with it. */
export const fieldsNamed = (name: string, fields: readonly PolicyField[]): readonly PolicyField[] => {
  const whole = fields.filter(({ paths }) => paths.includes(name));
  return whole.length > 0 ? whole : fields.filter(({ paths }) => paths.some((path) => path.endsWith(`.${name}`)));
};
