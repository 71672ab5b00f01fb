import type http2 from 'node:http2';
import {
  answerTrailers,
  answerTrailersOnly,
  beginAnswer,
  endAnswer,
  type Handler,
  hold,
  type ReceivedCall,
  resetWith,
} from './upstream.ts';

/**
 * What becomes of a call, by how its attempts fail, by its policy and by how it streams: written down from gRFC A6, from Envoy's
 * documentation of `x-envoy-retry-on` and from PROTOCOL-HTTP2, and not from the code that is tested.
 */

export const modes = ['unary', 'client', 'server', 'bidi'] as const;
export type Mode = (typeof modes)[number];

/** Whether the caller has ended its request when the failure comes. */
export const requestEnds = (mode: Mode): boolean => mode === 'unary' || mode === 'server';

export interface FailureKind {
  readonly name: string;
  readonly handler: Handler;
  readonly status: number;
  /** `x-outrider-reason`; `undefined` where the service's own answer reaches the caller. */
  readonly reason: string | undefined;
  /** Words of `retry_on` of which one has to be written. */
  readonly words: readonly string[];
  /** What the caller has been told by then: nothing, that an answer begins, or a message. */
  readonly told: 'nothing' | 'headers' | 'message';
  /** The server provably never processed it. */
  readonly unprocessed?: boolean;
  /** Milliseconds, or -1. */
  readonly pushback?: number;
  /** It fails only where there is a per_try_timeout. */
  readonly late?: boolean;
}

export interface MatrixPolicy {
  readonly name: string;
  /** `undefined`: nobody wrote a policy. */
  readonly words: readonly string[] | undefined;
  readonly numRetries: number;
  readonly idempotent: boolean;
  readonly perTryTimeoutMs: number;
}

export interface Expected {
  readonly attempts: number;
  readonly status: number;
  readonly reason: string | undefined;
  /** Between attempts, in milliseconds. */
  readonly delaysMs: readonly number[];
}

const wordOfStatus: Readonly<Record<number, string>> = {
  1: 'cancelled',
  4: 'deadline-exceeded',
  8: 'resource-exhausted',
  13: 'internal',
  14: 'unavailable',
};

const wordsOf = (status: number): readonly string[] => {
  const word = wordOfStatus[status];
  return word === undefined ? [] : [word];
};

const answered = (status: number): readonly FailureKind[] => [
  {
    name: `status ${status} in headers`,
    handler: (call) => answerTrailersOnly(call, status),
    status,
    reason: undefined,
    words: wordsOf(status),
    told: 'nothing',
  },
  {
    name: `status ${status} in trailers`,
    handler: (call) => answerTrailers(call, status),
    status,
    reason: undefined,
    words: wordsOf(status),
    told: 'headers',
  },
  {
    name: `status ${status} after a message`,
    handler: (call) => {
      beginAnswer(call, 'part');
      endAnswer(call, status);
    },
    status,
    reason: undefined,
    words: wordsOf(status),
    told: 'message',
  },
];

/** RFC 9113 error codes, and the status that gRPC gives them. */
const resetCodes = [
  { code: 0, status: 13 },
  { code: 2, status: 13 },
  { code: 7, status: 14 },
  { code: 8, status: 1 },
  { code: 11, status: 8 },
  { code: 12, status: 7 },
] as const;

const noAnswer = ['reset', '5xx', 'gateway-error'];

const wasReset = ({ code, status }: (typeof resetCodes)[number]): FailureKind => ({
  name: `reset with code ${code}`,
  handler: (call) => resetWith(call, code),
  status,
  reason: 'upstream_reset',
  words: code === 7 ? [...noAnswer, 'refused-stream'] : noAnswer,
  told: 'nothing',
  ...(code === 7 ? { unprocessed: true } : {}),
});

const html = ({ stream }: ReceivedCall, status: number, headers: http2.OutgoingHttpHeaders = {}): void =>
  stream.respond({ ':status': status, 'content-type': 'text/html', ...headers }, { endStream: true });

const http = (httpStatus: number, status: number, words: readonly string[]): FailureKind => ({
  name: `HTTP ${httpStatus}`,
  handler: (call) => html(call, httpStatus),
  status,
  reason: 'missing_status',
  words,
  told: 'nothing',
});

const withHeader = (name: string, status: number, headers: http2.OutgoingHttpHeaders, more: Partial<FailureKind>): FailureKind => ({
  name,
  handler: (call) => answerTrailersOnly(call, status, headers),
  status,
  reason: undefined,
  words: wordsOf(status),
  told: 'nothing',
  ...more,
});

