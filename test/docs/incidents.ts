import { readFileSync, writeFileSync } from 'node:fs';
import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { CertificateAuthority, issueInto } from '../../src/identity/index.ts';
import { freePort } from '../harness/ports.ts';
import { JaegerProcess } from '../peers/jaeger-process.ts';
import { peerProgram } from '../peers/peer-programs.ts';
import type { IncidentMesh } from './incident-mesh.ts';

/** Brings a mesh into the state that a section of docs/operating.md is about. */
export type Incident = (mesh: IncidentMesh) => Promise<void>;

/** The policies of `auth-svc`, as the document has them. */
const policies = (endpoint: string, { route = '', cluster = '' } = {}): string => `routes:
  - name: learner
    match: { prefix: / }
    route:
      cluster: learner-svc
      timeout: 2s
${route}clusters:
  learner-svc:
    endpoints: ["${endpoint}"]
${cluster}`;

const unavailable = 14;

const callLearner =
  ({ route = '', cluster = '', status = 0, delayMs = 0, certificate = 'learner-svc', environment = {} }): Incident =>
  async (mesh) => {
    const service = await mesh.service();
    service.status = status;
    service.delayMs = delayMs;
    const learner = await mesh.learner(service.port, {}, certificate);
    await mesh.auth(policies(`127.0.0.1:${learner.inboundPort}`, { route, cluster }), environment);
  };

const retries =
  '      retry_policy: { retry_on: unavailable, num_retries: 2, retry_back_off: { base_interval: 0.001s } }\n      idempotent: true\n';

/** A certificate of `learner-svc` whose time is over in `leftMs`, where `outrider certs issue` would put it. */
const issueLearner = async (mesh: IncidentMesh, leftMs: number): Promise<void> => {
  const folder = join(mesh.folder, 'certs');
  const where = { cert: join(folder, 'ca', 'ca.crt'), key: join(folder, 'ca', 'ca-key.pem') };
  const authority = CertificateAuthority.load(readFileSync(where.cert, 'utf8'), readFileSync(where.key, 'utf8'), Date.now(), where);
  const nowMs = Date.now() - 365 * 86_400_000 + leftMs;
  await issueInto(folder, authority, { name: 'learner-svc', trustDomain: 'mesh.local', validDays: 365, keyType: 'p256', nowMs });
};

