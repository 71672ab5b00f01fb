import { breakerReply, drainReply, loggingReply, reloadReply, unejectReply } from './actions.ts';
import type { AdminPath } from './admin-path.ts';
import { certificatesJson } from './certificate-page.ts';
import { clustersJson, clustersText } from './cluster-pages.ts';
import { configDumpJson, listenersJson, listenersText } from './config-dump.ts';
import { failuresJson, failuresText } from './dashboard/failures-page.ts';
import { indexPage } from './index-page.ts';
import { policiesJson, routesJson } from './policy-pages.ts';
import { html, json, text } from './reply.ts';
import { serverInfoJson } from './server-info.ts';
import { metricsReply, statsReply } from './stats-page.ts';
import type { BreakerAction } from './views.ts';

const breaker = (action: BreakerAction, summary: string, parameters: readonly string[]): AdminPath => ({
  method: 'POST',
  path: `/clusters/{name}/circuit_breakers/${action}`,
  summary,
  parameters,
  answer: (views, { named, query }) => breakerReply(views, action, named, query),
});

/** Every path of the admin API. A new one is a new entry here; the index page, 404 and 405 follow from it. */
export const adminPaths: readonly AdminPath[] = [
  {
    method: 'GET',
    path: '/',
    summary: 'the dashboard in a browser, else this list',
    answer: (views, { dashboard, wantsPage }) =>
      wantsPage ? dashboard.page(adminPaths) : html(indexPage(adminPaths, views.serverInfo()), { vary: 'accept' }),
  },
  {
    method: 'GET',
    path: '/ready',
    summary: 'whether calls may be sent here: 200 or 503',
    anyHost: true,
    answer: (views) => {
      const { ready, state, why, but } = views.readiness();
      return text(`${state}${why === undefined ? '' : `: ${why}`}${but === undefined ? '' : `, but ${but}`}\n`, ready ? 200 : 503);
    },
  },
  { method: 'GET', path: '/healthz', summary: 'whether the process lives', anyHost: true, answer: () => text('OK\n') },
  {
    method: 'GET',
    path: '/stats',
    summary: 'all counters and gauges',
    parameters: ['format', 'filter', 'usedonly'],
    answer: (views, request) => statsReply(views, request),
  },
  {
    method: 'GET',
    path: '/metrics',
    summary: 'the same for Prometheus, as text or as OpenMetrics',
    parameters: ['format'],
    anyHost: true,
    answer: (views, request) => metricsReply(views, request),
  },
  {
    method: 'GET',
    path: '/stats/prometheus',
    summary: 'the same where Envoy has it',
    parameters: ['format', 'usedonly'],
    answer: (views, request) => metricsReply(views, request),
  },
  {
    method: 'GET',
    path: '/clusters',
    summary: 'clusters, their endpoints and circuit breakers',
    parameters: ['format'],
    answer: (views, { query }) =>
      query.choice('format', ['text', 'json']) === 'json' ? json(clustersJson(views.clusters())) : text(clustersText(views.clusters())),
  },
  {
    method: 'GET',
    path: '/listeners',
    summary: 'the addresses that are listened on',
    parameters: ['format'],
    answer: (views, { query }) =>
      query.choice('format', ['text', 'json']) === 'json' ? json(listenersJson(views.listeners())) : text(listenersText(views.listeners())),
  },
  { method: 'GET', path: '/routes', summary: 'routes in the order of evaluation', answer: (views) => json(routesJson(views.policies())) },
  {
    method: 'GET',
    path: '/config_dump',
    summary: 'the configuration in force, without secrets',
    answer: (views) => json(configDumpJson(views)),
  },
  {
    method: 'GET',
    path: '/certs',
    summary: 'certificates and when they expire',
    answer: (views, { nowMs }) => json(certificatesJson(views.certificates(), nowMs)),
  },
  {
    method: 'GET',
    path: '/policies',
    summary: 'policy files, their warnings, and every reload',
    answer: (views) => json(policiesJson(views.policies(), views.reloads())),
  },
  {
    method: 'GET',
    path: '/failures',
    summary: 'the last calls that failed, why, and what to do',
    parameters: ['format'],
    answer: (views, { query }) =>
      query.choice('format', ['text', 'json']) === 'json' ? json(failuresJson(views.failures)) : text(failuresText(views.failures)),
  },
  {
    method: 'GET',
    path: '/events',
    summary: 'what the dashboard shows, as server-sent events',
    sameSite: true,
    answer: (_views, { dashboard }) => dashboard.events(),
  },
  { method: 'GET', path: '/server_info', summary: 'version, state and uptime', answer: (views) => json(serverInfoJson(views)) },
  breaker('reset', 'close the circuit breakers and end what was held by hand', ['endpoint', 'method']),
  breaker('open', 'hold the circuit breakers open until ttl or a reset', ['ttl', 'endpoint', 'method']),
  breaker('close', 'hold the circuit breakers closed until ttl or a reset', ['ttl', 'endpoint', 'method']),
  {
    method: 'POST',
    path: '/clusters/{name}/endpoints/{address}/uneject',
    summary: 'take back an endpoint that outlier detection has ejected',
    answer: (views, { named, second }) => unejectReply(views, named, second),
  },
  { method: 'POST', path: '/drain', summary: 'finish what is under way, take nothing new, end', answer: (views) => drainReply(views) },
  {
    method: 'POST',
    path: '/reopen_logs',
    summary: 'open the files of access logs anew, after a rotation',
    answer: (views) => {
      views.reopenLogs();
      return text('OK\n');
    },
  },
  { method: 'POST', path: '/reload', summary: 'read policies and certificates again now', answer: (views) => reloadReply(views) },
  {
    method: 'POST',
    path: '/logging',
    summary: 'the log level, or another one',
    parameters: ['level'],
    answer: (views, { query }) => loggingReply(views, query),
  },
];
