import type { EndpointSet, EndpointSource, EndpointUpdateCounts } from './endpoints.ts';
import { KeptEndpoints, type KeptEndpointsOptions } from './kept-endpoints.ts';

/** A source that asks somebody, and holds what it knows under the rules of all of them. */
export abstract class KeptSource implements EndpointSource {
  protected readonly kept: KeptEndpoints;

  constructor(options: KeptEndpointsOptions) {
    this.kept = new KeptEndpoints(options);
  }

  get value(): EndpointSet {
    return this.kept.value;
  }

  get updates(): EndpointUpdateCounts {
    return this.kept.counts;
  }

  subscribe(listener: (value: EndpointSet) => void): () => void {
    return this.kept.subscribe(listener);
  }

  /** No listener is called any more. Whoever extends it ends its own timers and questions as well. */
  close(): void {
    this.kept.close();
  }
}