/** Stands in front of the admin port, and tells a time that is a minute and a half old: a machine whose clock is wrong cannot be had in a test. */
const standInWithSlowClock = async (mesh: IncidentMesh, adminPort: number): Promise<number> => {
  const server = createServer((incoming, answer) => {
    const { url, method, headers } = incoming;
    const outgoing = request({ host: '127.0.0.1', port: adminPort, path: url, method, headers, agent: false }, (real) => {
      answer.sendDate = false;
      answer.writeHead(real.statusCode ?? 502, { ...real.headers, date: new Date(Date.now() - 90_000).toUTCString() });
      real.pipe(answer);
    });
    outgoing.on('error', () => answer.destroy());
    outgoing.end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  mesh.use({
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  });
  return (server.address() as AddressInfo).port;
};

const jaegerProgram = await peerProgram('jaeger');

/** Why a section cannot be run here. */
export const skips: Readonly<Record<string, string | false>> = { 'Finding the trace of a call': jaegerProgram.skip };

/** By the titles of the sections. */
export const incidents: Readonly<Record<string, Incident>> = {
  'Where to look first': async (mesh) => {
    await callLearner({})(mesh);
    await mesh.call({ count: 3 });
  },

  'Calls fail with `circuit_open`': async (mesh) => {
    await callLearner({ status: unavailable })(mesh);
    await mesh.call({ count: 8 });
  },

  'Calls fail with `connect_failure` or `connection_lost`': async (mesh) => {
    await mesh.auth(policies(`127.0.0.1:${await freePort()}`));
    await mesh.call();
  },

  'Calls fail with `tls_peer_not_allowed` or `tls_handshake_failed`': async (mesh) => {
    await callLearner({ certificate: 'event-collector-svc' })(mesh);
    await mesh.call();
  },

  'A certificate expires, or has expired': async (mesh) => {
    await issueLearner(mesh, 3 * 86_400_000 + 3_600_000);
    const service = await mesh.service();
    await mesh.learner(service.port);
  },

  'A sidecar does not start: its certificate has expired': async (mesh) => {
    await issueLearner(mesh, -86_400_000);
    const { ca, cert, key } = mesh.identity('learner-svc');
    Object.assign(mesh.environment, { SERVICE_NAME: 'learner-svc', CA_CERT_PATH: ca, CLIENT_CERT_PATH: cert, CLIENT_KEY_PATH: key });
  },

  'Calls fail with `no_endpoint`': async (mesh) => {
    await mesh.registry();
    await mesh.auth(undefined, { CONSUL_HTTP_ADDR: mesh.environment['CONSUL_HTTP_ADDR'] ?? '' });
    await mesh.call();
  },

  'Calls end with `route_timeout` or `caller_deadline`': async (mesh) => {
    await callLearner({ delayMs: 3_000 })(mesh);
    await Promise.all([mesh.call(), mesh.call({ deadlineMs: 100 })]);
  },

  'Calls fail with `overloaded`': async (mesh) => {
    await callLearner({ environment: { MAX_MEMORY: '32Mi' } })(mesh);
    await mesh.call({ count: 2 });
  },

  'Retries do not help: all attempts fail': async (mesh) => {
    const cluster = '    circuit_breakers: { consecutive_failures: 100 }\n';
    await callLearner({ status: unavailable, route: retries, cluster })(mesh);
    await mesh.call({ count: 2 });
  },

  'Retries stop: the budget is spent': async (mesh) => {
    const budget = '[{ retry_budget: { budget_percent: { value: 1 }, min_retry_concurrency: 0 } }]';
    const cluster = `    circuit_breakers: { consecutive_failures: 100, thresholds: ${budget} }\n`;
    await callLearner({ status: unavailable, route: retries, cluster })(mesh);
    await mesh.call({ count: 2 });
  },

  'Consul is down, or discovery is stale': async (mesh) => {
    const registry = await mesh.registry();
    const service = await mesh.service();
    const consul = { CONSUL_HTTP_ADDR: mesh.environment['CONSUL_HTTP_ADDR'] ?? '' };
    const learner = await mesh.learner(service.port, { ...consul, SERVICE_ADDRESS: '127.0.0.1' });
    await mesh.auth(undefined, consul);
    await learner.logged('registered', 1);
    await mesh.call();
    await registry.stop('SIGKILL');
  },

  'A change of the policies was refused': async (mesh) => {
    await callLearner({})(mesh);
    mesh.writePolicies(readFileSync(join(mesh.folder, 'mesh.yaml'), 'utf8').replace('timeout: 2s', 'timeuot: 2s'));
  },

  'Memory is high': async (mesh) => {
    await callLearner({})(mesh);
    await mesh.call();
  },

  'A sidecar has to go: drain and rolling restart': async (mesh) => {
    await callLearner({ environment: { DRAIN_DELAY: '60s' } })(mesh);
  },

  'A sidecar does not start: its port is taken': async (mesh) => {
    const service = await mesh.service();
    const { ca, cert, key } = mesh.identity('learner-svc');
    const learner = await mesh.learner(service.port);
    Object.assign(mesh.environment, { SERVICE_NAME: 'learner-svc', CA_CERT_PATH: ca, CLIENT_CERT_PATH: cert, CLIENT_KEY_PATH: key });
    Object.assign(mesh.environment, { GRPC_PORT: String(learner.inboundPort), OUTBOUND_PORT: '0', ADMIN_PORT: '0' });
  },

  'Clocks disagree': async (mesh) => {
    await mesh.registry();
    const auth = await mesh.auth(undefined, { CONSUL_HTTP_ADDR: mesh.environment['CONSUL_HTTP_ADDR'] ?? '' });
    await auth.logged('registered', 1);
    mesh.ports.set(9901, await standInWithSlowClock(mesh, auth.adminPort));
  },

  'Reading `/stats` and `/metrics`': async (mesh) => {
    await callLearner({})(mesh);
    await mesh.call({ count: 3 });
  },

  'Finding the trace of a call': async (mesh) => {
    const jaeger = mesh.use(await JaegerProcess.start(jaegerProgram.path));
    mesh.ports.set(16686, jaeger.ports.query);
    const environment = {
      OTEL_EXPORTER_JAEGER_ENDPOINT: `http://127.0.0.1:${jaeger.ports.collectorHttp}/api/traces`,
      OTEL_BSP_SCHEDULE_DELAY: '100',
    };
    const service = await mesh.service();
    const learner = await mesh.learner(service.port, environment);
    await mesh.auth(policies(`127.0.0.1:${learner.inboundPort}`), environment);
    await mesh.call({ isSampled: true });
  },

  'Reading the access log': async (mesh) => {
    const path = join(mesh.folder, 'access.log');
    writeFileSync(path, '');
    await callLearner({ environment: { ACCESS_LOG: path } })(mesh);
    await mesh.call({ count: 2 });
  },
};
