import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { type Clock, ConfigurationError, type Logger, type Timer } from '../core/index.ts';
import type { Catalogue, CheckEntry } from './catalogue.ts';
import type { ChangeIndex } from './change-index.ts';
import type { CheckDefinition, ServiceDefinition } from './definitions.ts';
import type { KeyValues } from './key-values.ts';

const format = 'outrider-registry-1';
/** Changes within it share a write. */
const writeDelayMs = 500;

interface SavedState {
  readonly format: typeof format;
  readonly nodeId: string;
  readonly index: number;
  readonly services: readonly Omit<ServiceDefinition, 'checks'>[];
  readonly checks: readonly Pick<CheckEntry, 'definition' | 'kind' | 'withService' | 'status' | 'output'>[];
  readonly keys: readonly {
    readonly key: string;
    readonly value: string;
    readonly flags: number;
    readonly createIndex: number;
    readonly modifyIndex: number;
  }[];
}

export interface RegistryState {
  readonly index: ChangeIndex;
  readonly catalogue: Catalogue;
  readonly keyValues: KeyValues;
}

/** What an earlier life of the registry left; `undefined` where there is no file yet. Throws a `ConfigurationError` for a file that is not ours. */
export const readState = (path: string): SavedState | undefined => {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw new ConfigurationError(`--data ${path}: cannot be read: ${error instanceof Error ? error.message : String(error)}`, {
      remedy: 'write the path of a file that this user may read and write',
      cause: error,
    });
  }
  try {
    const state = JSON.parse(text) as SavedState;
    if (state?.format === format) return state;
  } catch {
    // Said below.
  }
  throw new ConfigurationError(`--data ${path}: no file of "outrider registry"`, { remedy: 'write another path, or remove the file' });
};

/** Fills an empty registry. Services come before checks, which belong to them; TTLs begin anew. */
export const restoreState = (saved: SavedState, { index, catalogue, keyValues }: RegistryState): void => {
  index.advanceTo(saved.index);
  for (const definition of saved.services) catalogue.register({ ...definition, checks: [] }, false);
  for (const { definition, kind, withService, status, output } of saved.checks)
    catalogue.restoreCheck(definition as CheckDefinition, kind, withService, status, output);
  keyValues.restore(saved.keys.map((entry) => ({ ...entry, value: Buffer.from(entry.value, 'base64') })));
};

/** Keeps the file up to date: written beside and renamed, so that a crash leaves the old or the new one, never half of one. */
export class StateFile {
  readonly #path: string;
  readonly #nodeId: string;
  readonly #state: RegistryState;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #unsubscribe: () => void;
  #timer: Timer | undefined;

  constructor(path: string, nodeId: string, state: RegistryState, { clock, log }: { readonly clock: Clock; readonly log: Logger }) {
    this.#path = path;
    this.#nodeId = nodeId;
    this.#state = state;
    this.#clock = clock;
    this.#log = log;
    // A path that cannot be written is better known at the start.
    try {
      this.#write();
    } catch (error) {
      throw new ConfigurationError(`--data ${path}: cannot be written: ${error instanceof Error ? error.message : String(error)}`, {
        remedy: 'write the path of a file in a folder that this user may write to',
        cause: error,
      });
    }
    this.#unsubscribe = state.index.subscribe(() => this.#writeSoon());
  }

  /** Writes what has changed since. */
  close(): void {
    this.#unsubscribe();
    if (this.#timer === undefined) return;
    this.#timer.cancel();
    this.#tryToWrite();
  }

  #writeSoon(): void {
    this.#timer ??= this.#clock.setTimer(() => {
      this.#timer = undefined;
      this.#tryToWrite();
    }, writeDelayMs);
  }

  #tryToWrite(): void {
    try {
      this.#write();
    } catch (error) {
      this.#log.error('the registry could not be saved', { path: this.#path, error });
    }
  }

  #write(): void {
    const { index, catalogue, keyValues } = this.#state;
    const saved: SavedState = {
      format,
      nodeId: this.#nodeId,
      index: index.current,
      services: catalogue.services.map(({ definition }) => definition),
      checks: catalogue.checks
        .filter(({ kind }) => kind !== '')
        .map(({ definition, kind, withService, status, output }) => ({ definition, kind, withService, status, output })),
      keys: keyValues.under('').map((entry) => ({ ...entry, value: entry.value.toString('base64') })),
    };
    const beside = `${this.#path}.new`;
    // 0600: the store may hold what is nobody else's.
    const file = openSync(beside, 'w', 0o600);
    try {
      writeFileSync(file, JSON.stringify(saved));
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(beside, this.#path);
  }
}
