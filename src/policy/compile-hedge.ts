import { GrpcStatus } from '../grpc/index.ts';
import { type HedgePolicyOptions, statusBits } from '../resilience/index.ts';
import { isMoreThanAll, shareOf } from './fractional-percent.ts';
import type { hedgePolicyShape } from './hedge-schema.ts';
import type { Problems } from './problems.ts';
import type { Placed, Read } from './shape.ts';
import type { RetryPolicy } from './types.ts';

type HedgeGroup = Read<typeof hedgePolicyShape>;

/** @returns `undefined` where nothing is hedged. */
export const compileHedge = (
  written: Placed<HedgeGroup> | undefined,
  retry: RetryPolicy | undefined,
  idempotent: boolean | undefined,
  problems: Problems,
): HedgePolicyOptions | undefined => {
  if (written === undefined) return undefined;
  const { place, value: group } = written;
  const { values } = group;
  if (idempotent !== true) {
    problems.error(
      place,
      'sends a call several times, and the route does not say that its calls may be processed twice',
      'write idempotent: true on the route, or remove hedge_policy',
    );
  }
  const initialRequests = values.initial_requests?.value ?? 1;
  const additionalRequestChance = shareOf(values.additional_request_chance, 0);
  if (isMoreThanAll(values.additional_request_chance)) {
    problems.error(group.placeOf('additional_request_chance'), 'is more than always', 'write a numerator up to the denominator');
  }
  const onPerTryTimeout = values.hedge_on_per_try_timeout?.value ?? false;
  if (onPerTryTimeout && (retry === undefined || retry.perTryTimeoutMs === 0 || retry.numRetries === 0)) {
    problems.warning(
      group.placeOf('hedge_on_per_try_timeout'),
      'has no effect without a retry_policy that has per_try_timeout and num_retries',
      'write them',
    );
  }
  const byTimeouts = onPerTryTimeout ? 1 + (retry?.numRetries ?? 0) : 1;
  const atOnce = initialRequests + (additionalRequestChance > 0 ? 1 : 0);
  const maxAttempts = values.max_attempts ?? Math.max(atOnce, byTimeouts);
  if (maxAttempts < initialRequests) {
    problems.error(
      group.placeOf('max_attempts'),
      'is less than initial_requests',
      'write a larger max_attempts, or fewer initial_requests',
    );
  }
  if (values.max_attempts !== undefined && values.hedging_delay === undefined && !onPerTryTimeout && atOnce === 1) {
    problems.warning(group.placeOf('max_attempts'), 'has no effect: nothing says when attempts begin', 'write hedging_delay');
  }
  if (values.hedging_delay !== undefined && values.max_attempts === undefined) {
    problems.error(group.placeOf('hedging_delay'), 'has no max_attempts beside it', 'write max_attempts: 2');
  }
  if (maxAttempts === 1 && values.hedge_on_per_try_timeout === undefined)
    problems.warning(place, 'hedges nothing', 'write max_attempts and hedging_delay, or hedge_on_per_try_timeout: true');
  const fatal = values.non_fatal_status_codes;
  return Object.freeze({
    initialRequests,
    additionalRequestChance,
    maxAttempts,
    hedgingDelayMs: values.hedging_delay ?? Number.POSITIVE_INFINITY,
    nonFatalStatuses: fatal === undefined ? undefined : statusBits(fatal.map((name) => GrpcStatus[name])),
    onPerTryTimeout,
  });
};
