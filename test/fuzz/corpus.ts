import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { FuzzTarget } from './target.ts';

const folder = join(import.meta.dirname, 'corpus');

/** An input with a name that people can follow: of the file, or the number of the seed in the target. */
export interface NamedInput {
  readonly name: string;
  readonly input: Buffer;
}

/** What the target brings and what lies in `corpus/<name>/`, in a stable order. */
export const readCorpus = (target: FuzzTarget): readonly NamedInput[] => {
  const from = join(folder, target.name);
  const files = existsSync(from) ? readdirSync(from).sort() : [];
  return [
    ...target.seeds().map((input, i) => ({ name: `seed ${i}`, input })),
    ...files.map((file) => ({ name: file, input: readFileSync(join(from, file)) })),
  ];
};

export const shortHash = (input: Uint8Array): string => createHash('sha256').update(input).digest('hex').slice(0, 12);

/** Writes an input into a folder and returns the path. */
export const writeInput = (to: string, name: string, input: Uint8Array): string => {
  mkdirSync(to, { recursive: true });
  const path = join(to, name);
  writeFileSync(path, input);
  return path;
};

export const corpusFolder = (target: string): string => join(folder, target);
