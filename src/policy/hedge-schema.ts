import { percentShape } from './fractional-percent.ts';
import { field, group } from './group.ts';
import { homeOf } from './homes.ts';
import { count, duration, flag, list, placed } from './shape.ts';
import { statusShape } from './status-shape.ts';

/** Envoy's `HedgePolicy`, and beside it what gRPC's `hedgingPolicy` has (gRFC A6). */
export const hedgePolicyShape = group(
  'hedge_policy',
  'a group such as { max_attempts: 3, hedging_delay: 50ms }',
  {
    initial_requests: field(placed(count(1, 5)), 'Attempts that begin at once; 1 where left out'),
    additional_request_chance: field(percentShape, 'How often one more attempt begins at once; never where left out'),
    hedge_on_per_try_timeout: field(
      placed(flag),
      'At per_try_timeout another attempt begins beside the one that is late; num_retries is the limit',
    ),
    max_attempts: field(count(2, 5), 'Attempts in all, the first one included; those that begin at once where left out'),
    hedging_delay: field(duration(), 'Time from one attempt to the next; 0s: all at once; none begins by time where left out'),
    non_fatal_status_codes: field(
      list(statusShape),
      'A failure with one of these waits for the others, and the next attempt begins; what retry_policy names where left out',
    ),
  },
  homeOf,
);
