import { conditionsAfterSending, RetryOn } from '../resilience/index.ts';
import type { RouteGroup } from './compile-routes.ts';
import type { Problems } from './problems.ts';
import type { Direction, RetryPolicy, Route } from './types.ts';

type ActionGroup = NonNullable<RouteGroup['values']['route']>;
type RetryGroup = NonNullable<ActionGroup['values']['retry_policy']>;

/** Conditions that try an attempt again which took too long. */
const seesSlowness = RetryOn.RESET | RetryOn.HTTP_5XX | RetryOn.GATEWAY_ERROR | RetryOn.DEADLINE_EXCEEDED | RetryOn.RESET_BEFORE_REQUEST;
/** Conditions that look at answers. */
const seesAnswers = conditionsAfterSending & ~RetryOn.RESET;

/** Fields of a retry policy that its conditions never ask for. */
export const warnOfUnaskedFields = ({ placeOf, values, wrote }: RetryGroup, conditions: number, problems: Problems): void => {
  if (conditions === 0) return;
  const warnUnless = (key: keyof RetryGroup['values'] & string, wanted: number, words: string): void => {
    if (wrote(key) && values[key] !== undefined && (conditions & wanted) === 0)
      problems.warning(placeOf(key), `has no effect: retry_on does not say ${words}`, `add ${words} to retry_on, or remove it`);
  };
  warnUnless('retriable_status_codes', RetryOn.RETRIABLE_STATUS_CODES, 'retriable-status-codes');
  warnUnless('retriable_headers', RetryOn.RETRIABLE_HEADERS, 'retriable-headers');
  warnUnless('rate_limited_retry_back_off', seesAnswers, 'resource-exhausted or envoy-ratelimited');
};

/** Fields of a route that can never act beside its others. */
export const warnOfIdleFields = (
  action: ActionGroup | undefined,
  route: Route,
  inherited: RetryPolicy | undefined,
  problems: Problems,
): void => {
  if (action === undefined) return;
  warnOfLongWaits(action, route, inherited, problems);
  const { values } = action;
  const retry = values.retry_policy;
  if (retry !== undefined && route.retry !== undefined) warnOfRetryFields(retry, route.retry, route, problems);
  if (route.direction === 'inbound') {
    for (const key of ['hash_policy', 'metadata_match'] as const) {
      if (action.wrote(key))
        problems.warning(action.placeOf(key), 'has no effect: inbound calls go to the local service', 'write it on routes of the callers');
    }
  }
  warnOfFaultElsewhere(action, route, problems);
};

/** Limits that a shorter one leaves no room for. */
const warnOfLongWaits = (action: ActionGroup, route: Route, inherited: RetryPolicy | undefined, problems: Problems): void => {
  const { hedge, idleTimeoutMs, maxStreamDurationMs, timeoutMs } = route;
  const within = (limitMs: number, ms: number): boolean => limitMs > 0 && ms >= limitMs && Number.isFinite(ms);
  if (idleTimeoutMs > 0) {
    const limit = within(timeoutMs, idleTimeoutMs)
      ? 'timeout'
      : within(maxStreamDurationMs, idleTimeoutMs)
        ? 'max_stream_duration'
        : undefined;
    if (limit !== undefined)
      problems.warning(
        action.placeOf('idle_timeout'),
        `never passes: ${limit} is not longer`,
        'write a shorter idle_timeout, or remove it',
      );
  }
  if (hedge !== undefined && within(timeoutMs, hedge.hedgingDelayMs)) {
    const { place, value } = action.values.hedge_policy ?? { place: action.place, value: undefined };
    problems.warning(
      value?.placeOf('hedging_delay') ?? place,
      'never passes: the timeout of the route is not longer',
      'write a shorter hedging_delay',
    );
  }
  if (action.values.retry_policy === undefined && inherited !== undefined && timeoutMs > 0 && inherited.perTryTimeoutMs > timeoutMs) {
    problems.warning(
      action.placeOf('timeout'),
      'is shorter than per_try_timeout of the retry_policy that it inherits, which never passes',
      'write a retry_policy on the route, or a longer timeout',
    );
  }
};

const warnOfRetryFields = (written: RetryGroup, retry: RetryPolicy, { bufferLimitBytes, hedge }: Route, problems: Problems): void => {
  const { conditions, numRetries, perTryTimeoutMs } = retry;
  const lateOnesGoOn = hedge?.onPerTryTimeout ?? false;
  if (perTryTimeoutMs > 0 && numRetries > 0 && conditions !== 0 && (conditions & seesSlowness) === 0 && !lateOnesGoOn) {
    problems.warning(
      written.placeOf('per_try_timeout'),
      'ends the call: no condition of retry_on tries again what took too long',
      'add deadline-exceeded or reset to retry_on, or write timeout in its place',
    );
  }
  if (bufferLimitBytes === 0 && numRetries > 0 && (conditions & conditionsAfterSending) !== 0) {
    problems.warning(
      written.place,
      'retries nothing that was sent: per_request_buffer_limit_bytes is 0',
      'write a larger per_request_buffer_limit_bytes, or only conditions such as connect-failure',
    );
  }
};

/** A fault for a cluster that the route never calls. */
const warnOfFaultElsewhere = (action: ActionGroup, { cluster, direction, traffic }: Route, problems: Problems): void => {
  const wanted = traffic?.fault?.upstreamCluster;
  const fault = action.values.fault;
  if (wanted === undefined || fault === undefined) return;
  const called: readonly string[] = traffic?.weightedClusters?.clusters.map(({ name }) => name) ?? [cluster];
  if (called.includes(wanted)) return;
  const direct: Record<Direction, string> = {
    inbound: 'inbound calls go to the local service',
    outbound: `the route calls ${called.map((name) => `"${name}"`).join(', ')}`,
  };
  problems.warning(fault.placeOf('upstream_cluster'), `injects nothing: ${direct[direction]}`, 'remove it, or name a cluster of the route');
};
