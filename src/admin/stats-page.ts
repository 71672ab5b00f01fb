import { promisify } from 'node:util';
import { constants, gzip } from 'node:zlib';
import { acceptsGzip, type ExpositionFormat, expositionFormats, negotiateFormat, type Stat } from '../telemetry/index.ts';
import type { AdminRequest } from './admin-path.ts';
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
export const statsReply = async (views: AdminViews, request: AdminRequest): Promise<AdminReply> => {
  const { query } = request;
  const format = query.choice('format', ['text', 'json', 'prometheus']);
  if (format === 'prometheus') {
    if (query.has('filter'))
      throw new AdminProblem(400, 'filter works with the formats text and json; let Prometheus drop what it does not want');
    return expositionReply(views, request, 'text');
  }
  const stats = await selectStats(views, query);
  if (format === 'json') return json({ stats: stats.map(({ name, value }) => ({ name, value })) });
  return text(stats.map(({ name, value }) => `${name}: ${value}\n`).join(''));
};

const compress = promisify(gzip);
/** The lowest level makes a twentieth of it, in a fifth of the time of the usual one; a short answer fits into one packet anyway. */
const compression = { level: constants.Z_BEST_SPEED, chunkSize: 256 * 1_024 };
const leastCompressedBytes = 1_400;

/** `/metrics`: in the format that `format` asks for, else the one of `Accept`, compressed for whoever reads that. */
export const metricsReply = (views: AdminViews, request: AdminRequest): Promise<AdminReply> => {
  const { headers, query } = request;
  const asked = query.has('format') ? query.choice('format', expositionFormats) : negotiateFormat(headers.accept);
  return expositionReply(views, request, asked);
};

const expositionReply = async (views: AdminViews, request: AdminRequest, format: ExpositionFormat): Promise<AdminReply> => {
  const { body, contentType } = await views.scrape(format);
  const encoding = request.headers['accept-encoding'];
  const vary = 'accept, accept-encoding';
  const plain = typeof encoding !== 'string' || !acceptsGzip(encoding) || body.length < leastCompressedBytes;
  if (plain) return { status: 200, contentType, body, headers: { vary } };
  return { status: 200, contentType, body: await compress(body, compression), headers: { vary, 'content-encoding': 'gzip' } };
};
