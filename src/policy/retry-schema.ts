import { field, group, refused, required } from './group.ts';
import { headerMatchShape } from './header-match-schema.ts';
import { homeOf } from './homes.ts';
import { count, duration, list, placed, text, word } from './shape.ts';

const rateLimitedShape = group(
  'rate_limited_retry_back_off',
  'a group with "reset_headers:"',
  {
    reset_headers: required(
      list(
        group(
          'reset_header',
          'a group such as { name: retry-after, format: SECONDS }',
          {
            name: required(text('the name of a header', { pattern: /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/ }), 'Header of the answer'),
            format: field(word(['SECONDS', 'UNIX_TIMESTAMP']), 'What its number means; SECONDS where left out'),
          },
          homeOf,
        ),
        { minItems: 1 },
      ),
      'Headers that say when the limit is over; the first one counts that an answer has',
    ),
    max_interval: field(duration({ minMs: 1, example: '300s' }), 'Longer waits are not believed; 300s where left out'),
  },
  homeOf,
);

const extensionConfig = group('typed_config', '{ "@type": ... }', { '@type': field(text('the name of a type'), 'Not looked at') }, homeOf);

export const retryPolicyShape = group(
  'retry_policy',
  'a group of retry rules',
  {
    retry_on: field(placed(text('conditions such as "unavailable,reset"')), "What is tried again, separated by commas: Envoy's words"),
    num_retries: field(count(), 'Attempts after the first one; 1 where left out'),
    per_try_timeout: field(duration(), 'Time limit of one attempt until its answer begins; none where left out'),
    per_try_idle_timeout: field(
      duration(),
      'Longest silence of one attempt, from the end of the request on, also within its answer; any where left out',
    ),
    max_elapsed: field(duration({ minMs: 1 }), 'No attempt begins later than this after the call did; no limit where left out'),
    retry_back_off: field(
      group(
        'retry_back_off',
        'a group with "base_interval:"',
        {
          base_interval: required(
            duration({ minMs: 1, example: '0.1s' }),
            'Upper bound of the first wait; it doubles with each further one',
          ),
          max_interval: field(duration({ minMs: 1, example: '1s' }), 'Upper bound of every wait; ten times base_interval where left out'),
        },
        homeOf,
      ),
      'Waits between attempts, with full jitter; 25 ms up to 250 ms where left out',
    ),
    rate_limited_retry_back_off: field(
      rateLimitedShape,
      'The wait where the answer says how long its limit lasts, in the place of retry_back_off',
    ),
    retriable_status_codes: field(list(count(100, 599)), 'HTTP statuses for the word retriable-status-codes'),
    retriable_headers: field(list(headerMatchShape), 'Headers of the answer for the word retriable-headers; one that matches is enough'),
    retriable_request_headers: field(
      list(headerMatchShape),
      'Only calls are tried again of which a request header matches; all where left out',
    ),
    retry_host_predicate: field(
      list(
        group(
          'retry_host_predicate',
          'a group with "name:"',
          {
            name: required(word(['envoy.retry_host_predicates.previous_hosts']), 'Endpoints already tried are avoided, as they always are'),
            typed_config: field(extensionConfig, 'Not looked at'),
          },
          homeOf,
        ),
      ),
      'Only previous_hosts, which always holds',
    ),
    host_selection_retry_max_attempts: field(count(1), 'Any number: an endpoint that was not tried is found at once where there is one'),
    retry_priority: refused('remove it: calls go to the next priority by themselves where one has too few endpoints'),
    retry_options_predicates: refused('remove it'),
  },
  homeOf,
);
