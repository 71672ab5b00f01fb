import { RE2Set } from 're2js';
import type { PathMatch } from './types.ts';

/** A route, as far as finding it by path goes. */
export interface IndexedMatch {
  readonly match: PathMatch;
  /** Whether it matches whatever the headers are: nothing after it is ever reached by the same path. */
  readonly unconditional: boolean;
}

/** One node of the prefix tree; its label is what leads to it from its parent. */
class PrefixNode {
  label: string;
  readonly children = new Map<number, PrefixNode>();
  /** Positions of the routes whose prefix ends here, ascending. */
  positions: number[] = [];
  /** What a path gets that ends its walk here, where no whole path and no regular expression matches; made when first asked for. */
  found: readonly number[] | undefined = undefined;

  constructor(label: string) {
    this.label = label;
  }
}

/** Answers longer than this are built anew each time: kept, they could take memory by the square of the number of routes. */
const longestKept = 64;
const nothing: readonly number[] = Object.freeze([]);

/**
 * Finds the routes that match a path, in their order, without looking at each: whole paths in a hash map, prefixes in a tree of
 * characters, regular expressions combined into one automaton. Ten thousand prefixes cost what ten do; a walk through a list
 * would make the last route of a long file the slowest.
 */
export class PathIndex {
  readonly #matches: readonly IndexedMatch[];
  readonly #paths = new Map<string, { readonly positions: number[]; found: readonly number[] | undefined }>();
  readonly #root = new PrefixNode('');
  readonly #regexes = new RE2Set(RE2Set.ANCHOR_BOTH);
  readonly #regexPositions: number[] = [];

  /** @param matches in the order of evaluation; regular expressions have been compiled once before, so that they are right. */
  constructor(matches: readonly IndexedMatch[]) {
    this.#matches = matches;
    matches.forEach(({ match }, position) => {
      if (match.kind === 'prefix') insert(this.#root, match.prefix, position);
      else if (match.kind === 'regex') {
        this.#regexes.add(match.regex);
        this.#regexPositions.push(position);
      } else {
        const entry = this.#paths.get(match.path);
        if (entry === undefined) this.#paths.set(match.path, { positions: [position], found: undefined });
        else entry.positions.push(position);
      }
    });
    if (this.#regexPositions.length > 0) this.#regexes.compile();
  }

  /** Positions of the matches that accept `path`, ascending, up to and including the first unconditional one. Not to be changed. */
  find(path: string): readonly number[] {
    const exact = this.#paths.get(path);
    const regexes = this.#regexPositions.length === 0 ? nothing : this.#matchRegexes(path);
    if (regexes.length === 0 && exact?.found !== undefined) return exact.found;

    const trail: PrefixNode[] = [];
    const deepest = walk(this.#root, path, trail);
    if (regexes.length === 0 && exact === undefined && deepest?.found !== undefined) return deepest.found;
    const found = this.#merge([...trail.map((node) => node.positions), exact?.positions ?? nothing, regexes]);
    if (regexes.length === 0 && found.length <= longestKept) {
      if (exact !== undefined) exact.found = found;
      else if (deepest !== undefined) deepest.found = found;
    }
    return found;
  }

  /** Positions of the prefixes that `text` begins with, ascending. */
  prefixesOf(text: string): readonly number[] {
    const trail: PrefixNode[] = [];
    walk(this.#root, text, trail);
    return trail.flatMap((node) => node.positions).sort((a, b) => a - b);
  }

  /** Positions of regular expressions that accept whatever the match at `position` does: the same text, or everything. */
  sameRegex(position: number): readonly number[] {
    const match = this.#matches[position]?.match;
    return this.#regexPositions.filter((other) => {
      const regex = regexOf(this.#matches[other]?.match);
      return other !== position && (regex === '.*' || regex === '/.*' || regex === regexOf(match));
    });
  }

  #matchRegexes(path: string): readonly number[] {
    const matched = this.#regexes.match(path);
    return matched.length === 0 ? nothing : matched.map((id) => this.#regexPositions[id] as number);
  }

  #merge(lists: readonly (readonly number[])[]): readonly number[] {
    const positions = lists.flat().sort((a, b) => a - b);
    const last = positions.findIndex((position) => this.#matches[position]?.unconditional === true);
    return last === -1 ? positions : positions.slice(0, last + 1);
  }
}

const regexOf = (match: PathMatch | undefined): string | undefined => (match?.kind === 'regex' ? match.regex : undefined);

/** Collects the nodes with routes on the way of `text` into `trail`; returns the last of them. */
const walk = (root: PrefixNode, text: string, trail: PrefixNode[]): PrefixNode | undefined => {
  let node: PrefixNode | undefined = root;
  let deepest: PrefixNode | undefined;
  let at = 0;
  for (;;) {
    if (node.positions.length > 0) {
      trail.push(node);
      deepest = node;
    }
    if (at === text.length) return deepest;
    node = node.children.get(text.charCodeAt(at));
    if (node === undefined || !text.startsWith(node.label, at)) return deepest;
    at += node.label.length;
  }
};

const insert = (root: PrefixNode, prefix: string, position: number): void => {
  let node = root;
  let at = 0;
  while (at < prefix.length) {
    const child = node.children.get(prefix.charCodeAt(at));
    if (child === undefined) {
      const leaf = new PrefixNode(prefix.slice(at));
      node.children.set(prefix.charCodeAt(at), leaf);
      node = leaf;
      break;
    }
    const shared = sharedLength(child.label, prefix, at);
    at += shared;
    node = shared === child.label.length ? child : split(node, child, shared);
  }
  node.positions.push(position);
};

/** Puts a node between `parent` and `child` that takes the first `length` characters of the child's label. */
const split = (parent: PrefixNode, child: PrefixNode, length: number): PrefixNode => {
  const middle = new PrefixNode(child.label.slice(0, length));
  parent.children.set(middle.label.charCodeAt(0), middle);
  child.label = child.label.slice(length);
  middle.children.set(child.label.charCodeAt(0), child);
  return middle;
};

const sharedLength = (label: string, text: string, at: number): number => {
  let length = 0;
  while (length < label.length && at + length < text.length && label.charCodeAt(length) === text.charCodeAt(at + length)) length++;
  return length;
};
