import type { Fate } from '../../core/index.ts';
import { type ResponseFlag, responseFlags } from '../../policy/index.ts';
import type { EndedCall } from '../ended-call.ts';

/** How Envoy would have called an end. */
interface EnvoyEnd {
  /** `undefined` where Envoy has none either. */
  readonly flag: ResponseFlag | undefined;
  /** `%RESPONSE_CODE_DETAILS%`. */
  readonly details: string;
}

const byUpstream: EnvoyEnd = { flag: undefined, details: 'via_upstream' };

/** Every fate in Envoy's words. Where several would do, the one by which people look for it. */
export const envoyEnds: Readonly<Record<Fate, EnvoyEnd>> = {
  ok: byUpstream,
  app_error: byUpstream,
  cancelled: { flag: 'DR', details: 'http2.remote_reset' },
  no_route: { flag: 'NR', details: 'route_not_found' },
  no_cluster: { flag: 'NC', details: 'cluster_not_found' },
  no_endpoint: { flag: 'UH', details: 'no_healthy_upstream' },
  connect_failure: { flag: 'UF', details: 'upstream_reset_before_response_started{connection_failure}' },
  connection_lost: { flag: 'UC', details: 'upstream_reset_before_response_started{connection_termination}' },
  tls_handshake_failed: { flag: 'UF', details: 'upstream_reset_before_response_started{connection_failure}' },
  tls_peer_not_allowed: { flag: 'UF', details: 'upstream_reset_before_response_started{connection_failure}' },
  circuit_open: { flag: 'UO', details: 'circuit_breaker_open' },
  draining: { flag: 'LR', details: 'drain_timeout' },
  caller_deadline: { flag: 'UT', details: 'response_timeout' },
  route_timeout: { flag: 'UT', details: 'response_timeout' },
  per_try_timeout: { flag: 'UT', details: 'upstream_per_try_timeout' },
  idle_timeout: { flag: 'SI', details: 'stream_idle_timeout' },
  too_many_requests: { flag: 'UO', details: 'upstream_reset_before_response_started{overflow}' },
  too_many_pending: { flag: 'UO', details: 'upstream_reset_before_response_started{overflow}' },
  rate_limited: { flag: 'RL', details: 'local_rate_limited' },
  all_instances_busy: { flag: 'UH', details: 'no_healthy_upstream' },
  // Envoy answers 413 without a flag.
  message_too_large: { flag: undefined, details: 'payload_too_large' },
  headers_too_large: { flag: 'DPE', details: 'request_headers_too_large' },
  overloaded: { flag: 'OM', details: 'overload' },
  max_stream_duration: { flag: 'UMSDR', details: 'max_duration_timeout' },
  flush_timeout: { flag: 'SI', details: 'stream_idle_timeout' },
  fault_injected: { flag: 'FI', details: 'fault_filter_abort' },
  missing_status: { flag: 'UPE', details: 'upstream_reset_after_response_started{protocol_error}' },
  unsupported_content_type: { flag: 'DPE', details: 'unsupported_content_type' },
  upstream_reset: { flag: 'UR', details: 'upstream_reset_before_response_started{remote_reset}' },
  unauthenticated: { flag: 'UAEX', details: 'ext_authz_denied' },
  denied: { flag: 'UAEX', details: 'rbac_access_denied' },
  malformed_request: { flag: 'DPE', details: 'http2.violation.of.messaging.rule' },
};

const order = Object.keys(responseFlags) as readonly ResponseFlag[];

const isExhausted = (call: EndedCall): boolean => call.retriesExhausted && call.attempts > 1;

/** Envoy's flag of the call's end, beside others that say what happened on the way; empty: none. */
const flagsOf = (call: EndedCall): readonly ResponseFlag[] => {
  const flags: ResponseFlag[] = [];
  const end = call.fate === 'cancelled' && call.connectionLost ? 'DC' : envoyEnds[call.fate].flag;
  if (end !== undefined) flags.push(end);
  if (call.delayInjected) flags.push('DI');
  if (isExhausted(call)) flags.push('URX');
  return flags;
};

/** As Envoy prints them: several with commas between, `-` for none, also where other values would be null. */
export const responseFlagsText = (call: EndedCall, long: boolean): string => {
  const flags = flagsOf(call);
  if (flags.length === 0) return '-';
  const sorted = flags.length === 1 ? flags : order.filter((flag) => flags.includes(flag));
  return (long ? sorted.map((flag) => responseFlags[flag]) : sorted).join(',');
};

/** Whether the call has one of `flags`; of an empty list, any at all. */
export const hasResponseFlag = (call: EndedCall, flags: readonly ResponseFlag[]): boolean => {
  const own = flagsOf(call);
  return flags.length === 0 ? own.length > 0 : own.some((flag) => flags.includes(flag));
};

/** `%RESPONSE_CODE_DETAILS%`: who ended the call, and why. */
export const responseCodeDetails = (call: EndedCall): string => {
  if (call.fate === 'cancelled' && call.connectionLost) return 'downstream_remote_disconnect';
  const { details } = envoyEnds[call.fate];
  return call.bytesSent > 0 ? details.replace('before_response_started', 'after_response_started') : details;
};
