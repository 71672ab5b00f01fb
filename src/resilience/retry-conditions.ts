import { GrpcStatus, statusFromHttp, statusFromReset } from '../grpc/index.ts';
import type { BackOffOptions } from './back-off.ts';

/** Conditions of `retry_on`, as bits that are added up. Words and meaning are Envoy's (`config_http_filters_router_x-envoy-retry-on`). */
export const RetryOn = {
  HTTP_5XX: 1 << 0,
  GATEWAY_ERROR: 1 << 1,
  RESET: 1 << 2,
  RESET_BEFORE_REQUEST: 1 << 3,
  CONNECT_FAILURE: 1 << 4,
  REFUSED_STREAM: 1 << 5,
  RETRIABLE_4XX: 1 << 6,
  RETRIABLE_STATUS_CODES: 1 << 7,
  RETRIABLE_HEADERS: 1 << 8,
  ENVOY_RATELIMITED: 1 << 9,
  CANCELLED: 1 << 10,
  DEADLINE_EXCEEDED: 1 << 11,
  INTERNAL: 1 << 12,
  RESOURCE_EXHAUSTED: 1 << 13,
  UNAVAILABLE: 1 << 14,
} as const;

/** The words of `retry_on` with their bits. */
export const retryOnWords: Readonly<Record<string, number>> = {
  '5xx': RetryOn.HTTP_5XX,
  'gateway-error': RetryOn.GATEWAY_ERROR,
  reset: RetryOn.RESET,
  'reset-before-request': RetryOn.RESET_BEFORE_REQUEST,
  'connect-failure': RetryOn.CONNECT_FAILURE,
  'refused-stream': RetryOn.REFUSED_STREAM,
  'retriable-4xx': RetryOn.RETRIABLE_4XX,
  'retriable-status-codes': RetryOn.RETRIABLE_STATUS_CODES,
  'retriable-headers': RetryOn.RETRIABLE_HEADERS,
  'envoy-ratelimited': RetryOn.ENVOY_RATELIMITED,
  cancelled: RetryOn.CANCELLED,
  'deadline-exceeded': RetryOn.DEADLINE_EXCEEDED,
  internal: RetryOn.INTERNAL,
  'resource-exhausted': RetryOn.RESOURCE_EXHAUSTED,
  unavailable: RetryOn.UNAVAILABLE,
};

/** Conditions under which the server may have processed the call already: beside these `idempotent` has to be said. */
export const conditionsAfterSending =
  RetryOn.HTTP_5XX |
  RetryOn.GATEWAY_ERROR |
  RetryOn.RESET |
  RetryOn.RETRIABLE_4XX |
  RetryOn.RETRIABLE_STATUS_CODES |
  RetryOn.RETRIABLE_HEADERS |
  RetryOn.ENVOY_RATELIMITED |
  RetryOn.CANCELLED |
  RetryOn.DEADLINE_EXCEEDED |
  RetryOn.INTERNAL |
  RetryOn.RESOURCE_EXHAUSTED |
  RetryOn.UNAVAILABLE;

/** Of those the ones that nothing meets which was provably never processed. */
export const conditionsOnlyAfterSending =
  RetryOn.RETRIABLE_4XX |
  RetryOn.RETRIABLE_STATUS_CODES |
  RetryOn.RETRIABLE_HEADERS |
  RetryOn.ENVOY_RATELIMITED |
  RetryOn.CANCELLED |
  RetryOn.INTERNAL |
  RetryOn.RESOURCE_EXHAUSTED |
  RetryOn.UNAVAILABLE;

/** Bits of a comma-separated `retry_on`; words that are none of Envoy's are handed back for a message. Case matters, as in Envoy. */
export const parseRetryOn = (text: string): { readonly conditions: number; readonly unknown: readonly string[] } => {
  let conditions = 0;
  const unknown: string[] = [];
  for (const part of text.split(',')) {
    const word = part.trim();
    if (word === '') continue;
    const bit = Object.hasOwn(retryOnWords, word) ? retryOnWords[word] : undefined;
    if (bit === undefined) unknown.push(word);
    else conditions |= bit;
  }
  return { conditions, unknown };
};

