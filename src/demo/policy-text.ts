import { type DemoServiceName, grpcServiceOf } from './protocol.ts';

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

const clusterText = (service: DemoServiceName, port: number): string => `  ${service}:
    endpoints: ["127.0.0.1:${port}"]
    connect_timeout: 2s
    circuit_breakers:
      consecutive_failures: 5
      recovery_timeout: ${demoRecoverySeconds}s
`;

/** The policies of the demo, for the inbound ports that the system chose. */
export const policyText = (inboundPorts: Readonly<Record<DemoServiceName, number>>): string => {
  const services = Object.keys(inboundPorts) as DemoServiceName[];
  return `# The policies of the demo mesh; change them while it runs.
routes:
${services.map(routeText).join('')}clusters:
${services.map((service) => clusterText(service, inboundPorts[service])).join('')}`;
};
