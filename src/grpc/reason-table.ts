import type { Reason } from '../core/index.ts';
import { GrpcStatus, type GrpcStatusCode } from './status.ts';

export interface ReasonReply {
  /** Status of the reply; where it depends on the case (`varies`), the one to fall back on. */
  readonly status: GrpcStatusCode;
  /** True where whoever ends the call knows better: the HTTP status, the reset's code, or the rule that names a status. */
  readonly varies?: true;
  /** HTTP status of the reply, where it is not the 200 of a Trailers-Only reply. */
  readonly httpStatus?: number;
}

/** How Outrider answers for each reason of its own. A contract: clients retry by the status, scripts read the reason. */
export const reasonTable: Readonly<Record<Reason, ReasonReply>> = {
  no_route: { status: GrpcStatus.UNIMPLEMENTED },
  no_cluster: { status: GrpcStatus.UNAVAILABLE },
  no_endpoint: { status: GrpcStatus.UNAVAILABLE },
  connect_failure: { status: GrpcStatus.UNAVAILABLE },
  connection_lost: { status: GrpcStatus.UNAVAILABLE },
  tls_handshake_failed: { status: GrpcStatus.UNAVAILABLE },
  tls_peer_not_allowed: { status: GrpcStatus.UNAVAILABLE },
  circuit_open: { status: GrpcStatus.UNAVAILABLE },
  draining: { status: GrpcStatus.UNAVAILABLE },
  caller_deadline: { status: GrpcStatus.DEADLINE_EXCEEDED },
  route_timeout: { status: GrpcStatus.DEADLINE_EXCEEDED },
  per_try_timeout: { status: GrpcStatus.DEADLINE_EXCEEDED },
  idle_timeout: { status: GrpcStatus.DEADLINE_EXCEEDED },
  too_many_requests: { status: GrpcStatus.RESOURCE_EXHAUSTED },
  too_many_pending: { status: GrpcStatus.RESOURCE_EXHAUSTED },
  rate_limited: { status: GrpcStatus.RESOURCE_EXHAUSTED },
  all_instances_busy: { status: GrpcStatus.RESOURCE_EXHAUSTED },
  message_too_large: { status: GrpcStatus.RESOURCE_EXHAUSTED },
  headers_too_large: { status: GrpcStatus.RESOURCE_EXHAUSTED },
  overloaded: { status: GrpcStatus.RESOURCE_EXHAUSTED },
  max_stream_duration: { status: GrpcStatus.DEADLINE_EXCEEDED },
  flush_timeout: { status: GrpcStatus.CANCELLED },
  fault_injected: { status: GrpcStatus.UNAVAILABLE, varies: true },
  missing_status: { status: GrpcStatus.UNKNOWN, varies: true },
  unsupported_content_type: { status: GrpcStatus.UNKNOWN, httpStatus: 415 },
  upstream_reset: { status: GrpcStatus.INTERNAL, varies: true },
  unauthenticated: { status: GrpcStatus.UNAUTHENTICATED },
  denied: { status: GrpcStatus.PERMISSION_DENIED },
  malformed_request: { status: GrpcStatus.INTERNAL },
};

/** The status with which a call ends for `reason`. Where the table says `varies`, only what to fall back on. */
export const statusOfReason = (reason: Reason): GrpcStatusCode => reasonTable[reason].status;
