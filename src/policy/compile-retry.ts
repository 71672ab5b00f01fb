import { suggest } from '../core/index.ts';
import { defaultBackOff, parseRetryOn, retryOnWords } from '../resilience/index.ts';
import { compileHeaderMatcher } from './header-matcher.ts';
import { warnOfUnaskedFields } from './lint-effects.ts';
import type { Place, Problems } from './problems.ts';
import type { retryPolicyShape } from './retry-schema.ts';
import type { Read } from './shape.ts';
import type { HeaderMatcher, RateLimitedBackOff, RetryPolicy } from './types.ts';

export type RetryGroup = Read<typeof retryPolicyShape>;

const defaultRetries = 1;
const defaultMaxRateLimitedMs = 300_000;

/** A retry policy, and where its conditions are written. */
export interface CompiledRetry {
  readonly options: RetryPolicy;
  readonly place: Place;
}

export const compileRetryPolicy = (written: RetryGroup, problems: Problems): CompiledRetry => {
  const { values } = written;
  const retryOn = values.retry_on;
  const { conditions, unknown } = parseRetryOn(retryOn?.value ?? '');
  if (retryOn !== undefined) {
    for (const word of unknown) {
      const meant = word.length <= 64 ? suggest(word, Object.keys(retryOnWords)) : undefined;
      const remedy = meant === undefined ? `write words of ${Object.keys(retryOnWords).join(', ')}` : `did you mean ${meant}?`;
      problems.error(retryOn.place, `${JSON.stringify(word.slice(0, 64))} is no condition`, remedy);
    }
  }
  if (!written.wrote('retry_on'))
    problems.warning(
      written.place,
      'retries nothing: retry_on is missing',
      'write retry_on: "unavailable,reset,connect-failure,refused-stream"',
    );

  warnOfUnaskedFields(written, conditions, problems);

  const backOff = values.retry_back_off?.values;
  const baseIntervalMs = backOff?.base_interval ?? defaultBackOff.baseIntervalMs;
  const maxIntervalMs = backOff?.max_interval ?? baseIntervalMs * 10;
  if (values.retry_back_off !== undefined && maxIntervalMs < baseIntervalMs) {
    problems.error(
      values.retry_back_off.placeOf('max_interval'),
      'is shorter than base_interval',
      'write a longer max_interval, or leave it out',
    );
  }
  const { per_try_idle_timeout: perTryIdleTimeoutMs = 0 } = values;
  const rateLimited = compileRateLimited(values.rate_limited_retry_back_off);
  const options: RetryPolicy = Object.freeze({
    conditions,
    numRetries: values.num_retries ?? defaultRetries,
    perTryTimeoutMs: values.per_try_timeout ?? 0,
    baseIntervalMs,
    maxIntervalMs,
    retriableStatusCodes: Object.freeze([...(values.retriable_status_codes ?? [])]),
    ...(values.max_elapsed === undefined ? {} : { maxElapsedMs: values.max_elapsed }),
    ...(perTryIdleTimeoutMs === 0 ? {} : { perTryIdleTimeoutMs }),
    ...(values.retriable_headers === undefined ? {} : { retriableHeaders: compileMatchers(values.retriable_headers, problems) }),
    ...(values.retriable_request_headers === undefined
      ? {}
      : { retriableRequestHeaders: compileMatchers(values.retriable_request_headers, problems) }),
    ...(rateLimited === undefined ? {} : { rateLimitedBackOff: rateLimited }),
  });
  return { options, place: retryOn?.place ?? written.place };
};

/** Limits of one attempt that the limit of the whole call leaves no room for. */
export const warnOfLongTries = (
  { options }: CompiledRetry,
  written: RetryGroup | undefined,
  timeoutMs: number,
  problems: Problems,
): void => {
  if (written === undefined || timeoutMs <= 0) return;
  const warnIfLonger = (key: 'per_try_timeout' | 'per_try_idle_timeout' | 'max_elapsed', ms: number | undefined): void => {
    if (ms !== undefined && ms > timeoutMs)
      problems.warning(written.placeOf(key), 'is longer than the timeout of the route, and never passes', `write a shorter ${key}`);
  };
  warnIfLonger('per_try_timeout', options.perTryTimeoutMs);
  warnIfLonger('per_try_idle_timeout', options.perTryIdleTimeoutMs);
  warnIfLonger('max_elapsed', options.maxElapsedMs);
};

const compileMatchers = (written: NonNullable<RetryGroup['values']['retriable_headers']>, problems: Problems): readonly HeaderMatcher[] =>
  Object.freeze(written.flatMap((header) => compileHeaderMatcher(header, problems)?.matcher ?? []));

const compileRateLimited = (written: RetryGroup['values']['rate_limited_retry_back_off']): RateLimitedBackOff | undefined => {
  if (written === undefined) return undefined;
  const resetHeaders = (written.values.reset_headers ?? []).map(({ values }) => ({
    name: (values.name ?? '').toLowerCase(),
    unixTimestamp: values.format === 'UNIX_TIMESTAMP',
  }));
  return Object.freeze({
    resetHeaders: Object.freeze(resetHeaders),
    maxIntervalMs: written.values.max_interval ?? defaultMaxRateLimitedMs,
  });
};
