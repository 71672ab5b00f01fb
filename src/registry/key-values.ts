import type { ChangeIndex } from './change-index.ts';
import { longestName, longestValueBytes, type RegistryLimits } from './limits.ts';
import { RegistryProblem } from './reply.ts';

export interface KeyValue {
  readonly key: string;
  readonly value: Buffer;
  readonly flags: number;
  readonly createIndex: number;
  readonly modifyIndex: number;
}

/** Deletions that are remembered; older ones are taken for changes of everything, which wakes a watcher once too often. */
const mostTombstones = 1_000;

/** Consul's key-value store without sessions: keys in their order, each with the index of its last change. */
export class KeyValues {
  readonly #index: ChangeIndex;
  readonly #limits: RegistryLimits;
  readonly #entries = new Map<string, KeyValue>();
  readonly #tombstones = new Map<string, number>();
  #tombstoneFloor = 1;
  #latest = 1;
  #bytes = 0;

  constructor(index: ChangeIndex, limits: RegistryLimits) {
    this.#index = index;
    this.#limits = limits;
  }

  get(key: string): KeyValue | undefined {
    return this.#entries.get(key);
  }

  /** In the order of their keys. */
  under(prefix: string): readonly KeyValue[] {
    return [...this.#entries.values()].filter(({ key }) => key.startsWith(prefix)).sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  /** The index of one key: of its last change, or of the whole store where it is not there. */
  indexOf(key: string): number {
    return this.#entries.get(key)?.modifyIndex ?? this.#latest;
  }

  /** The index of all keys below `prefix`, deletions included. */
  indexUnder(prefix: string): number {
    let index = 0;
    for (const { key, modifyIndex } of this.#entries.values()) if (key.startsWith(prefix)) index = Math.max(index, modifyIndex);
    if (index === 0) return this.#latest;
    for (const [key, deletedAt] of this.#tombstones) if (key.startsWith(prefix)) index = Math.max(index, deletedAt);
    return Math.max(index, this.#tombstoneFloor);
  }

  /** @param cas the index that the entry must have; 0: it must not be there; `undefined`: whatever it has. */
  put(key: string, value: Buffer, flags: number, cas: number | undefined): boolean {
    const former = this.#entries.get(key);
    if (cas !== undefined && (former?.modifyIndex ?? 0) !== cas) return false;
    if (key.length > longestName) throw new RegistryProblem(400, `a key has at most ${longestName} characters`);
    if (value.length > longestValueBytes)
      throw new RegistryProblem(413, `Request body(${value.length} bytes) too large, max size: ${longestValueBytes} bytes.`);
    const bytes = this.#bytes + value.length - (former?.value.length ?? 0);
    if (bytes > this.#limits.valueBytes || (former === undefined && this.#entries.size >= this.#limits.keys)) {
      throw new RegistryProblem(
        429,
        `this registry holds at most ${this.#limits.keys} keys and ${this.#limits.valueBytes} bytes of values`,
      );
    }
    // As in Consul, what changes nothing is no change.
    if (former !== undefined && former.flags === flags && former.value.equals(value)) return true;
    const index = this.#index.next();
    this.#latest = index;
    this.#bytes = bytes;
    this.#entries.set(key, { key, value, flags, createIndex: former?.createIndex ?? index, modifyIndex: index });
    return true;
  }

  /** @param cas the index that the entry must have; what is not there is deleted already. */
  delete(key: string, cas: number | undefined): boolean {
    const former = this.#entries.get(key);
    if (former === undefined) return true;
    if (cas !== undefined && former.modifyIndex !== cas) return false;
    this.#bury([former]);
    return true;
  }

  deleteUnder(prefix: string): void {
    const buried = this.under(prefix);
    if (buried.length > 0) this.#bury(buried);
  }

  restore(entries: readonly KeyValue[]): void {
    for (const entry of entries) {
      this.#entries.set(entry.key, entry);
      this.#bytes += entry.value.length;
      this.#latest = Math.max(this.#latest, entry.modifyIndex);
    }
  }

  #bury(entries: readonly KeyValue[]): void {
    const index = this.#index.next();
    this.#latest = index;
    for (const { key, value } of entries) {
      this.#entries.delete(key);
      this.#bytes -= value.length;
      this.#tombstones.delete(key);
      this.#tombstones.set(key, index);
    }
    for (const [key, deletedAt] of this.#tombstones) {
      if (this.#tombstones.size <= mostTombstones) break;
      this.#tombstones.delete(key);
      this.#tombstoneFloor = Math.max(this.#tombstoneFloor, deletedAt);
    }
  }
}
