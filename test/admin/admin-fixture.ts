import { request } from 'node:http';
import {
  AdminServer,
  type AdminViews,
  type BreakerAction,
  type BreakerActionResult,
  type BreakerTarget,
  type BreakerView,
  type ClusterView,
  RecentFailures,
  type UnejectResult,
} from '../../src/admin/index.ts';
import { JsonLogger, VirtualClock } from '../../src/core/index.ts';
import type { BreakerPolicy, ClusterPolicy, PolicyTable, Route } from '../../src/policy/index.ts';
import { defaultLoadBalancer, RetryOn } from '../../src/resilience/index.ts';
import { CallMetrics, PrometheusExposition, StatRegistry } from '../../src/telemetry/index.ts';

const location = { file: 'policies/mesh.yaml', line: 3, column: 5 };

export const clusterPolicy = (name: string, scope: BreakerPolicy['scope'] = 'cluster'): ClusterPolicy => ({
  name,
  serviceName: name,
  location,
  endpoints: { kind: 'static', endpoints: [{ host: '10.0.0.4', port: 50051, weight: 1 }] },
  loadBalancer: defaultLoadBalancer,
  outlierDetection: undefined,
  healthCheck: undefined,
  connectTimeoutMs: 2_000,
  breaker: { consecutiveFailures: 5, recoveryTimeoutMs: 60_000, scope },
  thresholds: {
    maxConnections: 1_000,
    maxPendingRequests: 100,
    maxRequests: 1_000,
    maxRetries: Number.POSITIVE_INFINITY,
    retryBudget: { percent: 25, minConcurrency: 3 },
    trackRemaining: true,
  },
  highThresholds: undefined,
  maxConnectionsPerEndpoint: Number.POSITIVE_INFINITY,
  adaptiveConcurrency: undefined,
  tls: { mode: 'mutual', sni: '', matchSubjectAltNames: [], verifyCertificateSpki: [], verifyCertificateHash: [] },
  keepaliveIntervalMs: 10_000,
  keepaliveTimeoutMs: 5_000,
  maxConcurrentStreams: 100,
  maxConnectionAgeMs: 0,
});

const nowhere = { priority: 0, locality: 'eu/a', successRate: -1, localOriginSuccessRate: -1 };

export const clusterView = (name: string, breakers: readonly BreakerView[], scope: BreakerPolicy['scope'] = 'cluster'): ClusterView => ({
  name,
  policy: clusterPolicy(name, scope),
  hosts: [
    {
      address: '10.0.0.4',
      port: 50051,
      weight: 1,
      ...nowhere,
      healthFlags: [],
      stats: [
        { name: 'cx_active', kind: 'gauge', value: 1 },
        { name: 'rq_total', kind: 'counter', value: 42 },
      ],
    },
    { address: 'fd00::4', port: 50051, hostname: name, weight: 2, ...nowhere, healthFlags: ['failed_outlier_check'], stats: [] },
  ],
  breakers,
  endpoints: { source: 'static', updatedAtMs: Date.UTC(2026, 0, 1) },
});

const route: Route = {
  name: 'learner-profile',
  id: 'outbound/learner-profile',
  direction: 'outbound',
  location,
  match: { kind: 'prefix', prefix: '/learner.LearnerService/' },
  headers: [],
  matchedShare: 1,
  cluster: 'learner-svc',
  timeoutMs: 10_000,
  idleTimeoutMs: 0,
  maxStreamDurationMs: 0,
  maxBytes: undefined,
  retry: {
    conditions: RetryOn.UNAVAILABLE | RetryOn.RESET,
    numRetries: 3,
    perTryTimeoutMs: 5_000,
    retriableStatusCodes: [],
    baseIntervalMs: 100,
    maxIntervalMs: 1_000,
  },
  hedge: undefined,
  tracing: undefined,
  idempotent: true,
  bufferLimitBytes: 65_536,
  retryHeadersHoldMs: 0,
  hashPolicies: [],
  metadataMatch: undefined,
  traffic: undefined,
};

const policyTable: PolicyTable = {
  outbound: { routes: [route], candidates: () => [route], fallback: route },
  inboundAccess: undefined,
  accessLogs: { inbound: undefined, outbound: undefined },
  inbound: { routes: [], candidates: () => [], fallback: route },
  clusters: new Map([['learner-svc', clusterPolicy('learner-svc')]]),
  defaultCluster: clusterPolicy(''),
  defaultAction: { kind: 'error' },
  maxConcurrentStreams: 1_000,
  connectionAge: { inbound: { ageMs: 0, graceMs: 0 }, outbound: { ageMs: 0, graceMs: 0 } },
  version: 'abc123',
  files: [{ path: 'policies/mesh.yaml', sha256: 'abc123' }],
  idempotentMethods: new Set(),
  warnings: [{ severity: 'warning', location, path: 'routes[0]', message: 'no timeout', remedy: 'write timeout: 10s' }],
};

