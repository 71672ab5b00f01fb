import type { Catalogue, CheckEntry, ServiceEntry } from './catalogue.ts';
import type { CheckRunner } from './check-runner.ts';
import { compileFilter, type Filter } from './filter.ts';
import { parseGoDurationMs } from './go-duration.ts';
import type { KeyValues } from './key-values.ts';
import { json, RegistryProblem, type RegistryReply } from './reply.ts';
import type { RegistryNode } from './shapes.ts';
import type { WaitingQueries } from './waiting-queries.ts';

/** What the paths work on. */
export interface RegistryParts {
  readonly node: RegistryNode;
  /** Where it listens, `host:port`: the leader of a registry is the registry. */
  readonly address: () => string;
  readonly catalogue: Catalogue;
  readonly runner: CheckRunner;
  readonly keyValues: KeyValues;
  readonly waiting: WaitingQueries;
}

/** One request, read but for its body's meaning. */
export interface RegistryRequest {
  readonly method: string;
  /** What follows the path's own part, decoded. */
  readonly rest: string;
  readonly query: URLSearchParams;
  readonly body: Buffer;
  /** The client has gone. */
  readonly gone: AbortSignal;
}

export interface RegistryPath {
  /** Ends with `/` where something follows it. */
  readonly path: string;
  readonly methods: readonly string[];
  answer(parts: RegistryParts, request: RegistryRequest): RegistryReply | Promise<RegistryReply>;
}

export const isPretty = ({ query }: RegistryRequest): boolean => query.has('pretty');

export const serviceOf =
  (catalogue: Catalogue) =>
  ({ definition }: CheckEntry): ServiceEntry | undefined =>
    catalogue.service(definition.serviceId);

/** `filter=`, compiled for records of the form of `sample`. */
export const filterOf = ({ query }: RegistryRequest, sample: unknown): Filter => {
  const text = query.get('filter') ?? '';
  return text === '' ? () => true : compileFilter(text, sample);
};

export const nonEmpty = (text: string, why: string): string => {
  if (text === '') throw new RegistryProblem(400, why);
  return text;
};

/**
 * A blocking query of Consul: waits as `index` and `wait` ask for, then answers with what holds, and with the index from which the
 * client goes on.
 */
export const blockingAnswer = async (
  { waiting, node }: RegistryParts,
  request: RegistryRequest,
  indexNow: () => number,
  value: () => unknown,
  reply: (value: unknown, headers: Readonly<Record<string, string>>) => RegistryReply = (found, headers) =>
    json(found, isPretty(request), headers),
): Promise<RegistryReply> => {
  const { query, gone } = request;
  checkConsistency(query);
  const datacenter = query.get('dc') ?? '';
  if (datacenter !== '' && datacenter !== node.datacenter) throw new RegistryProblem(500, 'No path to datacenter');
  const since = indexOf(query.get('index'));
  const waitMs = waitOf(query.get('wait'));
  await waiting.wait({ since, waitMs, indexNow, gone });
  const headers = {
    'X-Consul-Effective-Consistency': 'leader',
    'X-Consul-Index': String(indexNow()),
    'X-Consul-Knownleader': 'true',
    'X-Consul-Lastcontact': '0',
  };
  return reply(value(), headers);
};

const checkConsistency = (query: URLSearchParams): void => {
  if (query.has('stale') && query.has('consistent'))
    throw new RegistryProblem(400, 'Cannot specify ?stale with ?consistent, conflicting semantics.');
};

const indexOf = (text: string | null): number => {
  if (text === null || text === '') return 0;
  if (!/^\d{1,20}$/.test(text)) throw new RegistryProblem(400, 'Invalid index');
  return Number(text);
};

const waitOf = (text: string | null): number => {
  if (text === null || text === '') return 0;
  const waitMs = parseGoDurationMs(text);
  if (waitMs === undefined || waitMs < 0) throw new RegistryProblem(400, 'Invalid wait time');
  return waitMs;
};
