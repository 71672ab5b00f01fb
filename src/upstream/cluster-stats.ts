import type { StatSink } from '../telemetry/index.ts';

/**
 * What one cluster counts, under Envoy's names with a capital in the place of an underscore (`upstreamRqRetry` is
 * `cluster.<name>.upstream_rq_retry`). Plain fields: whoever sees it happen adds to them. Those that the upstream room does not
 * see itself, and the proxy counts: `upstreamRqRetry`, `upstreamRqRetrySuccess`, `upstreamRqRetryLimitExceeded`,
 * `upstreamRqTimeout`, `upstreamRqPerTryTimeout`, `upstreamRqRxReset`, `upstreamRqTxReset`, `upstreamRqCancelled`, `upstreamRqUnprocessed`. What a threshold
 * counts (connections, waiting calls, every overflow) stands in the cluster's `limits`.
 */
export class ClusterStats {
  /** Attempts, not calls. */
  upstreamRqTotal = 0;
  upstreamRqActive = 0;
  upstreamRqPendingTotal = 0;
  upstreamRqPendingFailureEject = 0;
  /** Attempts that waited for a connection as long as they may. */
  upstreamRqPendingTimeout = 0;
  upstreamRqRetry = 0;
  upstreamRqRetrySuccess = 0;
  upstreamRqRetryLimitExceeded = 0;
  /** Attempts that another sidecar answered, since it could not hand them to its service. */
  upstreamRqUnprocessed = 0;
  /** Attempts that began beside another one of the same call. */
  upstreamRqHedge = 0;
  upstreamRqTimeout = 0;
  upstreamRqPerTryTimeout = 0;
  upstreamRqPerTryIdleTimeout = 0;
  upstreamRqRxReset = 0;
  upstreamRqTxReset = 0;
  upstreamRqCancelled = 0;
  /** Resets that had to wait, since the server would have taken them for an attack. */
  upstreamRqResetDelayed = 0;
  upstreamCxTotal = 0;
  upstreamCxHttp2Total = 0;
  upstreamCxConnectFail = 0;
  upstreamCxConnectTimeout = 0;
  upstreamCxNoneHealthy = 0;
  upstreamCxDestroy = 0;
  upstreamCxDestroyLocal = 0;
  upstreamCxDestroyRemote = 0;
  upstreamCxCloseNotify = 0;
  upstreamCxProtocolError = 0;
  /** Connections that take no new calls, since they have reset as many as their server takes at once. */
  upstreamCxMaxResets = 0;
  /** Connections that were replaced for their age. */
  upstreamCxMaxDurationReached = 0;
  membershipChange = 0;
  sslHandshake = 0;
  sslConnectionError = 0;
  sslFailVerifyNoCert = 0;
  sslFailVerifyError = 0;
  sslFailVerifySan = 0;
  sslFailVerifyCertHash = 0;
  sslNoAlpn = 0;
  sslProtocolVersion = 0;
  sslNotTls = 0;
  sslHandshakeTimeout = 0;

  /** Hands out every field as `<prefix><Envoy's name>`. */
  collect(prefix: string, sink: StatSink): void {
    for (const [field, name] of counterNames) sink.counter(prefix + name, this[field]);
    sink.gauge(`${prefix}upstream_rq_active`, this.upstreamRqActive);
  }
}

/** Every counter by Envoy's name, so that a search for the name ends here. */
const counterNames = [
  ['upstreamRqTotal', 'upstream_rq_total'],
  ['upstreamRqPendingTotal', 'upstream_rq_pending_total'],
  ['upstreamRqPendingFailureEject', 'upstream_rq_pending_failure_eject'],
  ['upstreamRqPendingTimeout', 'upstream_rq_pending_timeout'],
  ['upstreamRqRetry', 'upstream_rq_retry'],
  ['upstreamRqRetrySuccess', 'upstream_rq_retry_success'],
  ['upstreamRqRetryLimitExceeded', 'upstream_rq_retry_limit_exceeded'],
  ['upstreamRqUnprocessed', 'upstream_rq_unprocessed'],
  ['upstreamRqHedge', 'upstream_rq_hedge'],
  ['upstreamRqTimeout', 'upstream_rq_timeout'],
  ['upstreamRqPerTryTimeout', 'upstream_rq_per_try_timeout'],
  ['upstreamRqPerTryIdleTimeout', 'upstream_rq_per_try_idle_timeout'],
  ['upstreamRqRxReset', 'upstream_rq_rx_reset'],
  ['upstreamRqTxReset', 'upstream_rq_tx_reset'],
  ['upstreamRqCancelled', 'upstream_rq_cancelled'],
  ['upstreamRqResetDelayed', 'upstream_rq_reset_delayed'],
  ['upstreamCxTotal', 'upstream_cx_total'],
  ['upstreamCxHttp2Total', 'upstream_cx_http2_total'],
  ['upstreamCxConnectFail', 'upstream_cx_connect_fail'],
  ['upstreamCxConnectTimeout', 'upstream_cx_connect_timeout'],
  ['upstreamCxNoneHealthy', 'upstream_cx_none_healthy'],
  ['upstreamCxDestroy', 'upstream_cx_destroy'],
  ['upstreamCxDestroyLocal', 'upstream_cx_destroy_local'],
  ['upstreamCxDestroyRemote', 'upstream_cx_destroy_remote'],
  ['upstreamCxCloseNotify', 'upstream_cx_close_notify'],
  ['upstreamCxProtocolError', 'upstream_cx_protocol_error'],
  ['upstreamCxMaxResets', 'upstream_cx_max_resets'],
  ['upstreamCxMaxDurationReached', 'upstream_cx_max_duration_reached'],
  ['membershipChange', 'membership_change'],
  ['sslHandshake', 'ssl.handshake'],
  ['sslConnectionError', 'ssl.connection_error'],
  ['sslFailVerifyNoCert', 'ssl.fail_verify_no_cert'],
  ['sslFailVerifyError', 'ssl.fail_verify_error'],
  ['sslFailVerifySan', 'ssl.fail_verify_san'],
  ['sslFailVerifyCertHash', 'ssl.fail_verify_cert_hash'],
  ['sslNoAlpn', 'ssl.no_alpn'],
  ['sslProtocolVersion', 'ssl.protocol_version'],
  ['sslNotTls', 'ssl.not_tls'],
  ['sslHandshakeTimeout', 'ssl.handshake_timeout'],
] as const satisfies readonly (readonly [keyof ClusterStats, string])[];

/** What one endpoint counts: the names are those of Envoy's `/clusters`. */
export class EndpointStats {
  cxActive = 0;
  cxTotal = 0;
  cxConnectFail = 0;
  rqActive = 0;
  rqTotal = 0;
  rqSuccess = 0;
  rqError = 0;
  rqTimeout = 0;

  /** Name and value of each, in the order of Envoy's `/clusters`. */
  entries(): readonly (readonly [string, number])[] {
    return [
      ['cx_active', this.cxActive],
      ['cx_connect_fail', this.cxConnectFail],
      ['cx_total', this.cxTotal],
      ['rq_active', this.rqActive],
      ['rq_error', this.rqError],
      ['rq_success', this.rqSuccess],
      ['rq_timeout', this.rqTimeout],
      ['rq_total', this.rqTotal],
    ];
  }
}