/** The code of `retriable_status_codes` and the header of `retriable_headers` in every policy of the matrix. */
export const retriableStatusCode = 451;
export const retriableHeader = 'x-again';

export const failureKinds: readonly FailureKind[] = [
  ...[1, 2, 4, 5, 8, 10, 13, 14, 16].flatMap(answered),
  ...resetCodes.map(wasReset),
  http(500, 2, ['5xx']),
  http(502, 14, ['5xx', 'gateway-error']),
  http(503, 14, ['5xx', 'gateway-error']),
  http(504, 14, ['5xx', 'gateway-error']),
  http(409, 2, ['retriable-4xx']),
  http(429, 14, []),
  http(404, 12, []),
  http(retriableStatusCode, 2, ['retriable-status-codes']),
  withHeader('a retriable header', 5, { [retriableHeader]: '1' }, { words: ['retriable-headers'] }),
  withHeader('a rate limit', 14, { 'x-envoy-ratelimited': 'true' }, { words: ['envoy-ratelimited'] }),
  withHeader('pushback of 40 ms', 14, { 'grpc-retry-pushback-ms': '40' }, { pushback: 40 }),
  withHeader('pushback of 0 ms', 14, { 'grpc-retry-pushback-ms': '0' }, { pushback: 0 }),
  withHeader('pushback -1', 14, { 'grpc-retry-pushback-ms': '-1' }, { pushback: -1 }),
  withHeader('pushback that is no number', 14, { 'grpc-retry-pushback-ms': '1s' }, { pushback: -1 }),
  {
    name: 'silence',
    handler: hold,
    status: 4,
    reason: 'per_try_timeout',
    words: [...noAnswer, 'deadline-exceeded'],
    told: 'nothing',
    late: true,
  },
];

const everyWord = [
  '5xx',
  'gateway-error',
  'reset',
  'reset-before-request',
  'connect-failure',
  'refused-stream',
  'retriable-4xx',
  'retriable-status-codes',
  'retriable-headers',
  'envoy-ratelimited',
  'cancelled',
  'deadline-exceeded',
  'internal',
  'resource-exhausted',
  'unavailable',
];

const policy = (name: string, words: readonly string[] | undefined, more: Partial<MatrixPolicy> = {}): MatrixPolicy => ({
  name,
  words,
  numRetries: 2,
  idempotent: true,
  perTryTimeoutMs: 0,
  ...more,
});

export const matrixPolicies: readonly MatrixPolicy[] = [
  policy('none', undefined),
  ...everyWord.map((word) => policy(word, [word])),
  policy('all', everyWord, { numRetries: 3 }),
  policy('all-once', everyWord, { numRetries: 1 }),
  policy('all-never', everyWord, { numRetries: 0 }),
  policy('all-not-idempotent', everyWord, { idempotent: false }),
  policy('unavailable-not-idempotent', ['unavailable'], { idempotent: false }),
  policy('refused-not-idempotent', ['refused-stream'], { idempotent: false }),
  policy('late', ['deadline-exceeded'], { perTryTimeoutMs: 100 }),
  policy('late-reset', ['reset'], { perTryTimeoutMs: 100 }),
  policy('late-unavailable', ['unavailable'], { perTryTimeoutMs: 100 }),
];

/** Full jitter with a random number of 0.5: half of 20, 40, 40 ms. */
export const backOff = { baseMs: 20, maxMs: 40 };
const backOffMs = (retry: number): number => Math.min(backOff.baseMs * 2 ** retry, backOff.maxMs) / 2;

/** `undefined`: nothing happens, for ever. */
export const expectedOf = (kind: FailureKind, given: MatrixPolicy, mode: Mode): Expected | undefined => {
  if (kind.late === true && given.perTryTimeoutMs === 0) return undefined;
  const { status, reason } = kind;
  // Headers are held back only where a policy could use that, and the request has ended.
  const committed = kind.told === 'message' || (kind.told === 'headers' && (given.words === undefined || !requestEnds(mode)));
  if (committed) return { attempts: 1, status, reason, delaysMs: [] };
  const delaysMs: number[] = [];
  if (kind.unprocessed === true) delaysMs.push(0);
  const named = given.words !== undefined && kind.words.some((word) => given.words?.includes(word) === true);
  const allowed = named && kind.pushback !== -1 && (given.idempotent || kind.unprocessed === true);
  // An attempt that is late has spent its time before the wait begins.
  const spentMs = kind.late === true ? given.perTryTimeoutMs : 0;
  if (allowed) for (let retry = 0; retry < given.numRetries; retry++) delaysMs.push(spentMs + (kind.pushback ?? backOffMs(retry)));
  return { attempts: 1 + delaysMs.length, status, reason, delaysMs };
};
