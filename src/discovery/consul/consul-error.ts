export type ConsulErrorKind =
  /** No connection, or it broke. */
  | 'unreachable'
  /** No answer in time. */
  | 'timeout'
  /** An answer of more bytes than are taken. */
  | 'too_large'
  /** An HTTP status other than 2xx. */
  | 'status'
  /** An answer that is not what it has to be. */
  | 'malformed'
  /** Whoever asked has lost interest. */
  | 'aborted';

/** Why Consul did not answer as it should. The message is a whole sentence without a full stop, and names the agent. */
export class ConsulError extends Error {
  readonly kind: ConsulErrorKind;
  /** HTTP status; 0 unless `kind` is `status`. */
  readonly status: number;

  constructor(kind: ConsulErrorKind, message: string, options: { readonly status?: number; readonly cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'ConsulError';
    this.kind = kind;
    this.status = options.status ?? 0;
  }
}
