import type { DeadlineReason, GiveUpReason } from '../resilience/index.ts';
import type { Cluster } from '../upstream/index.ts';
import type { BoundRoute } from './bound-table.ts';
import type { Call } from './call.ts';
import { type LocalReply, localReply } from './replies.ts';

/** The rule of the policy files that calls of this route follow. */
export const ruleOf = ({ route }: BoundRoute): string =>
  route.location.line === 0
    ? 'the default route'
    : `route ${route.name} (${route.location.file}:${route.location.line}:${route.location.column})`;

const clusterOf = (call: Call): string => (call.cluster as Cluster).name;

export const requestTooLarge = (call: Call): LocalReply =>
  localReply(
    'message_too_large',
    `the request has more than ${call.sizes?.max.request} bytes; send less, or raise max_request_bytes of ${call.rule}`,
  );

export const responseTooLarge = (call: Call): LocalReply =>
  localReply(
    'message_too_large',
    `cluster ${clusterOf(call)}: the answer has more than ${call.sizes?.max.response} bytes; ask for less, or raise max_response_bytes of ${call.rule}`,
  );

const limitNames = {
  caller_deadline: "the caller's deadline",
  route_timeout: "the route's timeout",
  max_stream_duration: "the route's max_stream_duration",
} as const satisfies Record<DeadlineReason, string>;

/** Says where the call was when its time was over: to be asked while its attempt goes on. */
export const deadlinePassed = (call: Call): LocalReply => {
  const { attempt, deadlineReason: reason } = call;
  const afterMs = Math.round(call.endsAtMs - call.startMs);
  const attempts = attempt === undefined ? '' : ` in attempt ${call.attempts}`;
  const awaited = attempt?.stream === undefined ? attempt?.endpoint : undefined;
  const waited = awaited === undefined ? '' : `, waiting for a connection to ${awaited.key} that takes calls`;
  const field = reason === 'route_timeout' ? 'timeout' : 'max_stream_duration';
  const remedy = reason === 'caller_deadline' ? 'give the call more time' : `raise ${field} of ${call.rule}`;
  return localReply(reason, `${limitNames[reason]} of ${afterMs} ms passed${attempts} to cluster ${clusterOf(call)}${waited}; ${remedy}`);
};

export const silent = (call: Call, idleMs: number): LocalReply =>
  localReply('idle_timeout', `nothing was sent or received for ${idleMs} ms; raise idle_timeout of ${call.rule}`);

export const slowServer = (call: Call, endpoint: string): LocalReply =>
  localReply(
    'flush_timeout',
    `cluster ${clusterOf(call)}: ${endpoint} took less than 1 KiB/s of the request for 30 s while the memory for waiting bytes was short; read the request, or answer without it`,
  );

/** Stands behind what failed: how often it was tried, and why not again. */
export const whyGivenUp = (call: Call, why: GiveUpReason): string => {
  const tried = call.attempts === 1 ? '' : `; tried ${call.attempts} times`;
  switch (why) {
    case 'throttled':
      return `${tried}; not tried again: retryThrottling of ${call.rule} has no tokens left`;
    case 'overflow':
      return `${tried}; not tried again: the retry budget of cluster ${clusterOf(call)} is used up`;
    case 'circuit_open':
      return `${tried}; not tried again: Circuit breaker OPEN`;
    case 'retries_exhausted':
      return `${tried}; num_retries of ${call.rule} is used up`;
    case 'pushback':
      return `${tried}; not tried again: the server asked for it (grpc-retry-pushback-ms)`;
    case 'deadline':
      return `${tried}; no time is left to try again`;
    case 'max_elapsed':
      return `${tried}; not tried again: max_elapsed of ${call.rule} has passed`;
    case 'committed':
      return `${tried}; not tried again: the answer had begun, or the request is larger than per_request_buffer_limit_bytes`;
    case 'not_retriable':
      return `${tried}; not tried again: ${call.retry === undefined ? 'no retry_policy for this route' : 'retry_on does not name this failure'}`;
  }
};
