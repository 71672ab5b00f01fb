import { isIP } from 'node:net';
import { type Clock, type Logger, WatchSource } from '../core/index.ts';
import type { DnsEndpointsPolicy, EndpointPolicy } from '../policy/index.ts';
import { DnsName, shortestRefreshMs } from './dns-name.ts';
import { DnsService } from './dns-service.ts';
import {
  type EndpointAddress,
  type EndpointSet,
  type EndpointSource,
  type EndpointUpdateCounts,
  mostEndpoints,
  normalizeEndpoints,
  sameEndpoints,
} from './endpoints.ts';
import type { EndpointResolver } from './resolver.ts';

export interface DnsEndpointSourceOptions {
  readonly clock: Clock;
  readonly log: Logger;
  readonly resolver: EndpointResolver;
  /** The resolver is the source's own, and ends with it. */
  readonly ownsResolver?: boolean;
  /** From 0 to 1, for jitter. */
  readonly random: () => number;
}

/** What of an answer becomes endpoints. `preferred` takes the other family only where its own is missing. */
const selectAddresses = (addresses: readonly string[], { family, allAddresses }: DnsEndpointsPolicy): readonly string[] => {
  const wanted = family.startsWith('v4') ? 4 : family.startsWith('v6') ? 6 : 0;
  const ofFamily = wanted === 0 ? addresses : addresses.filter((address) => isIP(address) === wanted);
  const selected = ofFamily.length === 0 && family.endsWith('_preferred') ? addresses : ofFamily;
  return allAddresses ? selected : selected.slice(0, 1);
};

/**
 * Every address of every name, and of every target of SRV records, is an endpoint, asked for anew at each interval (Envoy: STRICT_DNS). IP addresses among the
 * targets are endpoints as they stand, from the first moment on; a source of nothing but addresses asks nobody.
 */
export class DnsEndpointSource implements EndpointSource {
  readonly #targets: readonly EndpointPolicy[];
  readonly #names = new Map<string, DnsName<string>>();
  readonly #services: readonly DnsName<EndpointAddress>[];
  readonly #everyName: readonly DnsName<unknown>[];
  readonly #watch: WatchSource<EndpointSet>;
  readonly #log: Logger;
  readonly #source: string;
  #latest: EndpointSet;
  #closeResolver: (() => void) | undefined;
  #closed = false;

  constructor(policy: DnsEndpointsPolicy, options: DnsEndpointSourceOptions) {
    this.#targets = policy.names;
    this.#log = options.log;
    const { resolver } = options;
    if (options.ownsResolver === true) this.#closeResolver = () => resolver.close?.();
    const select = (addresses: readonly string[]): readonly string[] => selectAddresses(addresses, policy);
    const nameOptions = {
      ...options,
      refreshMs: Math.max(policy.refreshMs, shortestRefreshMs),
      keepLastMs: policy.keepLastMs,
      onLook: () => this.#refresh(),
    };
    for (const { host } of this.#targets) {
      if (isIP(host) !== 0 || this.#names.has(host)) continue;
      const ask = async () => {
        const { addresses, ...ttl } = await resolver.resolve(host);
        return { values: select(addresses), ...ttl };
      };
      this.#names.set(host, new DnsName(host, { ...nameOptions, ask, sought: 'address' }));
    }
    this.#services = (policy.services ?? []).map((name) => {
      const service = new DnsService(name, resolver, select);
      return new DnsName(name, { ...nameOptions, ask: () => service.ask(), sought: 'SRV record that leads to an address' });
    });
    this.#everyName = [...this.#names.values(), ...this.#services];
    this.#source = this.#everyName.length === 0 ? 'static' : `dns:${this.#everyName.map(({ name }) => name).join(',')}`;
    this.#latest = this.#merge(options.clock.wallNow());
    this.#watch = new WatchSource(this.#latest);
    for (const name of this.#everyName) name.start();
  }

  get value(): EndpointSet {
    return this.#latest;
  }

  get updates(): EndpointUpdateCounts {
    const sum = { update_attempt: 0, update_success: 0, update_failure: 0, update_empty: 0 };
    for (const { counts } of this.#everyName) {
      sum.update_attempt += counts.update_attempt;
      sum.update_success += counts.update_success;
      sum.update_failure += counts.update_failure;
      sum.update_empty += counts.update_empty;
    }
    return sum;
  }

  subscribe(listener: (value: EndpointSet) => void): () => void {
    return this.#watch.subscribe(listener);
  }

  close(): void {
    this.#closed = true;
    for (const name of this.#everyName) name.close();
    this.#closeResolver?.();
  }

  #refresh(): void {
    if (this.#closed) return;
    const before = this.#latest;
    this.#latest = this.#merge(before.updatedAtMs);
    if (this.#latest.error !== undefined && this.#latest.error !== before.error) {
      this.#log.warning('endpoints could not be refreshed', { error: this.#latest.error, endpoints: this.#latest.endpoints.length });
    }
    if (this.#latest.error === before.error && sameEndpoints(this.#latest.endpoints, before.endpoints)) return;
    this.#watch.set(this.#latest);
  }

  #merge(updatedAtMs: number): EndpointSet {
    const endpoints = this.#targets.flatMap((target): EndpointAddress[] => {
      const name = this.#names.get(target.host);
      if (name === undefined) return [target];
      return name.values.map((address) => ({ ...target, host: address, hostname: target.host }));
    });
    const names = this.#everyName;
    const errors = names.flatMap(({ error }) => error ?? []);
    const all = normalizeEndpoints([...endpoints, ...this.#services.flatMap(({ values }) => values)]);
    if (all.length > mostEndpoints) errors.push(`${all.length} endpoints, of which the first ${mostEndpoints} are used`);
    return {
      endpoints: all.length > mostEndpoints ? all.slice(0, mostEndpoints) : all,
      source: this.#source,
      updatedAtMs: names.length === 0 ? updatedAtMs : Math.max(...names.map((name) => name.updatedAtMs)),
      ...(errors.length > 0 && { error: errors.join('; ') }),
    };
  }
}
