import { isUtf8 } from 'node:buffer';
import { isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseAllDocuments, type YAMLError } from 'yaml';
import type { Problems } from './problems.ts';
import type { SourceLocation } from './types.ts';

/** One policy file as it was read. */
export interface PolicyText {
  /** As problems name it. */
  readonly path: string;
  readonly bytes: Uint8Array;
  /** A cluster that another text has as well is that one's. */
  readonly givesWay?: boolean;
}

export type DocumentNode = DocumentScalar | DocumentList | DocumentMap;

export interface DocumentScalar {
  readonly kind: 'scalar';
  readonly value: string | number | boolean | null;
  readonly location: SourceLocation;
}

export interface DocumentList {
  readonly kind: 'list';
  readonly items: readonly DocumentNode[];
  readonly location: SourceLocation;
}

export interface DocumentMap {
  readonly kind: 'map';
  /** No key twice. Kept as a list: keys come from outside, `__proto__` among them. */
  readonly entries: readonly DocumentEntry[];
  readonly location: SourceLocation;
}

export interface DocumentEntry {
  readonly key: string;
  readonly location: SourceLocation;
  readonly value: DocumentNode;
}

export const largestFileBytes = 1_048_576;
const mostAliases = 100;
/** Policies need a dozen levels. */
const deepestNesting = 64;
/** A hundred aliases of aliases can stand for more values than any memory holds. */
const mostValues = 1_000_000;

/**
 * Reads one YAML file into a tree that keeps where everything was written. Refuses what makes YAML dangerous or surprising:
 * too large, not UTF-8, several documents, too many aliases, aliases that multiply or refer to themselves, merge keys,
 * `__proto__`, tags, deep nesting, a key twice.
 *
 * @returns `undefined` where the file is empty, or has errors (which are then among `problems`).
 */
export const parseDocument = (text: PolicyText, problems: Problems): DocumentMap | undefined => {
  const file = text.path;
  const report = (line: number, column: number, message: string, remedy: string) =>
    problems.error({ location: { file, line, column }, path: '' }, message, remedy);

  if (text.bytes.length > largestFileBytes) {
    report(0, 0, `larger than 1 MiB (${text.bytes.length} bytes)`, 'split it into several files of one folder');
    return undefined;
  }
  if (!isUtf8(text.bytes)) {
    report(firstBadLine(text.bytes), 1, 'not UTF-8 text', 'save the file as UTF-8');
    return undefined;
  }
  const source = new TextDecoder().decode(text.bytes);
  const deep = tooDeepAt(source);
  if (deep !== undefined) {
    report(deep.line, deep.column, `nested more than ${deepestNesting} levels deep`, 'write it flat, as the examples do');
    return undefined;
  }

  const lines = new LineCounter();
  const options = { lineCounter: lines, prettyErrors: false, uniqueKeys: false, resolveKnownTags: false, logLevel: 'silent' } as const;
  const parsed = parseAllDocuments(source, { ...options, version: '1.2', schema: 'core', merge: false });
  const documents = Array.isArray(parsed) ? parsed : [];
  const locate = (offset: number): SourceLocation => {
    const { line, col } = lines.linePos(offset);
    return { file, line, column: col };
  };
  for (const error of documents.flatMap((document) => [...document.errors, ...document.warnings])) {
    const { message, remedy } = explain(error);
    problems.error({ location: locate(error.pos[0]), path: '' }, message, remedy);
  }
  if (documents.some((document) => document.errors.length + document.warnings.length > 0)) return undefined;

  const written = documents.filter((document) => document.contents !== null && !isEmptyScalar(document.contents));
  const second = written[1]?.contents;
  if (second !== undefined && second !== null) {
    const { line, column } = locate(second.range?.[0] ?? 0);
    report(line, column, 'a second YAML document in one file', 'put each document into a file of its own');
    return undefined;
  }
  const [document] = written;
  if (document?.contents === undefined || document.contents === null) {
    problems.warning(
      { location: { file, line: 1, column: 1 }, path: '' },
      'holds no policies',
      'write `routes:` or `clusters:`, or remove the file',
    );
    return undefined;
  }

  const builder = new TreeBuilder(problems, locate);
  const root = builder.build(document.contents, '', 0);
  if (builder.failed || root === undefined) return undefined;
  if (root.kind === 'map') return root;
  const { line, column } = root.location;
  report(
    line,
    column,
    `holds a ${root.kind === 'list' ? 'list' : 'single value'}`,
    'write keys such as `routes:` and `clusters:` at the top',
  );
  return undefined;
};