/** Views of a sidecar that is not there: what it shows can be set, what it was told to do is kept. */
export class ViewsFixture implements AdminViews {
  readonly clock = new VirtualClock();
  readonly logged: string[] = [];
  readonly log = new JsonLogger(this.clock, (line) => this.logged.push(line));
  readonly stats = new StatRegistry();
  readonly calls = new CallMetrics();
  readonly failures = new RecentFailures(this.clock);
  readonly exposition: PrometheusExposition;
  readonly acted: { readonly cluster: string; readonly action: BreakerAction; readonly target: BreakerTarget }[] = [];
  actResult: BreakerActionResult | undefined;
  drained = 0;
  logsReopened = 0;
  ready: ReturnType<AdminViews['readiness']> = { ready: true, state: 'LIVE' };
  shownClusters: readonly ClusterView[] = [clusterView('learner-svc', [{ state: 'CLOSED', consecutiveFailures: 2 }])];
  shownSettings: Readonly<Record<string, string>> = { SERVICE_NAME: 'auth-svc' };
  shownCertificates: ReturnType<AdminViews['certificates']>;
  reloadResult: Awaited<ReturnType<AdminViews['reload']>> = [{ name: 'policies', ok: true }];

  constructor() {
    this.stats.add(this.calls);
    this.stats.add({ collectStats: (sink) => sink.gauge('cluster.learner-svc.circuit_breaker.state', 0) });
    this.exposition = new PrometheusExposition({
      stats: this.stats,
      calls: this.calls,
      clusterNames: () => this.shownClusters.map(({ name }) => name),
      certificates: () => [],
    });
  }

  scrape: AdminViews['scrape'] = (format) => this.exposition.scrape(format);
  readiness = () => this.ready;
  serverInfo = () => ({
    version: '0.1.0',
    serviceName: 'auth-svc',
    serviceVersion: 'v1.2.3',
    uptimeMs: 65_432,
    overload: ['disable_http_keepalive'],
  });
  clusters = () => this.shownClusters;
  listeners = () => [
    { name: 'inbound', address: '0.0.0.0', port: 50051 },
    { name: 'outbound', address: '::1', port: 15001 },
  ];
  policies = () => policyTable;
  reloads = () => [{ atMs: Date.UTC(2026, 0, 1), ok: true, problems: policyTable.warnings, version: 'abc123', files: policyTable.files }];
  certificates = () => this.shownCertificates;
  settings = () => this.shownSettings;
  uneject = (cluster: string, endpoint: string): UnejectResult => {
    if (!this.shownClusters.some(({ name }) => name === cluster)) return 'unknown_cluster';
    return endpoint === '10.0.0.4:50051' ? 'ok' : endpoint === '[fd00::4]:50051' ? 'not_ejected' : 'unknown_endpoint';
  };

  actOnBreakers = (cluster: string, action: BreakerAction, target: BreakerTarget): BreakerActionResult => {
    this.acted.push({ cluster, action, target });
    return this.actResult ?? (this.shownClusters.some(({ name }) => name === cluster) ? 'ok' : 'unknown_cluster');
  };
  reopenLogs = () => {
    this.logsReopened++;
  };

  drain = () => {
    this.drained++;
    this.ready = { ready: false, state: 'DRAINING' };
  };
  reload = async () => this.reloadResult;
}

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
  // biome-ignore lint/suspicious/noExplicitAny: what an answer holds is what the tests are about
  json(): any;
}

/** A real admin server on a port of the system's choice. */
export class AdminFixture implements AsyncDisposable {
  readonly views: ViewsFixture;
  readonly #server: AdminServer;
  readonly #port: number;

  constructor(views: ViewsFixture, server: AdminServer, port: number) {
    this.views = views;
    this.#server = server;
    this.#port = port;
  }

  static async start(views = new ViewsFixture()): Promise<AdminFixture> {
    const allowedHosts = ['auth-svc', 'own-host', 'admin.example:443'];
    const server = new AdminServer(views, { address: '127.0.0.1', port: 0, allowedHosts, clock: views.clock });
    const { port } = await server.start();
    return new AdminFixture(views, server, port);
  }

  get port(): number {
    return this.#port;
  }

  get(path: string, headers: Record<string, string> = {}): Promise<Answer> {
    return this.ask('GET', path, headers);
  }

  post(path: string, headers: Record<string, string> = {}): Promise<Answer> {
    return this.ask('POST', path, headers);
  }

  ask(method: string, path: string, headers: Record<string, string> = {}, body = ''): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const outgoing = request({ host: '127.0.0.1', port: this.#port, method, path, headers, agent: false }, (incoming) => {
        let received = '';
        incoming.setEncoding('utf8').on('data', (chunk: string) => {
          received += chunk;
        });
        incoming.on('end', () =>
          resolve({
            status: incoming.statusCode ?? 0,
            headers: incoming.headers,
            body: received,
            json: () => JSON.parse(received),
          }),
        );
      });
      outgoing.on('error', reject).end(body);
    });
  }

  close(): Promise<void> {
    return this.#server.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
