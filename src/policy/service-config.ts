import { GrpcStatus } from '../grpc/index.ts';
import { type HedgePolicyOptions, RetryOn, statusBits } from '../resilience/index.ts';
import { type CompiledRoute, fallbackRoute, type RouteDefaults } from './compile-routes.ts';
import { field, group, inert, required } from './group.ts';
import type { Place, Problems } from './problems.ts';
import { count, duration, flag, list, number, type Read, refuseKind, type Shape, text } from './shape.ts';
import { statusShape } from './status-shape.ts';
import type { PathMatch, RetryPolicy, Route } from './types.ts';

/** Attempts above this are as many (gRFC A6). */
const mostAttempts = 5;

type StatusName = Read<typeof statusShape>;

/** By name, or by number. */
const statusCode: Shape<StatusName> = {
  expected: 'a status such as "UNAVAILABLE", or its number',
  read: (node, path, problems) => {
    if (node.kind !== 'scalar' || typeof node.value !== 'number') return statusShape.read(node, path, problems);
    const name = (Object.keys(GrpcStatus) as (keyof typeof GrpcStatus)[]).find((each) => GrpcStatus[each] === node.value);
    return name === undefined || name === 'OK' ? refuseKind(node, path, 'a status from 1 to 16, or its name', problems) : name;
  },
  jsonSchema: (parts) => ({ anyOf: [statusShape.jsonSchema(parts), { type: 'integer', minimum: 1, maximum: 16 }] }),
};

const interval = duration({ minMs: 0.001, example: '0.1s' });
const bytesOfMessages = inert(count(), 'write max_request_bytes or max_response_bytes on a route, for all messages of a call together');

const methodConfigShape = group('method_config', 'a group with "name"', {
  name: required(
    list(
      group('method_name', 'a group such as { "service": "acme.Ledger" }', {
        service: field(text('a service such as acme.Ledger', { mayBeEmpty: true }), 'Full name; all services where left out'),
        method: field(text('a method such as Get', { mayBeEmpty: true }), 'All methods where left out'),
      }),
    ),
    'Which calls',
  ),
  timeout: field(duration({ example: '1.5s' }), 'Time limit of the whole call'),
  waitForReady: inert(flag, 'remove it: a call waits for a connection until its deadline anyway'),
  maxRequestMessageBytes: bytesOfMessages,
  maxResponseMessageBytes: bytesOfMessages,
  retryPolicy: field(
    group('grpc_retry_policy', 'a group with "maxAttempts"', {
      maxAttempts: required(count(2), 'Attempts in all, 5 at most'),
      initialBackoff: required(interval, 'Upper bound of the first wait'),
      maxBackoff: required(interval, 'Upper bound of every wait'),
      backoffMultiplier: required(number({ min: 0.001, max: 1_000, integer: false }), 'How much the bound grows'),
      retryableStatusCodes: required(list(statusCode, { minItems: 1 }), 'What is tried again'),
      perAttemptRecvTimeout: field(interval, 'Time limit of one attempt'),
    }),
    'What is tried again',
  ),
  hedgingPolicy: field(
    group('grpc_hedging_policy', 'a group with "maxAttempts"', {
      maxAttempts: required(count(2), 'Attempts in all, 5 at most'),
      hedgingDelay: field(duration(), 'Time from one attempt to the next; none where left out: all at once'),
      nonFatalStatusCodes: field(list(statusCode), 'Failures that wait for the other attempts'),
    }),
    'Attempts beside each other',
  ),
});

const elsewhere = inert({ expected: 'anything', read: () => true, jsonSchema: () => ({}) }, 'write it on the cluster in a policy file');

/** gRPC's service config (`grpc/service_config/service_config.proto`) as JSON, as far as it speaks of calls. */
export const serviceConfigShape = group('service_config', 'a group with "methodConfig"', {
  methodConfig: required(list(methodConfigShape), 'What holds for which calls'),
  retryThrottling: field(
    group('retry_throttling', 'a group with "maxTokens" and "tokenRatio"', {
      maxTokens: required(count(1, 1_000), 'Tokens at the beginning and at most'),
      tokenRatio: required(number({ min: 0.001, max: 1_000, integer: false }), 'What a success gives back'),
    }),
    'Stops retries where failures outweigh successes',
  ),
  loadBalancingPolicy: elsewhere,
  loadBalancingConfig: elsewhere,
  healthCheckConfig: elsewhere,
});

/** Whether a policy file is a service config. */
export const isServiceConfig = (path: string): boolean => /\.json$/i.test(path);

type ConfigGroup = Read<typeof serviceConfigShape>;
type MethodGroup = Read<typeof methodConfigShape>;