/** Turns the parser's nodes into ours; every anchor once, however many aliases name it. */
class TreeBuilder {
  /** True where something is left out that other errors would only follow from. */
  failed = false;
  readonly #problems: Problems;
  readonly #locate: (offset: number) => SourceLocation;
  readonly #anchors = new Map<string, DocumentNode | 'open'>();
  /** Values that a node stands for, aliases written out. */
  readonly #sizes = new Map<DocumentNode, number>();
  #aliases = 0;

  constructor(problems: Problems, locate: (offset: number) => SourceLocation) {
    this.#problems = problems;
    this.#locate = locate;
  }

  build(node: Node | null | undefined, path: string, depth: number): DocumentNode | undefined {
    const location = this.#locate(node?.range?.[0] ?? 0);
    if (depth > deepestNesting)
      return this.#refuse(location, path, `nested more than ${deepestNesting} levels deep`, 'write it flat, as the examples do');
    if (isAlias(node)) return this.#follow(node.source, location, path);
    const anchor = isScalar(node) || isMap(node) || isSeq(node) ? node.anchor : undefined;
    if (anchor !== undefined) this.#anchors.set(anchor, 'open');
    const built = this.#buildContent(node, location, path, depth);
    if (built === undefined) return undefined;
    if ((this.#sizes.get(built) ?? 1) > mostValues) {
      return this.#refuse(location, path, `stands for more than ${mostValues.toLocaleString('en')} values`, 'use fewer aliases');
    }
    if (anchor !== undefined) this.#anchors.set(anchor, built);
    return built;
  }

  #buildContent(node: Node | null | undefined, location: SourceLocation, path: string, depth: number): DocumentNode | undefined {
    if (isSeq(node)) {
      const items = node.items
        .map((item, index) => this.build(item as Node | null, `${path}[${index}]`, depth + 1))
        .filter((item) => item !== undefined);
      return this.#measured({ kind: 'list', items, location }, items);
    }
    if (isMap(node)) {
      const entries = this.#buildEntries(node.items as readonly { key: unknown; value: unknown }[], location, path, depth);
      return this.#measured(
        { kind: 'map', entries, location },
        entries.map((entry) => entry.value),
      );
    }
    const value = isScalar(node) ? node.value : null;
    const plain = typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? value : null;
    return { kind: 'scalar', value: plain, location };
  }

  #buildEntries(pairs: readonly { key: unknown; value: unknown }[], parent: SourceLocation, path: string, depth: number): DocumentEntry[] {
    const first = new Map<string, SourceLocation>();
    const entries: DocumentEntry[] = [];
    for (const pair of pairs) {
      const location = isScalar(pair.key) || isMap(pair.key) || isSeq(pair.key) ? this.#locate(pair.key.range?.[0] ?? 0) : parent;
      if (!isScalar(pair.key) || isMap(pair.key)) {
        this.#refuse(location, path, 'a key that is not a word', 'write a plain word before the colon');
        continue;
      }
      const key = pair.key.value === null ? '' : String(pair.key.value);
      const here = path === '' ? key : `${path}.${key}`;
      if (key === '<<') {
        this.#refuse(location, here, 'merge keys are not accepted', 'write the merged keys out');
        continue;
      }
      if (key === '__proto__') {
        this.#problems.error({ location, path: here }, 'this key is not accepted', 'remove it');
        continue;
      }
      const earlier = first.get(key);
      if (earlier !== undefined) {
        this.#problems.error({ location, path: here }, `written twice (first in line ${earlier.line})`, 'keep one of them');
        continue;
      }
      first.set(key, location);
      const value = this.build(pair.value as Node | null, here, depth + 1);
      if (value === undefined) continue;
      // An explicit key without a value (`? key`) has no place of its own.
      entries.push({ key, location, value: pair.value === null ? { ...value, location } : value });
    }
    return entries;
  }

  #follow(anchor: string, location: SourceLocation, path: string): DocumentNode | undefined {
    this.#aliases++;
    if (this.#aliases === mostAliases + 1) return this.#refuse(location, path, `more than ${mostAliases} aliases`, 'write the values out');
    if (this.#aliases > mostAliases) return undefined;
    const target = this.#anchors.get(anchor);
    if (target === undefined) return this.#refuse(location, path, `no anchor &${anchor} above`, 'write the anchor before its aliases');
    if (target === 'open') return this.#refuse(location, path, `*${anchor} refers to itself`, 'write the value out');
    return target;
  }

  #measured(node: DocumentNode, children: readonly DocumentNode[]): DocumentNode {
    this.#sizes.set(
      node,
      children.reduce((sum, child) => sum + (this.#sizes.get(child) ?? 1), 1),
    );
    return node;
  }

  #refuse(location: SourceLocation, path: string, message: string, remedy: string): undefined {
    this.failed = true;
    this.#problems.error({ location, path }, message, remedy);
    return undefined;
  }
}

