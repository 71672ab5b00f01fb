import type { Fate } from '../../core/index.ts';
import type { FateNote } from './model.ts';

/** What a person who reads a failed call wants to know about its fate, beside the message that its caller got. */
export const fateNotes: Readonly<Record<Fate, FateNote>> = {
  ok: { meaning: 'The service answered OK.', remedy: '' },
  app_error: {
    meaning: 'The service itself answered with an error.',
    remedy: 'Look at the service’s log with the trace id; the mesh did its part.',
  },
  cancelled: { meaning: 'The caller did not wait for the answer.', remedy: '' },
  no_route: {
    meaning: 'No route matches the path, and nothing else says where it goes.',
    remedy: 'Add a route, or a default_action with use_cluster.',
  },
  no_cluster: {
    meaning: 'No cluster has the name that the route or :authority says.',
    remedy: 'Define the cluster, or correct the name in the route or at the caller.',
  },
  no_endpoint: {
    meaning: 'The cluster has no endpoint that may be called.',
    remedy: 'Look at its endpoints and its source of discovery below.',
  },
  connect_failure: {
    meaning: 'No connection to the endpoint came about.',
    remedy: 'See whether it runs and listens at that address, and whether a firewall is between.',
  },
  connection_lost: {
    meaning: 'The connection broke while the call was under way.',
    remedy: 'See whether the endpoint restarted or crashed; allow retries where calls may be repeated.',
  },
  tls_handshake_failed: {
    meaning: 'The two sides do not trust each other’s certificates.',
    remedy: 'Compare authorities, names and dates: outrider certs verify.',
  },
  tls_peer_not_allowed: {
    meaning: 'The certificate is valid, but of somebody else.',
    remedy: 'Correct match_subject_alt_names, or the endpoint’s address.',
  },
  circuit_open: {
    meaning: 'The circuit breaker is open: the cluster failed too often.',
    remedy: 'Mend what fails; it tries again by itself, or reset it below.',
  },
  draining: { meaning: 'The sidecar was shutting down.', remedy: 'Call again; raise DRAIN_TIMEOUT where calls take longer.' },
  caller_deadline: {
    meaning: 'The caller’s own deadline passed first.',
    remedy: 'Give the call more time, or find out what is slow: see p99.',
  },
  route_timeout: { meaning: 'The route’s timeout passed first.', remedy: 'Raise timeout of the route, or find out what is slow: see p99.' },
  per_try_timeout: {
    meaning: 'Every attempt took longer than per_try_timeout.',
    remedy: 'Raise per_try_timeout, or find out what is slow.',
  },
  idle_timeout: {
    meaning: 'Neither side sent anything for idle_timeout.',
    remedy: 'Raise idle_timeout of the route, or let the stream send something.',
  },
  too_many_requests: { meaning: 'The cluster has max_requests under way.', remedy: 'Add instances, or raise max_requests.' },
  too_many_pending: {
    meaning: 'Too many calls wait for a connection.',
    remedy: 'See why connections are slow, or raise max_pending_requests.',
  },
  rate_limited: { meaning: 'The local rate limit has no tokens left.', remedy: 'Let the caller slow down, or raise its token bucket.' },
  all_instances_busy: { meaning: 'The discoverer knows no instance that has room.', remedy: 'Add instances.' },
  message_too_large: {
    meaning: 'More bytes than the route allows.',
    remedy: 'Send less, or raise max_request_bytes or max_response_bytes.',
  },
  headers_too_large: { meaning: 'More header bytes than allowed.', remedy: 'Send fewer or shorter headers.' },
  overloaded: { meaning: 'The sidecar is short of memory or CPU.', remedy: 'See the overload state below; give it more, or send it less.' },
  max_stream_duration: {
    meaning: 'The stream lived as long as the route allows.',
    remedy: 'Raise max_stream_duration, or open the stream anew.',
  },
  flush_timeout: { meaning: 'One side did not read for 30 s while memory was short.', remedy: 'Let it read what it asked for.' },
  fault_injected: {
    meaning: 'A fault of the policy ended the call, on purpose.',
    remedy: 'Remove fault from the route when the trial is over.',
  },
  missing_status: {
    meaning: 'The answer ended without grpc-status.',
    remedy: 'See whether the endpoint speaks gRPC; proxies between may cut trailers.',
  },
  unsupported_content_type: { meaning: 'The request is not gRPC.', remedy: 'Send content-type application/grpc.' },
  upstream_reset: { meaning: 'The endpoint reset the stream.', remedy: 'Look at the service’s log: it gave the call up.' },
  unauthenticated: { meaning: 'The caller did not show who it is.', remedy: 'Let it call through its sidecar, with a certificate.' },
  denied: { meaning: 'The caller may not make this call.', remedy: 'Allow it in inbound.access, or in the intentions of Consul.' },
  malformed_request: { meaning: 'The request breaks HTTP/2 or gRPC.', remedy: 'See the message; the caller’s library is at fault.' },
};
