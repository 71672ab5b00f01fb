/**
 * Why nothing was heard of an address. `refused`: the machine answers and nobody listens; `out_of_reach`: from here nobody can tell, since the
 * network, a firewall or a name stands between; `broken`: there was a connection, and it ended or spoke something else.
 */
export interface NetworkFailure {
  readonly kind: 'refused' | 'out_of_reach' | 'broken';
  readonly why: string;
}

/** A question that got no answer. */
export class UnansweredError extends Error {
  readonly failure: NetworkFailure;

  constructor(failure: NetworkFailure, cause?: unknown) {
    super(failure.why, { cause });
    this.name = 'UnansweredError';
    this.failure = failure;
  }
}

const unroutable = new Set(['EHOSTUNREACH', 'ENETUNREACH', 'EHOSTDOWN', 'ENETDOWN', 'EADDRNOTAVAIL', 'EACCES', 'EPERM']);

export const timedOut = (timeoutMs: number): NetworkFailure => ({ kind: 'out_of_reach', why: `no answer within ${timeoutMs / 1_000} s` });

export const networkFailureOf = (error: unknown): NetworkFailure => {
  if (error instanceof UnansweredError) return error.failure;
  const { code = '', message = '', errors } = error as NodeJS.ErrnoException & { readonly errors?: readonly unknown[] };
  // A name with several addresses: what the last of them said.
  if (errors !== undefined && errors.length > 0 && code === '') return networkFailureOf(errors.at(-1));
  if (code === 'ECONNREFUSED' || code === 'ENOENT') return { kind: 'refused', why: 'nobody listens there' };
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') return { kind: 'out_of_reach', why: 'the name is unknown here' };
  if (code === 'ETIMEDOUT') return { kind: 'out_of_reach', why: 'no answer' };
  if (unroutable.has(code)) return { kind: 'out_of_reach', why: `there is no way from here (${code})` };
  if (code.startsWith('HPE_')) return { kind: 'broken', why: 'what listens there does not speak HTTP' };
  if (code === 'ECONNRESET' || code === 'EPIPE') return { kind: 'broken', why: 'the connection was closed' };
  return { kind: 'broken', why: message || code || 'the connection failed' };
};
