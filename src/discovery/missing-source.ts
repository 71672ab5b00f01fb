import { constantWatch } from '../core/index.ts';
import type { EndpointSet, EndpointSource } from './endpoints.ts';

/** There is nobody to ask: no endpoint, ever, and why. */
export class MissingSource implements EndpointSource {
  readonly #watch;

  constructor(source: string, error: string) {
    this.#watch = constantWatch<EndpointSet>({ endpoints: [], source, updatedAtMs: 0, error });
  }

  get value(): EndpointSet {
    return this.#watch.value;
  }

  subscribe(): () => void {
    return () => {};
  }

  close(): void {}
}
