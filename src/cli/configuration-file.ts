import { readFileSync, statSync } from 'node:fs';
import { isMap, isScalar, isSeq, LineCounter, type Pair, parseDocument } from 'yaml';
import { ConfigurationError, suggest } from '../core/index.ts';
import { settingNames, settings } from './settings.ts';

/** Where a value stands and what it says, not yet understood. */
export interface WrittenValue {
  readonly text: string;
  /** `GRPC_PORT` for the environment, `sidecar.yaml:3:1: grpc_port` for the file. */
  readonly place: string;
}

export interface ConfigurationFile {
  /** By name of the variable, in upper case. */
  readonly values: ReadonlyMap<string, WrittenValue>;
  /** Whole lines, each with its place and what to write. */
  readonly problems: readonly string[];
}

const largestFileBytes = 1024 * 1024;
const keys = settingNames.map((name) => settings[name].variable.toLowerCase());

const readText = (path: string): string => {
  try {
    if (statSync(path).size > largestFileBytes) {
      throw new ConfigurationError(`${path}: larger than 1 MiB`, { remedy: 'name the YAML file of the sidecar, not another one' });
    }
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof ConfigurationError) throw error;
    const why = (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'no such file' : (error as Error).message;
    throw new ConfigurationError(`--config ${path}: ${why}`, { remedy: 'name a YAML file that exists and can be read', cause: error });
  }
};

/** The text of a scalar as it was written (`1.3` stays `1.3`), a list joined by commas, nothing for what is neither. */
const textOf = (node: unknown): string | undefined => {
  if (isSeq(node)) {
    const items = node.items.map(textOf);
    return items.every((item) => item !== undefined) ? items.join(',') : undefined;
  }
  if (node === null || node === undefined) return '';
  if (!isScalar(node)) return undefined;
  if (node.value === null) return '';
  return typeof node.value === 'string' ? node.value : (node.source ?? String(node.value));
};

/**
 * Reads `--config`: one flat YAML map with the names of the environment in lower case. A key that is none of them is a
 * problem, since a misspelt `inbound_tls` would otherwise leave its default in force without a word.
 */
export const readConfigurationFile = (path: string): ConfigurationFile => {
  const text = readText(path);
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, merge: false });
  const at = (offset: number): string => {
    const { line, col } = lines.linePos(offset);
    return `${path}:${line}:${col}`;
  };
  if (document.errors.length > 0) {
    const problems = document.errors.map(
      (error) => `${at(error.pos[0])}: not YAML: ${error.message.split('\n')[0]?.replace(/ at line.*$/, '')}`,
    );
    return { values: new Map(), problems };
  }
  if (document.contents === null) return { values: new Map(), problems: [] };
  if (!isMap(document.contents)) {
    return { values: new Map(), problems: [`${path}:1:1: expected a map of settings; write one per line, such as grpc_port: 50051`] };
  }

  const values = new Map<string, WrittenValue>();
  const problems: string[] = [];
  for (const pair of document.contents.items as Pair[]) {
    const key = String(isScalar(pair.key) ? pair.key.value : pair.key);
    const place = at(isScalar(pair.key) ? (pair.key.range?.[0] ?? 0) : 0);
    // Grouped by what they are about, as policies are in the documentation: `policies: { consul_kv: ... }`.
    if (key === 'policies' && isMap(pair.value)) {
      for (const inner of pair.value.items as Pair[]) {
        const name = String(isScalar(inner.key) ? inner.key.value : inner.key);
        const where = at(isScalar(inner.key) ? (inner.key.range?.[0] ?? 0) : 0);
        const variable = policyKeys.get(name);
        const text = textOf(inner.value);
        if (variable === undefined) problems.push(`${where}: policies: unknown key ${name}; write ${[...policyKeys.keys()].join(' or ')}`);
        else if (text === undefined)
          problems.push(`${where}: policies.${name}: expected one value; write ${name}: ${exampleOf(variable.toLowerCase())}`);
        else values.set(variable, { text, place: `${where}: policies.${name}` });
      }
      continue;
    }
    const value = textOf(pair.value);
    if (!keys.includes(key)) {
      const near = suggest(key, keys);
      problems.push(
        `${place}: unknown key ${key}; ${near === undefined ? 'see "outrider sidecar --help" for those there are' : `did you mean ${near}?`}`,
      );
    } else if (value === undefined) {
      problems.push(`${place}: ${key}: expected one value, found a map; write ${key}: ${exampleOf(key)}`);
    } else {
      values.set(key.toUpperCase(), { text: value, place: `${place}: ${key}` });
    }
  }
  return { values, problems };
};

const policyKeys: ReadonlyMap<string, string> = new Map([
  ['path', 'POLICY_PATH'],
  ['consul_kv', 'POLICY_CONSUL_KV'],
  ['consul_intentions', 'POLICY_CONSUL_INTENTIONS'],
  ['consul_config_entries', 'POLICY_CONSUL_CONFIG_ENTRIES'],
]);

const exampleOf = (key: string): string => {
  const name = settingNames.find((candidate) => settings[candidate].variable.toLowerCase() === key);
  return (name === undefined ? undefined : settings[name].fallback) ?? 'a value';
};