const isEmptyScalar = (node: unknown): boolean => isScalar(node) && node.value === null;

const firstBadLine = (bytes: Uint8Array): number => {
  let line = 1;
  for (let start = 0; start < bytes.length; line++) {
    const end = bytes.indexOf(0x0a, start);
    if (!isUtf8(bytes.subarray(start, end === -1 ? bytes.length : end))) return line;
    if (end === -1) break;
    start = end + 1;
  }
  return line;
};

/** Finds brackets and dashes without end before the parser, which would go through them by recursion. Quotes are not looked at: no honest text comes near. */
const tooDeepAt = (source: string): { line: number; column: number } | undefined => {
  let depth = 0;
  let dashes = 0;
  let line = 1;
  let lineStart = 0;
  for (let i = 0; i < source.length; i++) {
    const c = source.charCodeAt(i);
    if (c === 0x0a) {
      line++;
      lineStart = i + 1;
      dashes = 0;
    } else if (c === 0x5b || c === 0x7b) depth++;
    else if ((c === 0x5d || c === 0x7d) && depth > 0) depth--;
    else if ((c === 0x2d || c === 0x3f) && source.charCodeAt(i + 1) === 0x20) dashes++;
    if (depth > 4 * deepestNesting || dashes > 4 * deepestNesting) return { line, column: i - lineStart + 1 };
  }
  return undefined;
};

const explain = ({ code, message }: YAMLError): { message: string; remedy: string } => {
  switch (code) {
    case 'TAB_AS_INDENT':
      return { message: 'a tab as indentation', remedy: 'indent with blanks' };
    case 'TAG_RESOLVE_FAILED':
      return { message: 'tags are not accepted', remedy: 'write the plain value' };
    case 'RESOURCE_EXHAUSTION':
      return { message: `nested more than ${deepestNesting} levels deep`, remedy: 'write it flat, as the examples do' };
    case 'BAD_SCALAR_START':
      return { message: lowered(message), remedy: 'put the value into quotes' };
    case 'BLOCK_AS_IMPLICIT_KEY':
      return { message: 'a second colon in one line', remedy: 'put the value into quotes, or the keys into { }' };
    case 'MISSING_CHAR':
      return { message: lowered(message), remedy: 'close what was opened; is the file only half written?' };
    default:
      return { message: lowered(message), remedy: 'mend the YAML here: indentation, brackets and quotes' };
  }
};

const lowered = (text: string): string => `${text.charAt(0).toLowerCase()}${text.slice(1)}`;
