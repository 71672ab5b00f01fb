import type { HealthCheckTimes } from './health-options.ts';

/** Envoy: `grpc_health_check`. */
export interface GrpcHealthCheck {
  readonly kind: 'grpc';
  /** Empty: the server as a whole. */
  readonly serviceName: string;
  /** Empty: the name of the cluster. */
  readonly authority: string;
  readonly metadata: readonly (readonly [name: string, value: string])[];
  /** Ask by `Watch` where the server has it: one stream, and no request at each interval. */
  readonly watch: boolean;
  /** A server without the health protocol, or one that does not let us ask, is healthy as long as it answers. */
  readonly answersSuffice: boolean;
}

/** Envoy: `http_health_check`. */
export interface HttpHealthCheck {
  readonly kind: 'http';
  /** Empty: the name of the cluster. */
  readonly host: string;
  readonly path: string;
  readonly method: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** From, and below which. */
  readonly expectedStatuses: readonly (readonly [from: number, below: number])[];
  /** Statuses that need `unhealthyThreshold` of them in a row. */
  readonly retriableStatuses: readonly (readonly [from: number, below: number])[];
  readonly version: 'http1' | 'http2';
}

/** Envoy: `tcp_health_check`. */
export interface TcpHealthCheck {
  readonly kind: 'tcp';
  /** Empty: connecting is enough. */
  readonly send: Uint8Array;
  /** Each has to occur in what is received, one after another. */
  readonly receive: readonly Uint8Array[];
}

/** How the endpoints of a cluster are checked. */
export interface HealthCheckOptions {
  readonly times: HealthCheckTimes;
  readonly check: GrpcHealthCheck | HttpHealthCheck | TcpHealthCheck;
  /** What a new endpoint gets before its first result. */
  readonly newEndpoints: 'after_check' | 'at_once';
  /** Endpoints that wait for their first result are not counted, so that they cause no panic, and get nothing in one. */
  readonly ignoreNewEndpoints: boolean;
  readonly alwaysLogFailures: boolean;
}