/** The retry policy of a route. */
export interface RetryPolicyOptions extends BackOffOptions {
  /** Sum of `RetryOn` bits. */
  readonly conditions: number;
  /** Attempts after the first one. */
  readonly numRetries: number;
  /** Time limit of one attempt in milliseconds, until its response headers; 0: none. */
  readonly perTryTimeoutMs: number;
  /** HTTP statuses for `retriable-status-codes`. */
  readonly retriableStatusCodes: readonly number[];
  /** Sum of `1 << status`: gRPC statuses that are tried again beside what `conditions` name (gRFC A6 `retryableStatusCodes`). */
  readonly retriableGrpcStatuses?: number;
  /** No attempt begins later than this after the call did; none where left out. */
  readonly maxElapsedMs?: number;
}

/** How an attempt ended that did not succeed. Never built for one that did. */
export type AttemptOutcome =
  /** The service answered with a gRPC status, in trailers or Trailers-Only. `unprocessed`: its sidecar did, which could not hand the call to it. */
  | {
      readonly kind: 'grpc';
      readonly status: number;
      readonly rateLimited?: boolean;
      readonly retriableHeader?: boolean;
      readonly unprocessed?: boolean;
    }
  /** An answer without `grpc-status`. `rateLimited`: it carries `x-envoy-ratelimited`; `retriableHeader`: one of the policy's headers matched. */
  | { readonly kind: 'http'; readonly httpStatus: number; readonly rateLimited?: boolean; readonly retriableHeader?: boolean }
  /**
   * The stream ended without an answer: RST_STREAM, or its connection was lost. `unprocessed`: GOAWAY named a last stream below it.
   * `servedOthers`: that connection served calls, but goes, or takes fewer at once than it did. `requestSent`: bytes of the request have left.
   */
  | {
      readonly kind: 'reset';
      readonly code: number;
      readonly unprocessed: boolean;
      readonly servedOthers?: boolean;
      readonly requestSent: boolean;
    }
  /** No connection came about; nothing of the call has left. */
  | { readonly kind: 'connect_failure' }
  /** The attempt's own time limit passed. */
  | { readonly kind: 'per_try_timeout'; readonly requestSent: boolean }
  /** Outrider itself said no (open breaker, threshold, rate limit, a deadline of the call, the caller's cancellation): never tried again. */
  | { readonly kind: 'refused_here' };

const refusedStream = 0x7;

/** True where the server provably never processed the call: trying again is safe for any method. */
export const provablyUnprocessed = (outcome: AttemptOutcome): boolean => {
  switch (outcome.kind) {
    case 'connect_failure':
      return true;
    case 'grpc':
      return outcome.unprocessed === true;
    case 'reset':
      return outcome.unprocessed || !outcome.requestSent || outcome.code === refusedStream;
    case 'per_try_timeout':
      return !outcome.requestSent;
    default:
      return false;
  }
};

const conditionOfGrpcStatus = (status: number): number => {
  switch (status) {
    case GrpcStatus.CANCELLED:
      return RetryOn.CANCELLED;
    case GrpcStatus.DEADLINE_EXCEEDED:
      return RetryOn.DEADLINE_EXCEEDED;
    case GrpcStatus.INTERNAL:
      return RetryOn.INTERNAL;
    case GrpcStatus.RESOURCE_EXHAUSTED:
      return RetryOn.RESOURCE_EXHAUSTED;
    case GrpcStatus.UNAVAILABLE:
      return RetryOn.UNAVAILABLE;
    default:
      return 0;
  }
};

const conditionsOfHttpStatus = (httpStatus: number, retriableStatusCodes: readonly number[]): number => {
  let conditions = 0;
  if (httpStatus >= 500 && httpStatus <= 599) conditions |= RetryOn.HTTP_5XX;
  if (httpStatus >= 502 && httpStatus <= 504) conditions |= RetryOn.GATEWAY_ERROR;
  if (httpStatus === 409) conditions |= RetryOn.RETRIABLE_4XX;
  if (retriableStatusCodes.includes(httpStatus)) conditions |= RetryOn.RETRIABLE_STATUS_CODES;
  return conditions;
};

