import { GrpcStatus, type ServingStatus, statusName } from '../../grpc/index.ts';
import type { GrpcHealthCheck } from '../../resilience/index.ts';
import type { ExchangeEnd } from './health-exchange.ts';
import type { ProbeVerdict } from './probe.ts';

const named = ({ serviceName }: GrpcHealthCheck): string => (serviceName === '' ? '' : ` for "${serviceName}"`);

/** What a server says of a service, as a verdict. */
export const verdictOfServing = (status: ServingStatus, check: GrpcHealthCheck): ProbeVerdict =>
  status === 'SERVING'
    ? { kind: 'passed', why: `answers SERVING${named(check)}` }
    : { kind: 'failed', failure: 'active', why: `answers ${status}${named(check)}` };

const answersWithoutProtocol: ReadonlySet<number> = new Set<number>([
  GrpcStatus.UNIMPLEMENTED,
  GrpcStatus.UNAUTHENTICATED,
  GrpcStatus.PERMISSION_DENIED,
]);

/**
 * How a `Check` ended.
 * @param serving what it answered before its status; `undefined`: nothing.
 */
export const verdictOfEnd = (end: ExchangeEnd, serving: ServingStatus | undefined, check: GrpcHealthCheck): ProbeVerdict => {
  switch (end.kind) {
    case 'answered': {
      if (end.status === GrpcStatus.OK) {
        return serving === undefined
          ? { kind: 'failed', failure: 'active', why: 'answers OK without a HealthCheckResponse' }
          : verdictOfServing(serving, check);
      }
      const said = `${statusName(end.status)}${end.message === '' ? '' : ` (${end.message})`}`;
      if (check.answersSuffice && answersWithoutProtocol.has(end.status)) {
        return { kind: 'passed', why: `answers, and has no grpc.health.v1.Health for us: ${said}` };
      }
      return { kind: 'failed', failure: 'active', why: `answers ${said}${named(check)}${remedies[end.status] ?? ''}` };
    }
    case 'malformed':
      return { kind: 'failed', failure: 'active', why: end.why };
    case 'lost':
      return { kind: 'failed', failure: 'network', why: end.why };
    case 'timeout':
      return { kind: 'failed', failure: 'network_timeout', why: end.why };
    case 'unlearned':
      return end;
  }
};

const remedies: Readonly<Record<number, string>> = {
  [GrpcStatus.UNIMPLEMENTED]: ': register grpc.health.v1.Health in the service, or write tcp_health_check',
  [GrpcStatus.NOT_FOUND]: ': register this name in its health service, or write another service_name',
};
