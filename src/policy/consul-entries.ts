import { ConsulEntryFields } from './consul-entry-fields.ts';
import type { PolicyReading } from './read-policies.ts';
import type { PolicyProblem } from './types.ts';

/** Kinds of config entries that mean something to a sidecar. */
export const consulEntryKinds = ['service-defaults', 'service-resolver', 'service-splitter', 'service-router'] as const;
export type ConsulEntryKind = (typeof consulEntryKinds)[number];

export interface ConsulEntry {
  readonly kind: ConsulEntryKind;
  readonly name: string;
  /** As Consul's API answers. */
  readonly value: unknown;
}

/** A part of a policy document. */
type Part = { [key: string]: unknown };

const mostRedirects = 10;
/** Consul's weights are percent with two digits after the point. */
const weightScale = 100;
/** By name; also as Kubernetes and gRPC clients write it. */
const authorityOf = (name: string): string =>
  `${name.replaceAll(/[.+*?^$()[\]{}|\\]/g, '\\$&')}(\\.default)?(\\.svc(\\.cluster\\.local)?)?(:[0-9]+)?`;
const onlyWritten = (part: Part): Part => Object.fromEntries(Object.entries(part).filter(([, value]) => value !== undefined));

/**
 * Config entries of a Consul mesh as policies: resolvers and a service's own upstream defaults become clusters, splitters and routers
 * become routes for the authority of their service. What they say and cannot be said in a policy is a warning that names the entry.
 *
 * @param serviceName whose `service-defaults` says how it calls others.
 * @returns one text, which gives way to what is written elsewhere, and the warnings.
 */
export const translateConsulEntries = (entries: readonly ConsulEntry[], serviceName: string): PolicyReading => {
  const problems: PolicyProblem[] = [];
  const document = new Translation(entries, serviceName, problems).document();
  const bytes = Buffer.from(JSON.stringify(document, null, 2));
  return { texts: [{ path: 'consul:config-entries', bytes, givesWay: true }], descriptorSets: [], problems };
};

class Translation {
  readonly #byKind: ReadonlyMap<ConsulEntryKind, ReadonlyMap<string, ConsulEntryFields>>;
  readonly #serviceName: string;
  readonly #clusters = new Map<string, Part>();

