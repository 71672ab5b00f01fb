import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { atEnd } from '../mesh/at-end.ts';
import { Caller } from '../mesh/caller.ts';
import { answerOk, answerTrailersOnly, closedPort, type Handler, startUpstream } from '../mesh/upstream.ts';
import { initCertificates, type SidecarProcess, startSidecar } from './sidecar-processes.ts';

/** What `web` says of those whom it calls: paths that are told apart, retries, outlier detection, and a breaker that opens soon. */
const policies = `
routes:
- name: authenticate
  match: { path: /auth.AuthService/Authenticate }
  route: { cluster: auth-svc, timeout: 5s }
- name: profile
  match: { path: /learner.LearnerService/GetProfile }
  route: { cluster: learner-svc, timeout: 5s, retry_policy: { retry_on: unavailable, num_retries: 1 } }
- name: lessons
  match: { path: /learner.LearnerService/WatchLessons }
  route: { cluster: learner-svc, timeout: 5s }
- name: events
  match: { path: /events.EventCollectorService/Collect }
  route: { cluster: event-collector-svc, timeout: 5s }
clusters:
  auth-svc: { outlier_detection: {} }
  learner-svc: { outlier_detection: { consecutive_5xx: 1000 }, circuit_breakers: { consecutive_failures: 1000 } }
  event-collector-svc: { circuit_breakers: { consecutive_failures: 3, recovery_timeout: 300s } }
`;
const inboundPolicies = (path: string): string => `
inbound:
  routes:
  - match: { prefix: ${path} }
    route: { timeout: 5s }
`;

/** A mesh as an operator looks at it, by the name of each service. */
export interface ObservedMesh {
  readonly sidecars: Readonly<Record<'web' | 'auth-svc' | 'learner-svc', SidecarProcess>>;
  /** A round of calls: such that succeed, that fail, that are tried again, and that meet an open breaker. */
  call(): Promise<void>;
}

interface Catalogue {
  readonly address: string;
}

/** Registers an instance at which nobody listens. */
const registerDead = async ({ address }: Catalogue): Promise<void> => {
  const body = JSON.stringify({ Name: 'event-collector-svc', ID: 'dead', Address: '127.0.0.1', Port: await closedPort() });
  const answer = await fetch(`http://${address}/v1/agent/service/register`, { method: 'PUT', body, headers: { connection: 'close' } });
  if (!answer.ok) throw new Error(`the catalogue does not take a registration: ${answer.status} ${await answer.text()}`);
};

/** Health is none of its methods, which says that it is well; its calls are counted without such questions. */
const service = (handler: Handler): Handler => {
  let calls = 0;
  return (call) => {
    if (String(call.headers[':path']).startsWith('/grpc.health.')) answerTrailersOnly(call, 12);
    else handler(call, calls++);
  };
};

/**
 * Three sidecars, each a process: `web` calls, `auth-svc` answers, `learner-svc` fails every third time, and of `event-collector-svc` the catalogue has an
 * instance at which nobody listens. All of them are found in the catalogue.
 */
export const startObservedMesh = async (t: TestContext, catalogue: Catalogue): Promise<ObservedMesh> => {
  const folder = temporaryFolder();
  const started = new AsyncDisposableStack();
  atEnd(t, async () => {
    await started.disposeAsync();
    folder[Symbol.dispose]();
  });
  const identity = await initCertificates(join(folder.path, 'certs'), ['web', 'auth-svc', 'learner-svc']);
  const auth = await startUpstream(
    t,
    service((call) => answerOk(call)),
  );
  const learner = await startUpstream(
    t,
    service((call, i) => (i % 3 === 0 ? answerTrailersOnly(call, 14) : answerOk(call))),
  );
  const web = await startUpstream(
    t,
    service((call) => answerOk(call)),
  );
  const start = async (name: 'web' | 'auth-svc' | 'learner-svc', servicePort: number, text: string): Promise<SidecarProcess> => {
    const policyPath = join(folder.path, `${name}.yaml`);
    writeFileSync(policyPath, text);
    const environment = {
      CONSUL_HTTP_ADDR: catalogue.address,
      SERVICE_ADDRESS: '127.0.0.1',
      LOCALITY: 'eu/eu-1',
      SERVICE_VERSION: '1.2.3',
      DRAIN_DELAY: '0s',
      LOCAL_SERVICE_HEALTH_INTERVAL: '1s',
      // Receivers that are not there: what is lost is counted.
      JAEGER_HOST: '127.0.0.1',
      METRICS_HOST: '127.0.0.1',
      OTEL_METRICS_EXPORTER: 'otlp',
      OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: `http://127.0.0.1:${await closedPort()}/v1/metrics`,
      ACCESS_LOG: join(folder.path, `${name}.log`),
    };
    return started.use(await startSidecar({ name, identity: identity(name), servicePort, policyPath, environment }));
  };
  await registerDead(catalogue);
  const sidecars = {
    'auth-svc': await start('auth-svc', auth.port, inboundPolicies('/auth.AuthService/')),
    'learner-svc': await start('learner-svc', learner.port, inboundPolicies('/learner.LearnerService/')),
    web: await start('web', web.port, policies),
  };
  const client = new Caller(t, sidecars.web.outboundPort);
  const paths = [
    '/auth.AuthService/Authenticate',
    '/learner.LearnerService/GetProfile',
    '/learner.LearnerService/WatchLessons',
    '/events.EventCollectorService/Collect',
  ];
  return {
    sidecars,
    async call() {
      const headers = { traceparent: `00-${'ab'.repeat(16)}-${'cd'.repeat(8)}-01` };
      await Promise.all(paths.map((path) => client.call({ path, headers })));
    },
  };
};
