import { ConfigurationError, parseDurationMs } from '../core/index.ts';
import { AdminClient, findAdminAddress } from './admin-client.ts';
import { clusterRows, routeRows } from './admin-tables.ts';
import { type CommandContext, formatTable } from './console.ts';

export interface AdminOptions {
  readonly admin?: string;
  readonly json?: boolean;
}

export type BreakerAction = 'reset' | 'open' | 'close';

export interface BreakerOptions extends AdminOptions {
  readonly endpoint?: string;
  readonly method?: string;
  readonly ttl?: string;
}

const clientOf = (options: AdminOptions, { environment }: CommandContext): AdminClient =>
  new AdminClient(findAdminAddress(options.admin, environment));

const printJson = (context: CommandContext, value: unknown): void => context.console.out(`${JSON.stringify(value, null, 2)}\n`);

const query = (parameters: Readonly<Record<string, string | undefined>>): string => {
  const set = Object.entries(parameters).filter((entry): entry is [string, string] => entry[1] !== undefined);
  return set.length === 0 ? '' : `?${new URLSearchParams(set)}`;
};

/** `name: value` lines, as the admin port itself prints them, so that `grep` finds the same thing in both. */
export const printStats = async (options: AdminOptions & { readonly filter?: string }, context: CommandContext): Promise<void> => {
  const client = clientOf(options, context);
  const { filter } = options;
  if (options.json) printJson(context, await client.getJson(`/stats${query({ format: 'json', filter })}`));
  else context.console.out(await client.get(`/stats${query({ filter })}`));
};

export const printClusters = async (options: AdminOptions, context: CommandContext): Promise<void> => {
  const answer = await clientOf(options, context).getJson('/clusters?format=json');
  if (options.json) return printJson(context, answer);
  const rows = clusterRows(answer);
  if (rows.length === 0) return context.console.out('no clusters: no policy names one, and no call has asked for one yet\n');
  context.console.out(formatTable(['CLUSTER', 'BREAKER', 'FAILURES', 'ENDPOINT', 'HEALTH', 'ACTIVE', 'CALLS', 'ERRORS'], rows));
};

export const printRoutes = async (options: AdminOptions, context: CommandContext): Promise<void> => {
  const answer = await clientOf(options, context).getJson('/routes');
  if (options.json) return printJson(context, answer);
  const rows = routeRows(answer);
  if (rows.length === 0) return context.console.out('no routes: the host part of :authority names the cluster of each call\n');
  context.console.out(formatTable(['DIRECTION', 'ROUTE', 'MATCH', 'CLUSTER', 'TIMEOUT', 'RETRIES', 'WRITTEN AT'], rows));
};

/** Resets, or holds open or closed, the breakers of `cluster`: all of them, or the one of an endpoint or method. */
export const changeBreaker = async (
  action: BreakerAction,
  cluster: string,
  options: BreakerOptions,
  context: CommandContext,
): Promise<void> => {
  const { ttl, endpoint, method } = options;
  const ttlMs = ttl === undefined ? 1 : parseDurationMs(ttl);
  if (ttlMs === undefined || ttlMs <= 0)
    throw new ConfigurationError(`--ttl ${ttl}: expected a duration with its unit`, { remedy: 'write --ttl 60s' });
  const path = `/clusters/${encodeURIComponent(cluster)}/circuit_breakers/${action}${query({ ttl, endpoint, method })}`;
  const answer = await clientOf(options, context).post(path);
  if (options.json) return context.console.out(answer.endsWith('\n') ? answer : `${answer}\n`);
  const which = endpoint !== undefined ? ` for ${endpoint}` : method !== undefined ? ` for ${method}` : '';
  const done = { reset: 'reset', open: 'held open', close: 'held closed' }[action];
  const until = action === 'reset' ? '' : ttl === undefined ? ' until a reset' : ` for ${ttl} or until a reset`;
  context.console.out(`circuit breaker of ${cluster}${which} ${done}${until}\n`);
};

/** Takes an endpoint back that outlier detection has ejected. */
export const unejectEndpoint = async (cluster: string, address: string, options: AdminOptions, context: CommandContext): Promise<void> => {
  const path = `/clusters/${encodeURIComponent(cluster)}/endpoints/${encodeURIComponent(address)}/uneject`;
  const answer = await clientOf(options, context).post(path);
  if (options.json) return context.console.out(answer.endsWith('\n') ? answer : `${answer}\n`);
  const { unejected } = JSON.parse(answer) as { readonly unejected?: unknown };
  context.console.out(unejected === true ? `${address} of ${cluster} takes calls again\n` : `${address} of ${cluster} was not ejected\n`);
};

export const drainSidecar = async (options: AdminOptions, context: CommandContext): Promise<void> => {
  const answer = await clientOf(options, context).post('/drain');
  if (options.json) return context.console.out(answer.endsWith('\n') ? answer : `${answer}\n`);
  context.console.out('draining: no new calls are accepted, and the sidecar ends when those it has are done\n');
};
