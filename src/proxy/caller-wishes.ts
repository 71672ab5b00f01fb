import { FieldFlag, type HeaderBlock, Token } from '../http2/index.ts';
import type { RetryPolicy } from '../policy/index.ts';
import { defaultBackOff, parseRetryOn } from '../resilience/index.ts';

/** What our own service asks of its calls by Envoy's request headers. Nobody else may: they are removed before anything is sent. */
export interface CallerWishes {
  /** `x-envoy-retry-on`, `x-envoy-retry-grpc-on`: added to the conditions of the route. */
  readonly conditions: number;
  /** `x-envoy-max-retries`, in the place of `num_retries`. */
  readonly numRetries: number | undefined;
  /** `x-envoy-upstream-rq-timeout-ms`, in the place of `timeout`; 0: none. */
  readonly timeoutMs: number | undefined;
  /** `x-envoy-upstream-rq-per-try-timeout-ms`, in the place of `per_try_timeout`; 0: none. */
  readonly perTryTimeoutMs: number | undefined;
}

const letterX = 0x78;
const letterE = 0x65;
const dash = 0x2d;
const mostRetries = 4_294_967_295;

/** Whether there is any `x-e...` among the headers: hardly ever, and then they are worth a closer look. */
const mayWish = (block: HeaderBlock): boolean => {
  if (block.indexOf(Token.xEnvoyRetryOn) >= 0 || block.indexOf(Token.xEnvoyMaxRetries) >= 0) return true;
  if (block.indexOf(Token.xEnvoyUpstreamRqTimeoutMs) >= 0) return true;
  const { bytes, nameStart, tokens } = block;
  for (let i = 0; i < block.count; i++) {
    if (tokens[i] !== Token.unknown || ((block.flags[i] as number) & FieldFlag.dropped) !== 0) continue;
    const start = nameStart[i] as number;
    if (bytes[start] === letterX && bytes[start + 1] === dash && bytes[start + 2] === letterE) return true;
  }
  return false;
};

/** As Envoy: a header that makes no sense is as if it were not there. */
const numberIn = (block: HeaderBlock, name: string): number | undefined => {
  const at = block.find(name);
  const text = at < 0 ? '' : block.value(at);
  return /^\d{1,10}$/.test(text) ? Number(text) : undefined;
};

const conditionsIn = (block: HeaderBlock, name: string): number => {
  const at = block.find(name);
  return at < 0 ? 0 : parseRetryOn(block.value(at)).conditions;
};

/** @returns `undefined` where there are none, which is the rule and costs next to nothing. */
export const readCallerWishes = (block: HeaderBlock): CallerWishes | undefined => {
  if (!mayWish(block)) return undefined;
  const wishes: CallerWishes = {
    conditions: conditionsIn(block, 'x-envoy-retry-on') | conditionsIn(block, 'x-envoy-retry-grpc-on'),
    numRetries: numberIn(block, 'x-envoy-max-retries'),
    timeoutMs: numberIn(block, 'x-envoy-upstream-rq-timeout-ms'),
    perTryTimeoutMs: numberIn(block, 'x-envoy-upstream-rq-per-try-timeout-ms'),
  };
  const { conditions, numRetries, perTryTimeoutMs, timeoutMs } = wishes;
  return conditions === 0 && numRetries === undefined && perTryTimeoutMs === undefined && timeoutMs === undefined ? undefined : wishes;
};

/** The route's retry policy as the caller wants it. Whoever wishes for conditions alone gets one retry, as in Envoy. */
export const retryAsWished = (written: RetryPolicy | undefined, wishes: CallerWishes, timeoutMs: number): RetryPolicy | undefined => {
  const conditions = (written?.conditions ?? 0) | wishes.conditions;
  const perTryTimeoutMs = wishes.perTryTimeoutMs ?? written?.perTryTimeoutMs ?? 0;
  if (conditions === 0 && perTryTimeoutMs === 0) return written;
  return {
    ...defaultBackOff,
    retriableStatusCodes: [],
    ...written,
    conditions,
    numRetries: Math.min(wishes.numRetries ?? written?.numRetries ?? 1, mostRetries),
    // As Envoy: one that the call's own limit makes pointless is none.
    perTryTimeoutMs: timeoutMs > 0 && perTryTimeoutMs >= timeoutMs ? 0 : perTryTimeoutMs,
  };
};
