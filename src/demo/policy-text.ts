import { type DemoServiceName, demoServices, grpcServiceOf } from './protocol.ts';

/** How long a call of each service may take: the deadlines of the mesh that the demo re-enacts. */
const routeTimeouts: Readonly<Record<DemoServiceName, string>> = {
  'auth-svc': '5s',
  'learner-svc': '10s',
  'event-collector-svc': '2s',
};

/** Shorter than the 60 s that a cluster gets by itself, so that one can watch a breaker recover. */
export const demoRecoverySeconds = 5;

const routeText = (service: DemoServiceName): string => `  - name: ${service}
    match: { prefix: /${grpcServiceOf[service]}/ }
    route:
      cluster: ${service}
      timeout: ${routeTimeouts[service]}
      idempotent: true
      retry_policy:
        retry_on: "unavailable,reset,connect-failure,refused-stream"
        num_retries: 3
        per_try_timeout: ${routeTimeouts[service] === '2s' ? '2s' : '5s'}
        retry_back_off: { base_interval: 0.1s, max_interval: 1s }
`;

// Five minutes would be usual: who is gone for a moment keeps its place. Here one wants to see it leave.
const clusterText = (service: DemoServiceName): string => `  ${service}:
    consul: { keep_last: 0s }
    connect_timeout: 2s
    circuit_breakers:
      consecutive_failures: 5
      recovery_timeout: ${demoRecoverySeconds}s
`;

/** The policies of the demo; where the services are stands in the catalogue. */
export const policyText = (): string => `# The policies of the demo mesh; change them while it runs.
routes:
${demoServices.map(routeText).join('')}clusters:
${demoServices.map(clusterText).join('')}`;
