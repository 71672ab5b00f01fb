/**
 * Which of a call's time limits ends it. They are compared once, when the call begins; from there on there is one instant on the
 * monotonic clock, and each attempt gets what remains until then.
 */
export const noDeadline = Number.POSITIVE_INFINITY;

export type DeadlineReason = 'caller_deadline' | 'route_timeout' | 'max_stream_duration';

/**
 * The instant at which the call ends: the smaller of what the caller gave (`callerTimeoutMs`, from `grpc-timeout`, infinite where
 * it is absent), the route's `timeout`, and its `max_stream_duration` (0: none). `noDeadline` where there is none of them.
 */
export const callDueMs = (startMs: number, callerTimeoutMs: number, routeTimeoutMs: number, maxStreamDurationMs = 0): number =>
  startMs +
  Math.min(callerTimeoutMs, routeTimeoutMs > 0 ? routeTimeoutMs : noDeadline, maxStreamDurationMs > 0 ? maxStreamDurationMs : noDeadline);

/**
 * Whose limit that is. On a tie the caller's: its own deadline is no failure of the upstream, and must not open a breaker; nor is a
 * stream that lasts as long as a stream may, so on a tie of the other two it is the route's timeout.
 */
export const deadlineReason = (callerTimeoutMs: number, routeTimeoutMs: number, maxStreamDurationMs = 0): DeadlineReason => {
  const routeMs = routeTimeoutMs > 0 ? routeTimeoutMs : noDeadline;
  if (maxStreamDurationMs > 0 && maxStreamDurationMs < callerTimeoutMs && maxStreamDurationMs < routeMs) return 'max_stream_duration';
  return routeMs < callerTimeoutMs ? 'route_timeout' : 'caller_deadline';
};

/** The instant at which an attempt ends, which begins now. `perTryTimeoutMs` 0: none. */
export const attemptDueMs = (nowMs: number, dueMs: number, perTryTimeoutMs: number): number =>
  perTryTimeoutMs > 0 ? Math.min(dueMs, nowMs + perTryTimeoutMs) : dueMs;

/** What is left, in milliseconds; at or below 0 the call fails here, and nothing is sent. */
export const remainingMs = (dueMs: number, nowMs: number): number => dueMs - nowMs;
