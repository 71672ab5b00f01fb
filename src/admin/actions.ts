import { logLevels, suggest } from '../core/index.ts';
import { breakersJson } from './cluster-pages.ts';
import type { Query } from './query.ts';
import { AdminProblem, type AdminReply, json } from './reply.ts';
import type { AdminViews, BreakerAction, BreakerTarget } from './views.ts';

const unknownCluster = (name: string, views: AdminViews): AdminProblem => {
  const clusters = views.clusters().map((cluster) => cluster.name);
  const likely = suggest(name, clusters);
  return new AdminProblem(404, `no cluster ${name}${likely === undefined ? '' : `, did you mean ${likely}`}`, { details: { clusters } });
};

/** `POST /clusters/{name}/circuit_breakers/...`: answers with the breakers as they are afterwards. */
export const breakerReply = (views: AdminViews, action: BreakerAction, name: string, query: Query): AdminReply => {
  const ttlMs = query.durationMs('ttl');
  const endpoint = query.text('endpoint');
  const method = query.text('method');
  const target: BreakerTarget = {
    ...(ttlMs !== undefined && { ttlMs }),
    ...(endpoint !== undefined && { endpoint }),
    ...(method !== undefined && { method }),
  };
  switch (views.actOnBreakers(name, action, target)) {
    case 'unknown_cluster':
      throw unknownCluster(name, views);
    case 'unknown_endpoint':
      throw new AdminProblem(404, `cluster ${name} has no breaker for endpoint ${endpoint}; /clusters lists those it has`);
    case 'unknown_method':
      throw new AdminProblem(404, `cluster ${name} has no breaker for method ${method}; /clusters lists those it has`);
    case 'wrong_scope':
      throw new AdminProblem(
        400,
        `the breakers of cluster ${name} have another scope; set circuit_breakers.scope, or leave endpoint and method out`,
      );
    case 'ok': {
      const cluster = views.clusters().find((each) => each.name === name);
      return json({ cluster: name, action, ...(cluster !== undefined && breakersJson(cluster)) });
    }
  }
};

/** `POST /clusters/{name}/endpoints/{address}/uneject`: answers with the endpoint as it is afterwards. */
export const unejectReply = (views: AdminViews, name: string, endpoint: string): AdminReply => {
  const result = views.uneject(name, endpoint);
  switch (result) {
    case 'unknown_cluster':
      throw unknownCluster(name, views);
    case 'unknown_endpoint':
      throw new AdminProblem(404, `cluster ${name} has no endpoint ${endpoint}; /clusters lists those it has`);
    case 'ok':
    case 'not_ejected':
      return json({ cluster: name, endpoint, unejected: result === 'ok' });
  }
};

export const drainReply = (views: AdminViews): AdminReply => {
  views.drain();
  return json({ state: views.readiness().state });
};

/** 200 where everything is in force, 422 where something was refused and what was there before stays. */
export const reloadReply = async (views: AdminViews): Promise<AdminReply> => {
  const parts = await views.reload();
  const refused = parts.filter(({ ok }) => !ok);
  if (refused.length === 0) return json({ reloaded: parts });
  throw new AdminProblem(
    422,
    `what was there before stays in force: ${refused.map(({ name, error }) => `${name}: ${error ?? 'refused'}`).join('; ')}`,
    {
      details: { reloaded: parts },
    },
  );
};

export const loggingReply = ({ log }: AdminViews, query: Query): AdminReply => {
  const wanted = query.text('level');
  if (wanted !== undefined) {
    const level = logLevels.find((each) => each === wanted);
    if (level === undefined) throw new AdminProblem(400, `parameter level is ${wanted}; allowed are ${logLevels.join(', ')}`);
    log.level = level;
  }
  return json({ level: log.level });
};
