import { Http2Counters } from '../http2/index.ts';
import type { HandshakeCounter } from '../identity/index.ts';
import type { StatSink, StatSource } from '../telemetry/index.ts';
import type { ConnectionOverflow } from './overload/connection-limits.ts';

/** What one listener counts; names are Envoy's `listener.<name>.*`. */
export class ListenerStats implements StatSource {
  readonly http2 = new Http2Counters();
  connectionsTotal = 0;
  connectionsActive = 0;
  /** Closed at once: the listener, the process or the peer's address has as many as are allowed, or too little memory is left. */
  readonly overflows: Record<ConnectionOverflow, number> = { listener: 0, process: 0, source: 0, descriptors: 0 };
  overloadRejects = 0;
  /** Connections that were told to go for their age. */
  maxDurationReached = 0;
  /** Connections that are none yet: silent, waiting for their handshake, or in it. */
  newcomersActive = 0;
  /** Closed because too many were there already. */
  newcomersOverflow = 0;
  /** Connections without TLS on a listener that would rather have it (`INBOUND_TLS=permissive`). */
  plainTextTotal = 0;
  requestsTotal = 0;
  handshakes = 0;
  /** Connections closed because the peer's certificate expired or was revoked while they lived. */
  peersExpired = 0;
  preludeTimeouts = 0;
  readonly refusals: Record<HandshakeCounter, number> = {
    fail_verify_no_cert: 0,
    fail_verify_error: 0,
    fail_verify_san: 0,
    fail_verify_cert_hash: 0,
    connection_error: 0,
    no_alpn: 0,
    protocol_version: 0,
    not_tls: 0,
    handshake_timeout: 0,
  };
  readonly #prefix: string;

  constructor(name: string) {
    this.#prefix = `listener.${name}`;
  }

  collectStats(sink: StatSink): void {
    const prefix = this.#prefix;
    sink.counter(`${prefix}.downstream_cx_total`, this.connectionsTotal);
    sink.gauge(`${prefix}.downstream_cx_active`, this.connectionsActive);
    sink.counter(`${prefix}.downstream_cx_overflow`, this.overflows.listener);
    sink.counter(`${prefix}.downstream_global_cx_overflow`, this.overflows.process);
    sink.counter(`${prefix}.downstream_source_cx_overflow`, this.overflows.source);
    sink.counter(`${prefix}.downstream_descriptor_overflow`, this.overflows.descriptors);
    sink.counter(`${prefix}.downstream_cx_overload_reject`, this.overloadRejects);
    sink.counter(`${prefix}.downstream_cx_max_duration_reached`, this.maxDurationReached);
    sink.gauge(`${prefix}.downstream_pre_cx_active`, this.newcomersActive);
    sink.counter(`${prefix}.downstream_pre_cx_overflow`, this.newcomersOverflow);
    sink.counter(`${prefix}.downstream_cx_plain_text`, this.plainTextTotal);
    sink.counter(`${prefix}.downstream_pre_cx_timeout`, this.preludeTimeouts);
    sink.counter(`${prefix}.downstream_rq_total`, this.requestsTotal);
    sink.gauge(`${prefix}.downstream_rq_active`, this.http2.streamsActive);
    sink.counter(`${prefix}.ssl.handshake`, this.handshakes);
    sink.counter(`${prefix}.ssl.peer_expired`, this.peersExpired);
    for (const [name, value] of Object.entries(this.refusals)) sink.counter(`${prefix}.ssl.${name}`, value);
    this.http2.forEach((name, value, gauge) => {
      if (gauge) sink.gauge(`${prefix}.http2.${name}`, value);
      else sink.counter(`${prefix}.http2.${name}`, value);
    });
  }
}
