import { closeSync, fstatSync, openSync, readdirSync, readSync, type Stats, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { compilePolicies, type PolicyCompilation, type PolicySurroundings } from './compile.ts';
import { largestFileBytes, type PolicyText } from './document.ts';
import type { PolicyProblem } from './types.ts';

const mostFiles = 1_000;

/** Names of policy files: YAML, and gRPC service configs. Others may lie in the same folder: a JSON Schema, an editor's backup, the folders of Kubernetes. */
const isPolicyFile = (name: string): boolean => /(\.ya?ml|service[-_]config\.json)$/i.test(name) && !name.startsWith('.');

/** Descriptor sets that policies may name: what `protoc -o` and buf write. */
export const isDescriptorSet = (name: string): boolean => /\.(binpb|protoset|desc)$/i.test(name) && !name.startsWith('.');
const largestDescriptorSetBytes = 16 * 1_048_576;

/** What was found at the paths: texts to compile, and what could not be read. */
export interface PolicyReading {
  readonly texts: readonly PolicyText[];
  /** Beside them, for policies that name one. */
  readonly descriptorSets: readonly PolicyText[];
  readonly problems: readonly PolicyProblem[];
}

/**
 * Reads files, and of folders the files that end with `.yaml` or `.yml` in the order of their names. Symbolic links are followed;
 * folders in folders are not entered. Never throws: what cannot be read is among the problems.
 */
export const readPolicyTexts = (paths: readonly string[]): PolicyReading => {
  const texts: PolicyText[] = [];
  const problems: PolicyProblem[] = [];
  for (const path of paths) {
    const stats = describe(path, problems);
    if (stats === undefined) continue;
    if (!stats.isDirectory()) readInto(path, stats, texts, problems);
    else readFolder(path, texts, problems);
  }
  const folders = new Set(texts.map(({ path }) => dirname(path)));
  return { texts, descriptorSets: [...folders].flatMap(readDescriptorSets), problems };
};

/** What cannot be read is not there: whoever names it hears of it. */
const readDescriptorSets = (folder: string): readonly PolicyText[] => {
  try {
    const names = readdirSync(folder).filter(isDescriptorSet).sort();
    return names
      .slice(0, mostFiles)
      .map((name) => ({ path: join(folder, name), bytes: readBounded(join(folder, name), largestDescriptorSetBytes) }));
  } catch {
    return [];
  }
};

/** Compiles what was read; the table is `undefined` where anything is wrong, also where a file could not be read. */
export const compileReading = (
  { descriptorSets, texts, problems }: PolicyReading,
  surroundings: PolicySurroundings = {},
): PolicyCompilation => {
  const compiled = compilePolicies(texts, descriptorSets, surroundings);
  const all = [...problems, ...compiled.problems];
  if (problems.some(({ severity }) => severity === 'error')) return { ...compiled, problems: all, table: undefined };
  return {
    ...compiled,
    problems: all,
    table: compiled.table === undefined ? undefined : Object.freeze({ ...compiled.table, warnings: all }),
  };
};

/** Reads and compiles files and folders. */
export const loadPolicies = (paths: readonly string[], surroundings: PolicySurroundings = {}): PolicyCompilation =>
  compileReading(readPolicyTexts(paths), surroundings);

const fileProblem = (severity: PolicyProblem['severity'], file: string, message: string, remedy: string): PolicyProblem => ({
  severity,
  location: { file, line: 0, column: 0 },
  path: '',
  message,
  remedy,
});

const readFolder = (folder: string, texts: PolicyText[], problems: PolicyProblem[]): void => {
  let names: readonly string[];
  try {
    names = readdirSync(folder).filter(isPolicyFile).sort();
  } catch (error) {
    problems.push(fileProblem('error', folder, `cannot be read (${codeOf(error)})`, 'give the sidecar the right to read it'));
    return;
  }
  if (names.length === 0)
    problems.push(fileProblem('warning', folder, 'holds no policy files', 'put files that end with .yaml or .yml into it'));
  if (names.length > mostFiles) {
    problems.push(fileProblem('error', folder, `holds more than ${mostFiles} policy files`, 'merge some of them'));
    return;
  }
  for (const name of names) {
    const path = join(folder, name);
    const stats = describe(path, problems);
    if (stats !== undefined && !stats.isDirectory()) readInto(path, stats, texts, problems);
  }
};

const describe = (path: string, problems: PolicyProblem[]): Stats | undefined => {
  try {
    return statSync(path);
  } catch (error) {
    const missing = codeOf(error) === 'ENOENT';
    const remedy = missing ? 'create it, or correct the path' : 'give the sidecar the right to read it';
    problems.push(fileProblem('error', path, missing ? 'does not exist' : `cannot be read (${codeOf(error)})`, remedy));
    return undefined;
  }
};

const readInto = (path: string, stats: Stats, texts: PolicyText[], problems: PolicyProblem[]): void => {
  if (!stats.isFile()) {
    problems.push(
      fileProblem('error', path, 'is neither a file nor a folder', 'name a file that ends with .yaml, or a folder of such files'),
    );
    return;
  }
  try {
    texts.push({ path, bytes: readBounded(path, largestFileBytes) });
  } catch (error) {
    problems.push(fileProblem('error', path, `cannot be read (${codeOf(error)})`, 'give the sidecar the right to read it'));
  }
};

/** One byte more than allowed at most, so that a file that grows meanwhile is refused rather than swallowed. */
const readBounded = (path: string, mostBytes: number): Uint8Array => {
  const file = openSync(path, 'r');
  try {
    const bytes = Buffer.alloc(Math.min(mostBytes, fstatSync(file).size + 65_536) + 1);
    let length = 0;
    while (length < bytes.length) {
      const read = readSync(file, bytes, length, bytes.length - length, length);
      if (read === 0) break;
      length += read;
    }
    return bytes.subarray(0, length).slice();
  } finally {
    closeSync(file);
  }
};

const codeOf = (error: unknown): string => (error instanceof Error && 'code' in error ? String(error.code) : String(error));
