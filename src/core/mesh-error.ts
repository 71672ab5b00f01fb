/** Why Outrider itself ended a call: the value of `x-outrider-reason`, and the fate under which the call is counted. */
export const reasons = [
  'no_route',
  'no_cluster',
  'no_endpoint',
  'connect_failure',
  'connection_lost',
  'tls_handshake_failed',
  'tls_peer_not_allowed',
  'circuit_open',
  'draining',
  'caller_deadline',
  'route_timeout',
  'per_try_timeout',
  'idle_timeout',
  'too_many_requests',
  'too_many_pending',
  'rate_limited',
  'all_instances_busy',
  'message_too_large',
  'headers_too_large',
  'overloaded',
  'max_stream_duration',
  'flush_timeout',
  'fault_injected',
  'missing_status',
  'unsupported_content_type',
  'upstream_reset',
  'unauthenticated',
  'denied',
  'malformed_request',
] as const;
export type Reason = (typeof reasons)[number];

/** Each call ends in exactly one: what the application said, what the caller did, or a reason of ours. */
export const fates = ['ok', 'app_error', 'cancelled', ...reasons] as const;
export type Fate = (typeof fates)[number];

export interface MeshErrorOptions {
  /** What an operator can do about it; a whole sentence without a full stop, or nothing where nobody can do anything. */
  readonly remedy?: string;
  /** Whose fault it is: the peer that called us, the peer that we called, or ourselves. */
  readonly source: 'downstream' | 'upstream' | 'local';
  /** True only where the server provably never processed the call, so that trying again is safe for any method. */
  readonly unprocessed?: boolean;
  readonly cause?: unknown;
}

/** Made for each refused call: where in the code says nothing that the reason does not, and would cost more than serving the call. */
class UntracedError extends Error {
  constructor(message: string, options: ErrorOptions | undefined) {
    const { stackTraceLimit } = Error;
    Error.stackTraceLimit = 0;
    super(message, options);
    Error.stackTraceLimit = stackTraceLimit;
  }
}

/** The one error that is thrown inside; one place (`proxy/replies`) turns it into a gRPC status. Has no stack. */
export class MeshError extends UntracedError {
  readonly reason: Reason;
  readonly remedy: string | undefined;
  readonly source: MeshErrorOptions['source'];
  readonly unprocessed: boolean;

  constructor(reason: Reason, message: string, options: MeshErrorOptions) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'MeshError';
    this.reason = reason;
    this.remedy = options.remedy;
    this.source = options.source;
    this.unprocessed = options.unprocessed ?? false;
  }
}

/** Wrong configuration or usage: the command prints `message`, says the remedy, and exits with 2. */
export class ConfigurationError extends Error {
  readonly remedy: string | undefined;

  constructor(message: string, options: { readonly remedy?: string; readonly cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'ConfigurationError';
    this.remedy = options.remedy;
  }
}
