import { RE2Set } from 're2js';
import type { PathMatch } from './types.ts';

/** A route, as far as finding it by path goes. */
export interface IndexedMatch {
  readonly match: PathMatch;
  /** Where there are none, and all calls match, nothing after it is ever reached by the same path. */
  readonly headers: readonly unknown[];
  /** Part of the calls that match by chance. */
  readonly matchedShare: number;
}

/** One node of the prefix tree; its label is what leads to it from its parent. */
class PrefixNode<T> {
  label: string;
  readonly children = new Map<number, PrefixNode<T>>();
  /** Positions of the routes whose prefix ends here, ascending. */
  positions: number[] = [];
  /** What a path gets that ends its walk here, where no whole path and no regular expression matches; made when first asked for. */
  found: readonly T[] | undefined = undefined;

  constructor(label: string) {
    this.label = label;
  }
}

interface PathEntry<T> {
  readonly positions: number[];
  /** As of a prefix node. */
  found: readonly T[] | undefined;
}

/** Answers longer than this are built anew each time: kept, they could take memory by the square of the number of routes. */
const longestKept = 64;
const nothing: readonly number[] = Object.freeze([]);

/**
 * Finds the routes that match a path, in their order, without looking at each: whole paths in a hash map, prefixes in a tree of
 * characters, regular expressions combined into one automaton. Ten thousand prefixes cost what ten do; a walk through a list
 * would make the last route of a long file the slowest.
 */
export class PathIndex<T extends IndexedMatch> {
  readonly #matches: readonly T[];
  readonly #paths = new Map<string, PathEntry<T>>();
  readonly #root = new PrefixNode<T>('');
  readonly #regexes = new RE2Set(RE2Set.ANCHOR_BOTH);
  readonly #regexPositions: number[] = [];

  /** @param matches in the order of evaluation; regular expressions have been compiled once before, so that they are right. */
  constructor(matches: readonly T[]) {
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

  /** Matches that accept `path`, in their order, up to and including the first unconditional one. Not to be changed. */
  find(path: string): readonly T[] {
    const exact = this.#paths.get(path);
    const regexes = this.regexesOf(path);
    if (regexes.length === 0 && exact?.found !== undefined) return exact.found;

    const trail: PrefixNode<T>[] = [];
    const deepest = walk(this.#root, path, trail);
    if (regexes.length === 0 && exact === undefined && deepest?.found !== undefined) return deepest.found;
    const found = this.#merge([...trail.map((node) => node.positions), exact?.positions ?? nothing, regexes]);
    if (regexes.length === 0 && found.length <= longestKept) {
      if (exact !== undefined) exact.found = found;
      else if (deepest !== undefined) deepest.found = found;
    }
    return found;
  }

  /** Positions of the whole paths equal to `path`, ascending. */
  positionsOf(path: string): readonly number[] {
    return this.#paths.get(path)?.positions ?? nothing;
  }

  /** Positions of the prefixes that `text` begins with, ascending. */
  prefixesOf(text: string): readonly number[] {
    const trail: PrefixNode<T>[] = [];
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

  /** Positions of the regular expressions that match all of `path`. */
  regexesOf(path: string): readonly number[] {
    if (this.#regexPositions.length === 0) return nothing;
    const matched = this.#regexes.match(path);
    return matched.length === 0 ? nothing : matched.map((id) => this.#regexPositions[id] as number);
  }

  #merge(lists: readonly (readonly number[])[]): readonly T[] {
    const positions = lists.flat().sort((a, b) => a - b);
    const matches = positions.map((position) => this.#matches[position] as T);
    const last = matches.findIndex(({ headers, matchedShare }) => headers.length === 0 && matchedShare === 1);
    return Object.freeze(last === -1 ? matches : matches.slice(0, last + 1));
  }
}

const regexOf = (match: PathMatch | undefined): string | undefined => (match?.kind === 'regex' ? match.regex : undefined);

/** Collects the nodes with routes on the way of `text` into `trail`; returns the last of them. */
const walk = <T>(root: PrefixNode<T>, text: string, trail: PrefixNode<T>[]): PrefixNode<T> | undefined => {
  let node: PrefixNode<T> | undefined = root;
  let deepest: PrefixNode<T> | undefined;
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

const insert = <T>(root: PrefixNode<T>, prefix: string, position: number): void => {
  let node = root;
  let at = 0;
  while (at < prefix.length) {
    const child = node.children.get(prefix.charCodeAt(at));
    if (child === undefined) {
      const leaf = new PrefixNode<T>(prefix.slice(at));
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
const split = <T>(parent: PrefixNode<T>, child: PrefixNode<T>, length: number): PrefixNode<T> => {
  const middle = new PrefixNode<T>(child.label.slice(0, length));
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