  constructor(entries: readonly ConsulEntry[], serviceName: string, problems: PolicyProblem[]) {
    this.#serviceName = serviceName;
    this.#byKind = new Map(
      consulEntryKinds.map((kind) => [
        kind,
        new Map(
          entries
            .filter((entry) => entry.kind === kind)
            .map(({ name, value }) => [name, new ConsulEntryFields(value, `${kind}/${name}`, problems)] as const),
        ),
      ]),
    );
  }

  document(): Part {
    for (const [name, resolver] of this.#of('service-resolver')) this.#addResolver(name, resolver);
    for (const [name, defaults] of this.#of('service-defaults')) this.#addDefaults(name, defaults);
    const routed = new Set(
      ['service-router', 'service-splitter', 'service-resolver'].flatMap((kind) => [...this.#of(kind as ConsulEntryKind).keys()]),
    );
    const routes = [...routed].sort().flatMap((name) => this.#routesOf(name));
    for (const entries of this.#byKind.values()) for (const entry of entries.values()) entry.reportRest();
    return { ...(routes.length > 0 && { routes }), clusters: Object.fromEntries([...this.#clusters].sort(([a], [b]) => (a < b ? -1 : 1))) };
  }

  #of(kind: ConsulEntryKind): ReadonlyMap<string, ConsulEntryFields> {
    return this.#byKind.get(kind) ?? new Map();
  }

  #cluster(name: string): Part {
    let cluster = this.#clusters.get(name);
    if (cluster === undefined) {
      cluster = { consul: { service: name } };
      this.#clusters.set(name, cluster);
    }
    return cluster;
  }

  // ---- clusters ----

  #addResolver(name: string, resolver: ConsulEntryFields): void {
    const cluster = this.#cluster(name);
    const balancing = this.#balancing(resolver.group('LoadBalancer'));
    const common = onlyWritten({ connect_timeout: resolver.duration('ConnectTimeout'), ...balancing });
    Object.assign(cluster, common);
    const subsets = new Map(resolver.named('Subsets'));
    const sourceOf = (subset: ConsulEntryFields | undefined): Part =>
      onlyWritten({
        service: name,
        filter: subset?.text('Filter'),
        passing: subset === undefined ? undefined : subset.flag('OnlyPassing'),
      });
    const failovers = new Map(resolver.named('Failover'));
    const failoverOf = (subset: string | undefined): readonly Part[] | undefined => {
      const written = failovers.get(subset ?? '*') ?? failovers.get('*');
      return written === undefined ? undefined : this.#failover(name, subset, written);
    };
    for (const [subset, fields] of subsets)
      this.#clusters.set(`${subset}.${name}`, { consul: onlyWritten({ ...sourceOf(fields), failover: failoverOf(subset) }), ...common });
    for (const [subset, failover] of failovers) {
      if (subset === '*' || subsets.has(subset)) continue;
      failover.ignore('Service', 'ServiceSubset', 'Datacenters', 'Targets', 'Policy');
      resolver.warn(`Failover names a subset "${subset}" that is not there`, 'add it to Subsets, or write "*"');
    }
    const fallback = resolver.text('DefaultSubset');
    cluster['consul'] = onlyWritten({
      ...(fallback === undefined ? { service: name } : sourceOf(subsets.get(fallback))),
      failover: failoverOf(fallback),
    });
    const redirect = resolver.group('Redirect');
    if (redirect !== undefined) {
      const service = redirect.text('Service') ?? name;
      const target = this.#of('service-resolver').get(service);
      const subset = redirect.text('ServiceSubset');
      const filter = subset === undefined ? undefined : new Map(target?.named('Subsets')).get(subset)?.text('Filter');
      if (subset !== undefined && filter === undefined)
        redirect.warn(`ServiceSubset "${subset}" is not known`, `add it to the resolver of ${service}`);
      cluster['consul'] = onlyWritten({ service, filter, datacenter: redirect.text('Datacenter') });
    }
    // `RequestTimeout` and `HashPolicies` belong to routes, and are read there.
  }

  /** Who takes the calls of a service, or of a subset, that has no instance: other datacenters, subsets or services, in their order. */
  #failover(name: string, subset: string | undefined, written: ConsulEntryFields): readonly Part[] | undefined {
    const mode = written.group('Policy')?.text('Mode');
    if (mode !== undefined && mode !== 'sequential') written.warn(`Policy.Mode "${mode}" is taken for "sequential"`, 'write sequential');
    const one = (target: ConsulEntryFields, datacenter: string | undefined): readonly Part[] => {
      const service = target.text('Service');
      const to = service ?? name;
      const wanted = target.text('ServiceSubset') ?? (to === name ? subset : undefined);
      const found = wanted === undefined ? undefined : new Map(this.#of('service-resolver').get(to)?.named('Subsets')).get(wanted);
      if (wanted !== undefined && found === undefined)
        target.warn(`ServiceSubset "${wanted}" is not known`, `add it to the resolver of ${to}`);
      for (const key of ['Peer', 'SamenessGroup']) {
        if (!target.has(key)) continue;
        target.ignore(key);
        target.warn(`${key}: a failover to other clusters is left out`, 'name a service or a datacenter');
        return [];
      }
      if (to === name && datacenter === undefined && wanted === subset) return [];
      return [onlyWritten({ service: to, datacenter, filter: found?.text('Filter'), passing: found?.flag('OnlyPassing') })];
    };
    const datacenters = written.texts('Datacenters');
    const parts = [
      ...(datacenters.length > 0 ? datacenters.flatMap((datacenter) => one(written, datacenter)) : one(written, undefined)),
      ...written.groups('Targets').flatMap((target) => one(target, target.text('Datacenter'))),
    ];
    return parts.length === 0 ? undefined : parts;
  }

  #balancing(balancer: ConsulEntryFields | undefined): Part {
    if (balancer === undefined) return {};
    const ring = balancer.group('RingHashConfig');
    const least = balancer.group('LeastRequestConfig');
    balancer.ignore('HashPolicies');
    return onlyWritten({
      lb_policy: balancer.text('Policy'),
      ring_hash_lb_config:
        ring && onlyWritten({ minimum_ring_size: ring.number('MinimumRingSize'), maximum_ring_size: ring.number('MaximumRingSize') }),
      least_request_lb_config: least && onlyWritten({ choice_count: least.number('ChoiceCount') }),
    });
  }

  #addDefaults(name: string, defaults: ConsulEntryFields): void {
    defaults.ignore('Protocol');
    const protocol = defaults.text('Protocol');
    if (protocol !== undefined && protocol !== 'grpc' && protocol !== 'http2' && protocol !== 'http')
      defaults.warn(`Protocol is "${protocol}"`, 'write grpc: calls go by gRPC');
    if (name !== this.#serviceName) {
      // How it calls others is for its own sidecar.
      defaults.ignore('UpstreamConfig');
      return;
    }
    const upstreams = defaults.group('UpstreamConfig');
    if (upstreams === undefined) return;
    const general = upstreams.group('Defaults');
    const known = [...this.#clusters.keys()].filter((cluster) => cluster !== name);
    if (general !== undefined)
      for (const cluster of known) Object.assign(this.#cluster(cluster), { ...this.#upstream(general), ...this.#clusters.get(cluster) });
    for (const override of upstreams.groups('Overrides')) {
      const upstream = override.text('Name');
      if (upstream === undefined) override.warn('Name is missing', 'write the name of the upstream');
      else Object.assign(this.#cluster(upstream), this.#upstream(override));
    }
  }

  #upstream(fields: ConsulEntryFields): Part {
    fields.ignore('Protocol');
    const limits = fields.group('Limits');
    const passive = fields.group('PassiveHealthCheck');
    const threshold =
      limits &&
      onlyWritten({
        max_connections: limits.number('MaxConnections'),
        max_pending_requests: limits.number('MaxPendingRequests'),
        max_requests: limits.number('MaxConcurrentRequests'),
      });
    return onlyWritten({
      connect_timeout: fields.milliseconds('ConnectTimeoutMs'),
      circuit_breakers: threshold && { thresholds: [threshold] },
      outlier_detection:
        passive &&
        onlyWritten({
          interval: passive.duration('Interval'),
          consecutive_5xx: passive.number('MaxFailures'),
          enforcing_consecutive_5xx: passive.number('EnforcingConsecutive5xx'),
          max_ejection_percent: passive.number('MaxEjectionPercent'),
          base_ejection_time: passive.duration('BaseEjectionTime'),
        }),
    });
  }

  // ---- routes ----

  /** Of a router, then what is left for the splitter or the resolver. */
  #routesOf(name: string): readonly Part[] {
    const routes = (this.#of('service-router').get(name)?.groups('Routes') ?? []).flatMap((route, i) => this.#route(name, route, i));
    const resolver = this.#of('service-resolver').get(name);
    const rest = this.#restOf(resolver);
    const splits = this.#of('service-splitter').has(name);
    if (routes.length === 0 && !splits && Object.keys(rest).length === 0) return [];
    const last = {
      name: `consul:${name}`,
      match: { prefix: '/', headers: [forAuthority(name)] },
      route: { ...this.#target(name), ...rest },
    };
    return [...routes, last];
  }

  /** What a resolver says about calls rather than about the service. */
  #restOf(resolver: ConsulEntryFields | undefined): Part {
    if (resolver === undefined) return {};
    const policies = resolver.group('LoadBalancer')?.groups('HashPolicies') ?? [];
    const hash = policies.flatMap((policy) => hashPolicy(policy));
    return onlyWritten({ timeout: resolver.duration('RequestTimeout'), hash_policy: hash.length > 0 ? hash : undefined });
  }

  #route(name: string, fields: ConsulEntryFields, i: number): readonly Part[] {
    const http = fields.group('Match')?.group('HTTP');
    const match = matchOf(name, http);
    if (match === undefined) return [];
    const destination = fields.group('Destination');
    const to = destination?.text('Service') ?? name;
    const subset = destination?.text('ServiceSubset');
    const statuses = destination?.numbers('RetryOnStatusCodes') ?? [];
    const words = [
      ...(destination?.texts('RetryOn') ?? []),
      ...(destination?.flag('RetryOnConnectFailure') === true ? ['connect-failure'] : []),
      ...(statuses.length > 0 ? ['retriable-status-codes'] : []),
    ];
    const retries = destination?.number('NumRetries');
    const retry = onlyWritten({
      retry_on: words.length > 0 ? [...new Set(words)].join(',') : undefined,
      num_retries: retries,
      retriable_status_codes: statuses.length > 0 ? statuses : undefined,
    });
    const action = onlyWritten({
      ...this.#target(to, subset),
      prefix_rewrite: destination?.text('PrefixRewrite'),
      timeout: destination?.duration('RequestTimeout'),
      idle_timeout: destination?.duration('IdleTimeout'),
      // Consul's proxies try again on these where an entry only says how often.
      retry_policy:
        words.length > 0 || retries !== undefined ? { retry_on: 'connect-failure,refused-stream,unavailable', ...retry } : undefined,
    });
    return [
      {
        name: `consul:${name}/${i}`,
        match,
        route: action,
        ...headerChanges('request', destination?.group('RequestHeaders')),
        ...headerChanges('response', destination?.group('ResponseHeaders')),
      },
    ];
  }

  /** Where calls for a service go: to what its splitter says, to a subset, or to itself. */
  #target(service: string, subset?: string, depth = 0): Part {
    const splits = subset === undefined ? (this.#of('service-splitter').get(service)?.groups('Splits') ?? []) : [];
    if (splits.length === 0 || depth > mostRedirects) return { cluster: this.#clusterName(service, subset) };
    const clusters = splits.map((split) => {
      const to = split.text('Service') ?? service;
      if (to !== service && this.#of('service-splitter').has(to))
        split.warn(`Service ${to} has a splitter of its own, which is not looked at`, 'split once');
      return { name: this.#clusterName(to, split.text('ServiceSubset')), weight: Math.round((split.number('Weight') ?? 0) * weightScale) };
    });
    return { weighted_clusters: clusters };
  }

  #clusterName(service: string, subset: string | undefined): string {
    const name = subset === undefined ? service : `${subset}.${service}`;
    if (subset !== undefined && !this.#clusters.has(name)) {
      this.#of('service-resolver').get(service)?.warn(`Subsets has no "${subset}"`, 'add it, since a splitter or router names it');
      return service;
    }
    this.#cluster(name);
    return name;
  }
}

const forAuthority = (name: string): Part => ({ name: ':authority', safe_regex_match: { regex: authorityOf(name) } });

/** `undefined` where no call of gRPC can match. */
const matchOf = (name: string, http: ConsulEntryFields | undefined): Part | undefined => {
  const headers: Part[] = [forAuthority(name)];
  if (http === undefined) return { prefix: '/', headers };
  const methods = http.texts('Methods');
  if (methods.length > 0 && !methods.includes('POST')) {
    http.warn('Methods leaves POST out, so that no call of gRPC matches; the route is left out', 'add POST, or remove the route');
    return undefined;
  }
  if (http.has('QueryParam')) {
    http.ignore('QueryParam');
    http.warn('QueryParam: calls of gRPC have no query; the route is left out', 'remove QueryParam, or the route');
    return undefined;
  }
  for (const header of http.groups('Header')) headers.push(headerMatch(header));
  const [exact, prefix, regex] = [http.text('PathExact'), http.text('PathPrefix'), http.text('PathRegex')];
  const path = exact !== undefined ? { path: exact } : regex !== undefined ? { safe_regex: { regex } } : { prefix: prefix ?? '/' };
  return { ...path, headers };
};

const headerMatch = (header: ConsulEntryFields): Part =>
  onlyWritten({
    name: header.text('Name') ?? '',
    present_match: header.flag('Present') || undefined,
    exact_match: header.text('Exact'),
    prefix_match: header.text('Prefix'),
    suffix_match: header.text('Suffix'),
    contains_match: header.text('Contains'),
    safe_regex_match: header.has('Regex') ? { regex: header.text('Regex') } : undefined,
    invert_match: header.flag('Invert') || undefined,
  });

const headerChanges = (direction: 'request' | 'response', changes: ConsulEntryFields | undefined): Part => {
  if (changes === undefined) return {};
  const list = (key: string, action: string): readonly Part[] =>
    changes.pairs(key).map(([name, value]) => ({ header: { key: name, value }, append_action: action }));
  const added = [...list('Add', 'APPEND_IF_EXISTS_OR_ADD'), ...list('Set', 'OVERWRITE_IF_EXISTS_OR_ADD')];
  const removed = changes.texts('Remove');
  return {
    ...(added.length > 0 && { [`${direction}_headers_to_add`]: added }),
    ...(removed.length > 0 && { [`${direction}_headers_to_remove`]: removed }),
  };
};

const hashPolicy = (policy: ConsulEntryFields): readonly Part[] => {
  const terminal = policy.flag('Terminal') || undefined;
  const [field, value] = [policy.text('Field'), policy.text('FieldValue')];
  const cookie = policy.group('CookieConfig');
  if (policy.flag('SourceIP')) return [onlyWritten({ connection_properties: { source_ip: true }, terminal })];
  if (field === 'header') return [onlyWritten({ header: { header_name: value }, terminal })];
  if (field === 'cookie') {
    return [onlyWritten({ cookie: onlyWritten({ name: value, ttl: cookie?.duration('TTL'), path: cookie?.text('Path') }), terminal })];
  }
  policy.warn(`Field "${field ?? ''}" is not translated`, 'write header or cookie, or SourceIP');
  return [];
};
