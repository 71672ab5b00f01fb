import type { Stat } from '../telemetry/index.ts';
import type { Query } from './query.ts';
import { AdminProblem, type AdminReply, json, text } from './reply.ts';
import type { AdminViews } from './views.ts';

const longestFilter = 500;

/** RE2, as in Envoy: somebody else's pattern must not be able to stop the event loop. Loaded when somebody filters. */
const compileFilter = async (pattern: string): Promise<(name: string) => boolean> => {
  if (pattern.length > longestFilter) throw new AdminProblem(400, `parameter filter is longer than ${longestFilter} characters`);
  const { RE2JS } = await import('re2js');
  try {
    const compiled = RE2JS.compile(pattern);
    return (name) => compiled.matcher(name).find();
  } catch (error) {
    throw new AdminProblem(400, `parameter filter is no RE2 expression: ${error instanceof Error ? error.message : String(error)}`);
  }
};

const selectStats = async (views: AdminViews, query: Query): Promise<readonly Stat[]> => {
  const pattern = query.text('filter');
  const matches = pattern === undefined ? undefined : await compileFilter(pattern);
  const usedOnly = query.has('usedonly');
  return views.stats.collect().filter(({ name, value }) => (!usedOnly || value !== 0) && (matches?.(name) ?? true));
};

/** `/stats`: lines, JSON or the Prometheus exposition. */
export const statsReply = async (views: AdminViews, query: Query): Promise<AdminReply> => {
  const format = query.choice('format', ['text', 'json', 'prometheus']);
  if (format === 'prometheus') {
    if (query.has('filter'))
      throw new AdminProblem(400, 'filter works with the formats text and json; let Prometheus drop what it does not want');
    return metricsReply(views);
  }
  const stats = await selectStats(views, query);
  if (format === 'json') return json({ stats: stats.map(({ name, value }) => ({ name, value })) });
  return text(stats.map(({ name, value }) => `${name}: ${value}\n`).join(''));
};

export const metricsReply = async (views: AdminViews): Promise<AdminReply> => ({ status: 200, ...(await views.scrape()) });
