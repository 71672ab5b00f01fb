import { type Json, list, object, text } from './json.ts';

const statOf = (host: Json, ...names: readonly string[]): string => {
  for (const name of names) {
    const found = list(host['stats']).find((stat) => stat['name'] === name);
    if (found !== undefined) return text(found['value'], '0');
  }
  return '-';
};

const addressOf = (host: Json): string => {
  const socket = object(object(host['address'])['socket_address']);
  return `${text(socket['address'])}:${text(socket['port_value'])}`;
};

const longestWhy = 60;

const healthOf = (host: Json): string => {
  const health = object(host['health_status']);
  const status = text(health['eds_health_status'] ?? host['health_status'], 'HEALTHY').toLowerCase();
  const check = object(host['health_check']);
  if (check['state'] === 'unhealthy') return `${status}: ${text(check['why']).slice(0, longestWhy)}`;
  const ejection = object(host['ejection']);
  return ejection['type'] === undefined ? status : `${status}: ejected (${text(ejection['type'])})`;
};

/** The breaker of the cluster, or the worst of its breakers with how many there are. */
const breakerOf = (cluster: Json): { readonly state: string; readonly failures: string } => {
  const single = object(cluster['circuit_breaker']);
  const several = list(cluster['circuit_breakers']);
  if (several.length === 0) return { state: text(single['state']), failures: text(single['consecutive_failures']) };
  const worst = ['OPEN', 'HALF_OPEN', 'CLOSED'].find((state) => several.some((breaker) => breaker['state'] === state)) ?? '-';
  const inIt = several.filter((breaker) => breaker['state'] === worst);
  const failures = Math.max(...inIt.map((breaker) => Number(breaker['consecutive_failures'] ?? 0)));
  return { state: `${worst} (${inIt.length}/${several.length})`, failures: text(failures) };
};

/** One row per endpoint; a cluster without endpoints still has one row. */
export const clusterRows = (answer: unknown): readonly (readonly string[])[] =>
  list(object(answer)['cluster_statuses']).flatMap((cluster) => {
    const breaker = breakerOf(cluster);
    const head = [text(cluster['name']), breaker.state, breaker.failures];
    const hosts = list(cluster['host_statuses']);
    if (hosts.length === 0) return [[...head, 'none', '-', '-', '-', '-']];
    return hosts.map((host, i) => [
      ...(i === 0 ? head : ['', '', '']),
      addressOf(host),
      healthOf(host),
      statOf(host, 'rq_active'),
      statOf(host, 'rq_total'),
      statOf(host, 'rq_error'),
    ]);
  });

const matchOf = (route: Json): string => {
  const parts = Object.entries(object(route['match'])).map(
    ([kind, value]) => `${kind} ${typeof value === 'string' ? value : JSON.stringify(value)}`,
  );
  return parts.length === 0 ? '-' : parts.join(', ');
};

const placeOf = (route: Json): string => {
  const { file, line } = object(route['location']);
  return file === undefined ? '-' : `${text(file)}:${text(line)}`;
};

/** One row per route, in the order of evaluation, outbound first. */
export const routeRows = (answer: unknown): readonly (readonly string[])[] =>
  (['outbound', 'inbound'] as const).flatMap((direction) =>
    list(object(answer)[direction]).map((route) => [
      direction,
      text(route['name']),
      matchOf(route),
      text(route['cluster'], 'local service'),
      text(route['timeout'], 'none'),
      text(object(route['retry_policy'])['num_retries'], 'none'),
      placeOf(route),
    ]),
  );
