import type { ConsulEndpointsPolicy } from '../../policy/index.ts';
import type { Departure, EndpointAddress } from '../endpoints.ts';
import { KeptSource } from '../kept-source.ts';
import type { ConsulShared } from './consul-shared.ts';
import { ConsulWatch } from './consul-watch.ts';

/**
 * The instances of a service in Consul's catalogue. Of several datacenters, and those that take its place, each is watched all the time, as a
 * priority of its own: when the first one cannot carry the calls any more, the next one does at once.
 */
export class ConsulEndpointSource extends KeptSource {
  readonly #watches: readonly ConsulWatch[];
  readonly #policy: ConsulEndpointsPolicy;
  readonly #onClose: () => void;
  #closed = false;

  constructor(policy: ConsulEndpointsPolicy, shared: ConsulShared, onClose: () => void) {
    const { service, datacenters, keepLastMs, isPreparedQuery } = policy;
    const where = datacenters.length === 0 ? '' : `@${datacenters.join(',')}`;
    const source = `consul:${isPreparedQuery ? 'query/' : ''}${service}${where}`;
    super({ clock: shared.clock, log: shared.log, source, keepLastMs });
    this.#policy = policy;
    this.#onClose = onClose;
    const listener = {
      onQuestion: () => void this.kept.counts.update_attempt++,
      onAnswer: () => this.#refresh(),
      onFailure: (wasRight: boolean) => {
        if (wasRight) this.kept.confirmed();
        this.#refresh();
      },
    };
    const own = (datacenters.length === 0 ? [''] : datacenters).map(
      (datacenter, priority) => new ConsulWatch(policy, { datacenter, label: datacenter, priority }, shared, listener),
    );
    const others = policy.failover.map((target, i) => {
      const label = [...(target.service === service ? [] : [target.service]), ...(target.datacenter === '' ? [] : [target.datacenter])];
      const place = {
        datacenter: target.datacenter,
        label: label.join('@') || 'failover',
        priority: own.length + i,
        ...(target.service === service ? {} : { service: target.service }),
      };
      // Tags and what is near belong to the service itself.
      const { service: failoverService, filter, passingOnly } = target;
      return new ConsulWatch(
        { ...policy, service: failoverService, filter, passingOnly, tags: [], near: '', nearest: 0 },
        place,
        shared,
        listener,
      );
    });
    this.#watches = [...own, ...others];
    for (const watch of this.#watches) watch.start();
  }

  get departures(): readonly Departure[] {
    return this.#watches.flatMap(({ departures }) => departures?.list ?? []);
  }

  /** What made questions fail has changed: asks again now. */
  retryNow(): void {
    for (const watch of this.#watches) watch.retryNow();
  }

  override close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const watch of this.#watches) watch.close();
    super.close();
    this.#onClose();
  }

  #refresh(): void {
    const failures = this.#watches.flatMap(({ error, label }) => (error === undefined ? [] : named(error, label)));
    const answering = this.#watches.filter(({ answered, error }) => answered && error === undefined);
    if (answering.length === 0) {
      if (failures.length === this.#watches.length) this.kept.failed(failures.join('; '));
      return;
    }
    const endpoints = this.#merge();
    // As long as a datacenter has not said anything, an empty answer of another one is no answer.
    const waiting = this.#watches.some(({ answered, error }) => !answered && error === undefined);
    if (endpoints.length === 0 && waiting) return;
    const partly = [
      ...failures,
      ...answering.flatMap(({ partly: problem, label }) => (problem === undefined ? [] : named(problem, label))),
    ];
    this.kept.found(endpoints, this.#nothing(), partly.length === 0 ? undefined : partly.join('; '));
  }

  #merge(): readonly EndpointAddress[] {
    const [first] = this.#watches;
    return this.#watches.length === 1 && first !== undefined ? first.endpoints : this.#watches.flatMap(({ endpoints }) => endpoints);
  }

  #nothing(): string {
    const { service, isPreparedQuery, passingOnly, tags, filter, datacenters, failover } = this.#policy;
    if (isPreparedQuery) return `the prepared query "${service}" of Consul finds no instance`;
    const which = [
      ...(tags.length === 0 ? [] : [`with the tag ${tags.join(', ')}`]),
      ...(filter === '' ? [] : [`that its filter lets through`]),
      ...(datacenters.length === 0 ? [] : [`in ${datacenters.join(', ')}`]),
      ...(failover.length === 0 ? [] : ['nor of those in its place']),
    ];
    return `Consul knows no ${passingOnly ? 'passing ' : ''}instance of "${service}"${which.length === 0 ? '' : ` ${which.join(' ')}`}`;
  }
}

const named = (problem: string, label: string): readonly string[] => [label === '' ? problem : `${label}: ${problem}`];
