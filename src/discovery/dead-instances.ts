import type { Clock, Logger } from '../core/index.ts';
import type { EndpointAddress } from './endpoints.ts';
import { instanceKey } from './instance-list.ts';

export interface DeadInstancesOptions {
  /** Connect failures in a row after which an instance is dead; 0: none ever is. */
  readonly after: number;
  /** At most one is reported in this time. */
  readonly intervalMs: number;
  readonly clock: Clock;
  readonly log: Logger;
  readonly source: string;
  /** Rejects where nobody was told. */
  readonly unregister: (id: string) => Promise<void>;
}

const windowMs = 60_000;

interface Instance {
  readonly id: string;
  failuresInARow: number;
  reported: boolean;
}

/**
 * Which instances of a discoverer cannot be connected to, and telling it: each once, one at a time, and at most half of the list (though
 * at least one) within a minute. A sidecar that has lost its own network sees all of them dead, and must not empty the list for everybody.
 */
export class DeadInstances {
  readonly counts = { unregister_attempt: 0, unregister_failure: 0, unregister_overflow: 0 };
  readonly #options: DeadInstancesOptions;
  #instances: ReadonlyMap<string, Instance> = new Map();
  #reportedAtMs: readonly number[] = [];

  constructor(options: DeadInstancesOptions) {
    this.#options = options;
  }

  /** @param ids of the latest list, by `instanceKey`. What stays keeps its count; what left and comes back begins anew. */
  update(ids: ReadonlyMap<string, string>): void {
    const next = new Map<string, Instance>();
    for (const [key, id] of ids) {
      const known = this.#instances.get(key);
      next.set(key, known?.id === id ? known : { id, failuresInARow: 0, reported: false });
    }
    this.#instances = next;
  }

  connectResult(endpoint: EndpointAddress, connected: boolean): void {
    const instance = this.#instances.get(instanceKey(endpoint));
    const { after } = this.#options;
    if (instance === undefined || after === 0) return;
    if (connected) {
      instance.failuresInARow = 0;
      instance.reported = false;
      return;
    }
    instance.failuresInARow++;
    if (instance.failuresInARow < after || instance.reported) return;
    if (!this.#mayReport()) {
      this.counts.unregister_overflow++;
      return;
    }
    void this.#report(instance, endpoint);
  }

  #mayReport(): boolean {
    const { clock, intervalMs } = this.#options;
    const nowMs = clock.now();
    const recent = this.#reportedAtMs.filter((atMs) => nowMs - atMs < Math.max(windowMs, intervalMs));
    this.#reportedAtMs = recent;
    if (recent.some((atMs) => nowMs - atMs < intervalMs)) return false;
    if (recent.length >= Math.max(1, Math.floor(this.#instances.size / 2))) return false;
    this.#reportedAtMs = [...recent, nowMs];
    return true;
  }

  async #report(instance: Instance, { host, port }: EndpointAddress): Promise<void> {
    const { log, source, unregister } = this.#options;
    const fields = { source, instance: instance.id, endpoint: `${host}:${port}` };
    instance.reported = true;
    this.counts.unregister_attempt++;
    try {
      await unregister(instance.id);
      log.warning('dead instance unregistered', { ...fields, connect_failures: instance.failuresInARow });
    } catch (error) {
      this.counts.unregister_failure++;
      // Again after as many failures.
      instance.failuresInARow = 0;
      instance.reported = false;
      log.warning('dead instance could not be unregistered', { ...fields, why: error instanceof Error ? error.message : String(error) });
    }
  }
}