/**
 * Routes that mean the same: methods first, then services, then what holds for all. The cluster is the one that the authority names, as
 * a service config belongs to the channel of one name.
 */
export const compileServiceConfig = (written: ConfigGroup, defaults: RouteDefaults, problems: Problems): readonly CompiledRoute[] => {
  const throttling = written.values.retryThrottling?.values;
  const throttle =
    throttling?.maxTokens === undefined || throttling.tokenRatio === undefined
      ? {}
      : { throttle: { maxTokens: throttling.maxTokens, tokenRatio: throttling.tokenRatio } };
  const seen = new Set<string>();
  const compiled = (written.values.methodConfig ?? []).flatMap((method) => {
    const retry = compileRetry(method, problems);
    const hedge = compileHedging(method, problems);
    if (retry !== undefined && hedge !== undefined)
      problems.error(method.placeOf('hedgingPolicy'), 'stands beside retryPolicy', 'keep one of them');
    return (method.values.name ?? []).flatMap(({ place, values: { service = '', method: called = '' } }) => {
      if (service === '' && called !== '') problems.error(place, 'has a method and no service', 'add "service"');
      const key = `/${service}/${called}`;
      if (seen.has(key)) problems.error(place, `${service === '' ? 'the default' : key} is written twice`, 'keep one of them');
      seen.add(key);
      const match: PathMatch = called !== '' ? { kind: 'path', path: key } : { kind: 'prefix', prefix: service === '' ? '' : key };
      const name = `service config ${service === '' ? 'default' : key}`;
      const route: Route = Object.freeze({
        ...fallbackRoute(defaults),
        name,
        id: `${defaults.direction}/${name}`,
        location: place.location,
        match: Object.freeze(match),
        timeoutMs: method.values.timeout ?? 0,
        retry: retry ?? (hedge === undefined ? defaults.retry : undefined),
        hedge,
        // Whoever writes a hedging policy says that calls may be processed twice.
        idempotent: hedge === undefined ? undefined : true,
        ...throttle,
      });
      return [
        {
          route,
          place,
          actionPlace: method.place,
          references: [],
          matchPlace: place,
          headerKeys: [],
          wroteTimeout: true,
          timeoutPlace: method.placeOf('timeout'),
          ownRetry: undefined,
        },
      ];
    });
  });
  return compiled.toSorted((a, b) => rank(a.route.match) - rank(b.route.match));
};

const rank = (match: PathMatch): number => (match.kind === 'path' ? 0 : match.kind === 'prefix' && match.prefix !== '' ? 1 : 2);

const attemptsOf = (written: number | undefined, place: Place, problems: Problems): number => {
  if (written !== undefined && written > mostAttempts)
    problems.warning(place, `is taken as ${mostAttempts}, as in gRPC`, `write ${mostAttempts}`);
  return Math.min(written ?? 1, mostAttempts);
};

const bitsOf = (names: readonly StatusName[]): number => statusBits(names.map((name) => GrpcStatus[name]));

const compileRetry = ({ values }: MethodGroup, problems: Problems): RetryPolicy | undefined => {
  const written = values.retryPolicy;
  if (written === undefined) return undefined;
  const {
    initialBackoff = 0,
    maxBackoff = 0,
    backoffMultiplier = 2,
    retryableStatusCodes = [],
    perAttemptRecvTimeout = 0,
  } = written.values;
  return Object.freeze({
    // A connection that is lost is UNAVAILABLE to a gRPC library, whatever the reset of its streams says.
    conditions: retryableStatusCodes.includes('UNAVAILABLE') ? RetryOn.RESET : 0,
    numRetries: attemptsOf(written.values.maxAttempts, written.placeOf('maxAttempts'), problems) - 1,
    perTryTimeoutMs: perAttemptRecvTimeout,
    baseIntervalMs: initialBackoff,
    maxIntervalMs: maxBackoff,
    multiplier: backoffMultiplier,
    retriableStatusCodes: [],
    retriableGrpcStatuses: bitsOf(retryableStatusCodes),
  });
};

const compileHedging = ({ values }: MethodGroup, problems: Problems): HedgePolicyOptions | undefined => {
  const written = values.hedgingPolicy;
  if (written === undefined) return undefined;
  return Object.freeze({
    initialRequests: 1,
    additionalRequestChance: 0,
    maxAttempts: attemptsOf(written.values.maxAttempts, written.placeOf('maxAttempts'), problems),
    hedgingDelayMs: written.values.hedgingDelay ?? 0,
    nonFatalStatuses: bitsOf(written.values.nonFatalStatusCodes ?? []),
    onPerTryTimeout: false,
  });
};