/** Every stream that ends without an answer is a reset to Envoy, and counts as the 502 to 504 that it would become. */
const conditionsOfNoAnswer = RetryOn.RESET | RetryOn.HTTP_5XX | RetryOn.GATEWAY_ERROR;

/**
 * The conditions that an outcome meets, any one of which suffices.
 *
 * Facts about Envoy (`source/common/router/retry_state_impl.cc`, `wouldRetryFromReset`; `router.cc`, `onPerTryTimeout`):
 * a per-try timeout is a reset that the proxy made itself, so that `reset`, `5xx` and `gateway-error` retry it, and
 * `reset-before-request` where nothing had been sent. No gRPC condition sees it there, since Envoy looks for a status in response
 * headers only. Here `deadline-exceeded` retries it as well: the attempt ended with that status, and whoever wrote the word beside
 * a `per_try_timeout` means it. An answer marked as rate limited is retried for `envoy-ratelimited` alone.
 */
const conditionsMet = (outcome: AttemptOutcome, retriableStatusCodes: readonly number[]): number => {
  switch (outcome.kind) {
    case 'grpc':
    case 'http': {
      if (outcome.rateLimited === true) return RetryOn.ENVOY_RATELIMITED;
      const header = outcome.retriableHeader === true ? RetryOn.RETRIABLE_HEADERS : 0;
      // A gRPC answer is HTTP 200 to the conditions that look at HTTP.
      if (outcome.kind === 'grpc')
        return header | conditionOfGrpcStatus(outcome.status) | conditionsOfHttpStatus(200, retriableStatusCodes);
      return header | conditionsOfHttpStatus(outcome.httpStatus, retriableStatusCodes);
    }
    case 'reset': {
      let conditions = conditionsOfNoAnswer;
      if (!outcome.requestSent) conditions |= RetryOn.RESET_BEFORE_REQUEST;
      if (outcome.unprocessed || outcome.code === refusedStream) conditions |= RetryOn.REFUSED_STREAM;
      return conditions;
    }
    case 'connect_failure':
      return conditionsOfNoAnswer | RetryOn.CONNECT_FAILURE | RetryOn.RESET_BEFORE_REQUEST;
    case 'per_try_timeout':
      return conditionsOfNoAnswer | RetryOn.DEADLINE_EXCEEDED | (outcome.requestSent ? 0 : RetryOn.RESET_BEFORE_REQUEST);
    case 'refused_here':
      return 0;
  }
};

/** Whether its gRPC status, also the one that stands for a reset or an answer without one, is among `statuses`. */
const hasStatus = (outcome: AttemptOutcome, statuses: number | undefined): boolean => {
  if (statuses === undefined) return false;
  const status = statusOfOutcome(outcome);
  return status >= 0 && status < 31 && (statuses & (1 << status)) !== 0;
};

const statusOfOutcome = (outcome: AttemptOutcome): number => {
  switch (outcome.kind) {
    case 'grpc':
      return outcome.status;
    case 'http':
      return statusFromHttp(outcome.httpStatus);
    case 'reset':
      return outcome.unprocessed ? GrpcStatus.UNAVAILABLE : statusFromReset(outcome.code);
    case 'connect_failure':
      return GrpcStatus.UNAVAILABLE;
    case 'per_try_timeout':
      return GrpcStatus.DEADLINE_EXCEEDED;
    case 'refused_here':
      return -1;
  }
};

/**
 * Whether an attempt that ended so may be followed by another, counted one. Without a policy: only what the server provably never
 * processed. With one: what it names, which `idempotent: false` narrows to what was provably never processed.
 */
export const isRetriable = (outcome: AttemptOutcome, policy: RetryPolicyOptions | undefined, idempotent: boolean | undefined): boolean => {
  if (policy === undefined) return provablyUnprocessed(outcome);
  const named = (conditionsMet(outcome, policy.retriableStatusCodes) & policy.conditions) !== 0;
  if (!named && !hasStatus(outcome, policy.retriableGrpcStatuses)) return false;
  return idempotent !== false || provablyUnprocessed(outcome);
};
