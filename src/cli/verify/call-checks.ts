import { formatHostPort } from '../../core/index.ts';
import { GrpcStatus, statusName } from '../../grpc/index.ts';
import type { Address } from './address.ts';
import { type CheckResult, failed, ok, skipped, warning } from './check-result.ts';
import { callHealth, type HealthCallOptions, type HealthCallOutcome } from './health-call.ts';
import type { VerifyPlan } from './plan.ts';

/** Where the reader of a remedy looks: `--admin` of the sidecar that answered, and the agent of Consul. */
export interface Whereabouts {
  readonly adminOption: string;
  readonly consul: string | undefined;
}

/** What to do about a reply of a sidecar's own, by its `x-outrider-reason`. */
export const remedyOfReason = (reason: string, service: string, { adminOption, consul }: Whereabouts): string => {
  switch (reason) {
    case 'circuit_open':
      return `outrider clusters${adminOption}  # mend what fails there, then: outrider breaker reset ${service}${adminOption}`;
    case 'no_endpoint':
      return `curl -s ${consul ?? 'http://127.0.0.1:8500'}/v1/health/service/${service}?passing  # who of it is healthy in the catalogue`;
    case 'no_route':
    case 'no_cluster':
    case 'denied':
    case 'unauthenticated':
      return `outrider routes${adminOption}`;
    case 'tls_handshake_failed':
    case 'tls_peer_not_allowed':
      return `outrider certs verify  # the certificates of both sides; then: outrider stats${adminOption} --filter ssl`;
    case 'overloaded':
      return `outrider stats${adminOption} --filter '^overload'`;
    case 'draining':
      return `curl -s http://${adminOption.replace(' --admin ', '')}/ready`;
    case 'caller_deadline':
    case 'route_timeout':
    case 'per_try_timeout':
    case 'idle_timeout':
      return `outrider stats${adminOption} --filter 'upstream_rq_(active|timeout)'  # the service is slower than the time it has; --timeout gives it more`;
    default:
      return `outrider clusters${adminOption}`;
  }
};

const deadServiceRemedy = (adminOption: string): string =>
  `outrider stats${adminOption} --filter '^local_service'  # start the service; LOCAL_SERVICE_PORT says where it has to listen`;

/** What a `Health/Check` says about the way that it took. */
const judge = (
  check: string,
  way: string,
  outcome: HealthCallOutcome,
  service: string,
  isInbound: boolean,
  where: Whereabouts,
): CheckResult => {
  switch (outcome.kind) {
    case 'unreachable':
      return skipped(check, `${way}: ${outcome.failure.why}`);
    case 'not_grpc':
      return failed(check, `${way}: ${outcome.why}`, `outrider stats${where.adminOption} --filter '^listener'`);
    case 'answered':
  }
  const { status, message, reason, serving } = outcome;
  if (status === GrpcStatus.OK) {
    if (serving === 'SERVING' || serving === undefined) return ok(check, `${way} answers SERVING`);
    return failed(check, `${way}: the service says ${serving}`, deadServiceRemedy(where.adminOption));
  }
  const said = `${statusName(status)}${reason === undefined ? '' : ` (${reason})`}${message === '' ? '' : `: ${message}`}`;
  if (reason !== undefined) {
    if (reason === 'denied' || reason === 'unauthenticated')
      return skipped(check, `${way}: ${said}; the policies of ${service} do not let this client in: name another one with --cert`);
    const dead = isInbound && (reason === 'connect_failure' || reason === 'connection_lost');
    return failed(check, `${way}: ${said}`, dead ? deadServiceRemedy(where.adminOption) : remedyOfReason(reason, service, where));
  }
  // The service itself has answered, so that the way there and back is good.
  if (status === GrpcStatus.UNIMPLEMENTED || status === GrpcStatus.UNAUTHENTICATED || status === GrpcStatus.PERMISSION_DENIED)
    return ok(check, `${way} answers ${statusName(status)}: the call arrived, though the service has no health for us`);
  return warning(check, `${way}: the service answers ${said}`, deadServiceRemedy(where.adminOption));
};

type CallOptions = Pick<HealthCallOptions, 'timeoutMs' | 'clock' | 'headers'>;

/** As a peer: through the inbound listener, with the certificate of a client. */
export const callInbound = async (
  address: Address,
  service: string,
  { identity, tlsMinimum }: VerifyPlan,
  options: CallOptions,
  where: Whereabouts,
): Promise<CheckResult> => {
  if (identity === undefined) return skipped('call.inbound', 'no certificate of a client: name one with --ca, --cert and --key');
  const tls = { ca: identity.caPem, cert: identity.certPem, key: identity.keyPem, minVersion: tlsMinimum };
  const outcome = await callHealth(address, { ...options, authority: service, tls });
  return judge('call.inbound', formatHostPort(address), outcome, service, true, where);
};

/** As a service: through the outbound listener of a sidecar and the inbound one of another. */
export const callThroughBoth = async (via: Address, service: string, options: CallOptions, where: Whereabouts): Promise<CheckResult> => {
  const outcome = await callHealth(via, { ...options, authority: service });
  const way = `${formatHostPort(via)} -> ${service}`;
  if (outcome.kind === 'unreachable')
    return failed(
      'call.through_both',
      `${way}: ${outcome.failure.why}`,
      'outrider verify --via 127.0.0.1:15001  # OUTBOUND_PORT of a sidecar on this machine',
    );
  // What fails behind the first sidecar is its reply: its admin port is not ours to know.
  return judge('call.through_both', way, outcome, service, false, { ...where, adminOption: ' --admin <of that sidecar>' });
};
