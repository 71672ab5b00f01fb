import { field, group, later, refused } from './group.ts';
import { homeOf } from './homes.ts';
import type { Problems } from './problems.ts';
import { duration, type Placed, placed } from './shape.ts';
import type { ConnectionAgePolicy } from './types.ts';

const age = placed(duration({ example: '30m' }));

/** Envoy's `HttpProtocolOptions`. */
export const commonHttpShape = group(
  'common_http_protocol_options',
  'a group such as { max_connection_duration: 30m }',
  {
    max_connection_duration: field(age, 'The same as max_connection_age'),
    idle_timeout: later('remove it: connections without calls stay'),
    max_stream_duration: refused('write max_stream_duration on routes'),
    max_headers_count: refused('remove it: a message has at most 100 header fields'),
    max_response_headers_kb: refused('remove it: headers have at most 60 KiB'),
    headers_with_underscores_action: refused('remove it: gRPC allows underscores'),
    max_requests_per_connection: refused('write max_connection_age'),
  },
  homeOf,
);

const ageDoc = 'How old a connection becomes, 10 % more or less; it is replaced without harm to calls; any age where left out, or 0s';

export const clusterAgeFields = {
  max_connection_age: field(age, ageDoc),
  common_http_protocol_options: field(commonHttpShape, "Envoy's place for max_connection_duration"),
  max_connection_age_grace: refused('remove it: calls on a connection that was replaced go on until they end'),
} as const;

export const listenerAgeFields = {
  max_connection_age: field(age, ageDoc),
  max_connection_age_grace: field(
    placed(duration({ minMs: 1, example: '10m' })),
    'How long calls may go on after that on a connection of a client, before they end with UNAVAILABLE; as long as they like where left out',
  ),
  common_http_protocol_options: field(commonHttpShape, "Envoy's place for max_connection_duration"),
} as const;

/** What of a group says how old connections become. */
export interface WrittenAge {
  readonly values: {
    readonly max_connection_age?: Placed<number> | undefined;
    readonly common_http_protocol_options?: ReturnType<typeof commonHttpShape.read>;
  };
}

/** @returns `undefined` where nothing is written; 0: any age. */
export const compileAge = ({ values }: WrittenAge, problems: Problems): number | undefined => {
  const own = values.max_connection_age;
  const envoys = values.common_http_protocol_options?.values.max_connection_duration;
  if (own !== undefined && envoys !== undefined) problems.error(envoys.place, 'is written beside max_connection_age', 'keep one of them');
  return (own ?? envoys)?.value;
};

export const anyAge: ConnectionAgePolicy = Object.freeze({ ageMs: 0, graceMs: Number.POSITIVE_INFINITY });

/** @param fallback what holds for what is not written. */
export const compileListenerAge = (
  ageMs: number | undefined,
  grace: Placed<number> | undefined,
  fallback: ConnectionAgePolicy,
): ConnectionAgePolicy => Object.freeze({ ageMs: ageMs ?? fallback.ageMs, graceMs: grace?.value ?? fallback.graceMs });

/** A grace for connections that become any age. */
export const warnOfIdleGrace = (grace: Placed<number> | undefined, ages: readonly ConnectionAgePolicy[], problems: Problems): void => {
  if (grace !== undefined && ages.every(({ ageMs }) => ageMs === 0))
    problems.warning(grace.place, 'has no effect without max_connection_age', 'write max_connection_age: 30m, or remove it');
};
