/**
 * Holds the arrows between the rooms of src/ (CONTRIBUTING.md has the picture). Imports of types count like any other: they are what a
 * reader has to follow. dependency-cruiser would be the tool for this, but it cannot read TypeScript 7 and then finds nothing, in green.
 *
 *     node tasks/arrows.ts [folder]      the folder holds src/ and package.json; by default the project itself
 */
import { globSync, readFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { dirname, join, posix, resolve } from 'node:path';
import { parse } from '@babel/parser';

/** Each room imports only rooms before it. */
const rooms = 'core http2 grpc identity resilience policy telemetry discovery upstream proxy admin control registry demo cli main'.split(
  ' ',
);

/** The data path's engine is our own: these stay out of the rooms that a call passes through. */
const notOnTheDataPath = ['node:http2', '@grpc/grpc-js'];
const dataPath = new Set(['http2', 'grpc', 'resilience', 'policy', 'proxy']);

/** Time and environment are handed in, so that a test owns them. */
const ownedByCore = new Set(['setTimeout', 'setInterval', 'Date.now', 'performance.now', 'process.env', 'process.hrtime', 'new Date()']);
const mayUse = (room: string, name: string) => room === 'core' || (room === 'main' && name === 'process.env');

interface SyntaxNode {
  readonly type: string;
  readonly loc?: { readonly start: { readonly line: number; readonly column: number } };
  readonly [key: string]: unknown;
}
interface Use {
  readonly what: string;
  readonly line: number;
}
interface Import extends Use {
  /** Gone at run time: `import type`, a list of types, or `import('...')` as a type. */
  readonly typeOnly: boolean;
}
interface SourceFile {
  /** Relative to src/, with forward slashes. */
  readonly path: string;
  readonly room: string;
  readonly imports: readonly Import[];
  readonly globals: readonly Use[];
}

const isNode = (value: unknown): value is SyntaxNode =>
  typeof value === 'object' && value !== null && typeof (value as SyntaxNode).type === 'string';
const textOf = (node: unknown): string | undefined => {
  if (!isNode(node)) return undefined;
  if (node.type === 'StringLiteral') return node['value'] as string;
  if (node.type === 'TemplateLiteral' && (node['expressions'] as unknown[]).length === 0) {
    const [only] = node['quasis'] as { value: { cooked: string } }[];
    return only?.value.cooked;
  }
  if (node.type === 'TSLiteralType') return textOf(node['literal']);
  return undefined;
};
const nameOf = (node: unknown): string => (isNode(node) && node.type === 'Identifier' ? (node['name'] as string) : '');

/** What a node imports: also `export ... from`, `import()`, `import x = require()` and `import('...')` in a type. */
const importedBy = (node: SyntaxNode): string | undefined => {
  switch (node.type) {
    case 'ImportDeclaration':
    case 'ExportNamedDeclaration':
    case 'ExportAllDeclaration':
    case 'ImportExpression':
      return textOf(node['source']);
    case 'TSImportType':
      return textOf(node['argument']) ?? textOf(node['source']);
    case 'TSExternalModuleReference':
      return textOf(node['expression']);
    default:
      return undefined;
  }
};

const isOfTypes = (node: SyntaxNode): boolean => {
  const names = (node['specifiers'] ?? []) as SyntaxNode[];
  const kindOf = (one: SyntaxNode) => one['importKind'] ?? one['exportKind'];
  return node.type === 'TSImportType' || kindOf(node) === 'type' || (names.length > 0 && names.every((name) => kindOf(name) === 'type'));
};

/** Which of core's own things a node takes: `setTimeout`, `Date.now`, a `new Date` that reads the clock, an import of node:timers. */
const ownedThing = (node: SyntaxNode, parent: SyntaxNode | undefined): string | undefined => {
  if (node.type === 'MemberExpression') {
    const object = nameOf(node['object']);
    const name = `${object === 'globalThis' ? '' : `${object}.`}${nameOf(node['property'])}`;
    return ownedByCore.has(name) ? name : undefined;
  }
  if (node.type === 'NewExpression' && nameOf(node['callee']) === 'Date' && (node['arguments'] as unknown[]).length === 0)
    return 'new Date()';
  if (node.type !== 'Identifier' || !ownedByCore.has(nameOf(node))) return undefined;
  // A property or a parameter may carry the name; only a free reference is the global.
  const isCalled = parent?.type === 'CallExpression' && parent['callee'] === node;
  const isHandedOn = parent?.type === 'CallExpression' || parent?.type === 'ObjectProperty' || parent?.type === 'VariableDeclarator';
  return isCalled || (isHandedOn && parent['key'] !== node && parent['id'] !== node) ? nameOf(node) : undefined;
};

const readSource = (folder: string, path: string): SourceFile => {
  const program = parse(readFileSync(join(folder, 'src', path), 'utf8'), {
    sourceType: 'module',
    plugins: ['typescript', 'explicitResourceManagement'],
    createImportExpressions: true,
    errorRecovery: true,
  });
  const imports: Import[] = [];
  const globals: Use[] = [];
  const visit = (node: SyntaxNode, parent: SyntaxNode | undefined): void => {
    const line = node.loc?.start.line ?? 0;
    const specifier = importedBy(node);
    if (specifier !== undefined) imports.push({ what: specifier, line, typeOnly: isOfTypes(node) });
    const owned = ownedThing(node, parent);
    if (owned !== undefined) globals.push({ what: owned, line });
    for (const [key, value] of Object.entries(node)) {
      if (key === 'loc') continue;
      for (const child of Array.isArray(value) ? value : [value]) if (isNode(child)) visit(child, node);
    }
  };
  visit(program.program as unknown as SyntaxNode, undefined);
  const room = path.includes('/') ? (path.split('/')[0] ?? '') : path.replace(/\.ts$/, '');
  return { path, room, imports, globals };
};

const describeImport = (from: SourceFile, specifier: string, files: ReadonlyMap<string, SourceFile>, packages: ReadonlySet<string>) => {
  if (!specifier.startsWith('.')) {
    if (notOnTheDataPath.some((name) => specifier === name || specifier.startsWith(`${name}/`)) && dataPath.has(from.room)) {
      return `${specifier} stays off the data path`;
    }
    if (specifier.startsWith('node:timers'))
      return from.room === 'core' ? undefined : 'only core takes timers; use the clock that is handed in';
    if (specifier.startsWith('node:')) return undefined;
    if (builtinModules.includes(specifier)) return `write node:${specifier}`;
    const name = specifier
      .split('/')
      .slice(0, specifier.startsWith('@') ? 2 : 1)
      .join('/');
    return packages.has(name) ? undefined : `${name} is not among the "dependencies" of package.json`;
  }
  const target = posix.join(posix.dirname(from.path), specifier);
  if (target.startsWith('..')) return `src/ imports nothing outside itself, but this is ${specifier}`;
  const file = files.get(target);
  if (file === undefined) return target.endsWith('.json') ? undefined : `there is no src/${target}`;
  if (file.room === from.room) return undefined;
  if (rooms.indexOf(file.room) > rooms.indexOf(from.room)) return `${from.room} comes before ${file.room} and may not know it`;
  if (target !== `${file.room}/index.ts`) return `enter ${file.room} through src/${file.room}/index.ts, not src/${target}`;
  return undefined;
};

/** Every cycle once, as the list of its files. */
const cyclesOf = (files: ReadonlyMap<string, SourceFile>): readonly (readonly string[])[] => {
  const found: string[][] = [];
  const done = new Set<string>();
  const walk = (path: string, trail: readonly string[]): void => {
    const seenAt = trail.indexOf(path);
    if (seenAt >= 0) {
      found.push([...trail.slice(seenAt), path]);
      return;
    }
    if (done.has(path)) return;
    for (const { what, typeOnly } of files.get(path)?.imports ?? []) {
      // Types of one room may name each other: nothing depends on the order in which they are read.
      if (typeOnly) continue;
      const target = posix.join(posix.dirname(path), what);
      if (what.startsWith('.') && files.has(target)) walk(target, [...trail, path]);
    }
    done.add(path);
  };
  for (const path of files.keys()) walk(path, []);
  return found;
};

/** All violations in the tree below `folder`, each `src/file:line: what is wrong`. */
export const checkArrows = (folder: string): { readonly files: number; readonly violations: readonly string[] } => {
  const paths = globSync('**/*.ts', { cwd: join(folder, 'src') }).map((path) => path.replaceAll('\\', '/'));
  const files = new Map(paths.sort().map((path) => [path, readSource(folder, path)]));
  const manifest = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { dependencies?: Record<string, string> };
  const packages = new Set(Object.keys(manifest.dependencies ?? {}));
  const violations: string[] = [];
  for (const file of files.values()) {
    const say = (line: number, text: string) => violations.push(`src/${file.path}:${line}: ${text}`);
    if (!rooms.includes(file.room)) say(1, `"${file.room}" is not a room; the rooms are ${rooms.join(', ')}`);
    for (const { what, line } of file.imports) {
      const problem = describeImport(file, what, files, packages);
      if (problem !== undefined) say(line, problem);
    }
    for (const { what, line } of file.globals) {
      if (!mayUse(file.room, what)) say(line, `${what} belongs to core; take the clock or the environment that is handed in`);
    }
  }
  for (const cycle of cyclesOf(files)) {
    violations.push(`src/${cycle[0]}:1: a cycle of imports: ${cycle.join(' -> ')}`);
  }
  return { files: files.size, violations };
};

if (process.argv[1] === import.meta.filename) {
  const { files, violations } = checkArrows(resolve(process.argv[2] ?? dirname(import.meta.dirname)));
  for (const violation of violations) console.error(violation);
  console.log(`arrows: ${files} files, ${violations.length} violations`);
  // A check that read nothing has checked nothing.
  process.exitCode = files > 0 && violations.length === 0 ? 0 : 1;
}
