import { type Clock, type Logger, type Timer, WatchSource } from '../core/index.ts';
import { type EndpointAddress, type EndpointSet, mostEndpoints, normalizeEndpoints, sameEndpoints } from './endpoints.ts';

export interface KeptEndpointsOptions {
  readonly clock: Clock;
  readonly log: Logger;
  /** As `/clusters` names it: `http:registry:8080`. */
  readonly source: string;
  /** How long the last good endpoints outlive an empty answer; 0: not at all. */
  readonly keepLastMs: number;
  /** What an empty answer means to a call: all instances are busy, rather than that there is none. */
  readonly emptyIsBusy?: boolean;
}

/**
 * What a source knows, under the rules that hold for all of them: getting no answer keeps the last good endpoints as long as it
 * lasts, since the outage of a registry says nothing about the service; an empty answer keeps them for `keepLastMs`, since the restart
 * of a whole service looks just like that. Listeners hear of changes only.
 */
export class KeptEndpoints {
  readonly counts = { update_attempt: 0, update_success: 0, update_failure: 0, update_empty: 0 };
  readonly #options: KeptEndpointsOptions;
  readonly #watch: WatchSource<EndpointSet>;
  #latest: EndpointSet;
  #expiry: Timer | undefined;
  #closed = false;

  constructor(options: KeptEndpointsOptions) {
    this.#options = options;
    this.#latest = { endpoints: [], source: options.source, updatedAtMs: 0 };
    this.#watch = new WatchSource(this.#latest);
  }

  get value(): EndpointSet {
    return this.#latest;
  }

  subscribe(listener: (value: EndpointSet) => void): () => void {
    return this.#watch.subscribe(listener);
  }

  /** No listener is called any more. Idempotent. */
  close(): void {
    this.#closed = true;
    this.#expiry?.cancel();
    this.#expiry = undefined;
  }

  /**
   * A good answer. One without endpoints is told as `why`.
   * @param partly what of the answer could not be used, where the rest could.
   */
  found(endpoints: readonly EndpointAddress[], why: string, partly?: string): void {
    if (this.#closed) return;
    if (endpoints.length === 0) {
      this.#foundNothing(partly ?? why);
      return;
    }
    this.counts.update_success++;
    this.#endExpiry();
    const sorted = normalizeEndpoints(endpoints);
    const tooMany = sorted.length > mostEndpoints ? `${sorted.length} endpoints, of which the first ${mostEndpoints} are used` : undefined;
    const error = [tooMany, partly].filter((part) => part !== undefined).join('; ');
    this.#publish(tooMany === undefined ? sorted : sorted.slice(0, mostEndpoints), error === '' ? undefined : error);
  }

  /** What is known was right until now: a question that is answered only when something changes has had no answer. */
  confirmed(): void {
    if (this.#closed || this.#latest.updatedAtMs === 0) return;
    this.#latest = { ...this.#latest, updatedAtMs: this.#options.clock.wallNow() };
  }

  /** No answer, or none that could be read. The endpoints stay. */
  failed(why: string): void {
    if (this.#closed) return;
    this.counts.update_failure++;
    this.#set({ ...this.#latest, error: why, partial: false });
  }

  #foundNothing(why: string): void {
    this.counts.update_empty++;
    const { clock, keepLastMs } = this.#options;
    if (this.#latest.endpoints.length === 0 || keepLastMs === 0) {
      this.#endExpiry();
      this.#publish([], why);
      return;
    }
    this.#set({ ...this.#latest, partial: false, error: `${why}; the last good endpoints are kept for a while` });
    this.#expiry ??= clock.setTimer(() => {
      this.#expiry = undefined;
      this.#publish([], why);
    }, keepLastMs);
  }

  #endExpiry(): void {
    this.#expiry?.cancel();
    this.#expiry = undefined;
  }

  #publish(endpoints: readonly EndpointAddress[], error: string | undefined): void {
    const { clock, source, emptyIsBusy } = this.#options;
    this.#set({
      endpoints,
      source,
      updatedAtMs: clock.wallNow(),
      ...(error !== undefined && { error }),
      ...(error !== undefined && endpoints.length > 0 && { partial: true }),
      ...(emptyIsBusy === true && endpoints.length === 0 && { allBusy: true }),
    });
  }

  #set(next: EndpointSet): void {
    const before = this.#latest;
    this.#latest = next;
    if (next.error !== undefined && next.error !== before.error) {
      const { source, log } = this.#options;
      log.warning('endpoints could not be refreshed', { source, error: next.error, endpoints: next.endpoints.length });
    }
    const firstWord = before.updatedAtMs === 0 && next.updatedAtMs !== 0;
    if (!firstWord && next.error === before.error && sameEndpoints(next.endpoints, before.endpoints)) return;
    this.#watch.set(next);
  }
}
