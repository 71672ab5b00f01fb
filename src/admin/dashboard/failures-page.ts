import { isoTime } from '../durations.ts';
import { fateNotes } from './fate-notes.ts';
import type { FailedCall, RecentFailures } from './recent-failures.ts';

const failureJson = ({ id: _id, atMs, direction, fate, ...call }: FailedCall) => ({
  at: isoTime(atMs),
  direction,
  fate,
  grpc_status: call.grpcStatus,
  duration_ms: call.durationMs,
  path: call.path,
  authority: call.authority,
  attempts: call.attempts,
  ...(call.route !== undefined && { route: call.route }),
  ...(call.location !== undefined && { location: call.location }),
  ...(call.cluster !== undefined && { cluster: call.cluster }),
  ...(call.endpoint !== undefined && { endpoint: call.endpoint }),
  ...(call.message !== undefined && { message: call.message }),
  ...(call.traceId !== undefined && { trace_id: call.traceId }),
  meaning: fateNotes[fate].meaning,
  remedy: fateNotes[fate].remedy,
});

/** `/failures?format=json`. */
export const failuresJson = ({ calls, total }: Pick<RecentFailures, 'calls' | 'total'>) => ({ total, failures: calls.map(failureJson) });

/** Control characters would let a path of the network write lines of its own, or steer a terminal. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out
const printable = (text: string): string => text.replaceAll(/[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g, '?');

/** `/failures`: one line for each call, newest first. */
export const failuresText = ({ calls, total }: Pick<RecentFailures, 'calls' | 'total'>): string => {
  if (total === 0) return 'no call has failed since the start\n';
  const lines = calls.map(({ atMs, direction, fate, durationMs, path, cluster, endpoint, message, traceId }) =>
    printable(
      [
        isoTime(atMs),
        direction,
        fate,
        `${durationMs}ms`,
        path === '' ? '-' : path,
        `${cluster ?? '-'}${endpoint === undefined ? '' : ` at ${endpoint}`}`,
        ...(traceId === undefined ? [] : [`trace ${traceId}`]),
        message ?? fateNotes[fate].meaning,
      ].join('  '),
    ),
  );
  return `${lines.join('\n')}\n${calls.length} of ${total} failed calls\n`;
};
