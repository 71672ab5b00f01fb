import { dirname, isAbsolute, join } from 'node:path';
import type { ListedCluster, MappedCluster } from './cluster-schema.ts';
import { type ConsulEndpointsPolicy, type ConsulFailoverTarget, plainConsulPolicy } from './consul-types.ts';
import type { Problems } from './problems.ts';
import type { Placed } from './shape.ts';

type ConsulGroup = NonNullable<(MappedCluster | ListedCluster)['values']['consul']>;

/** What Consul takes for the name of a service, a tag or a datacenter, and what cannot be mistaken for a path. */
const namePattern = /^[A-Za-z0-9_]([A-Za-z0-9._=-]{0,251}[A-Za-z0-9_])?$/;

/** @param serviceName what stands where the group names no service. */
export const compileConsul = (written: ConsulGroup, serviceName: string, keepLastMs: number, problems: Problems): ConsulEndpointsPolicy => {
  const { values, placeOf } = written;
  const wrote = (key: keyof ConsulGroup['values'] & string) => written.wrote(key as never);
  const read = (name: Placed<string> | undefined, what: string): string => {
    if (name === undefined) return '';
    if (!namePattern.test(name.value))
      problems.error(
        name.place,
        `${JSON.stringify(name.value)} is no ${what} of Consul`,
        'write letters, digits, dots, dashes and underscores',
      );
    return name.value;
  };
  const several = (names: Placed<string> | readonly Placed<string>[] | undefined, what: string): readonly string[] => {
    if (names === undefined) return [];
    const all = ('value' in names ? [names] : names).map((name) => ({ name, text: read(name, what) }));
    for (const [i, { name, text }] of all.entries()) {
      if (all.findIndex((other) => other.text === text) < i)
        problems.error(name.place, `${JSON.stringify(text)} is written twice`, 'keep one of them');
    }
    return all.map(({ text }) => text);
  };
  const isPreparedQuery = values.prepared_query !== undefined;
  if (isPreparedQuery) {
    for (const key of ['tag', 'filter', 'datacenter', 'failover'] as const)
      if (wrote(key)) problems.error(placeOf(key), 'has no effect beside prepared_query', 'write it into the query, or remove it');
  }
  if (wrote('max_age') && values.stale !== true)
    problems.error(placeOf('max_age'), 'has no effect without stale', 'add stale: true, or remove it');
  if (wrote('nearest') && !wrote('near'))
    problems.error(placeOf('nearest'), 'has no effect without near', 'add near: _agent, or remove it');
  if (wrote('near') && !wrote('nearest'))
    problems.warning(placeOf('near'), 'has no effect without nearest: all instances are used', 'add nearest, or remove it');
  const { token_file: tokenFile } = values;
  const service = read(values.prepared_query ?? values.service, isPreparedQuery ? 'prepared query' : 'service') || serviceName;
  const failover = (values.failover ?? []).map((target): ConsulFailoverTarget => {
    const found = {
      service: read(target.values.service, 'service') || service,
      datacenter: read(target.values.datacenter, 'datacenter'),
      filter: target.values.filter ?? '',
      passingOnly: target.values.passing ?? values.passing ?? true,
    };
    if (found.service === service && found.datacenter === '' && found.filter === (values.filter ?? ''))
      problems.error(target.place, 'is the service itself', 'name another datacenter, service or filter');
    return found;
  });
  return Object.freeze({
    ...plainConsulPolicy(service),
    isPreparedQuery,
    tags: several(values.tag, 'tag'),
    filter: values.filter ?? '',
    datacenters: several(values.datacenter, 'datacenter'),
    failover,
    namespace: read(values.namespace, 'namespace'),
    partition: read(values.partition, 'partition'),
    near: read(values.near, 'node'),
    nearest: values.nearest ?? 0,
    stale: values.stale ?? false,
    maxAgeMs: values.max_age ?? 0,
    passingOnly: values.passing ?? true,
    tokenFile:
      tokenFile === undefined
        ? ''
        : isAbsolute(tokenFile.value)
          ? tokenFile.value
          : join(dirname(tokenFile.place.location.file), tokenFile.value),
    keepLastMs: values.keep_last ?? keepLastMs,
  });
};
