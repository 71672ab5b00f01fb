import { isIP, isIPv4 } from 'node:net';
import { type EndpointAddress, sameEndpoint } from './endpoints.ts';

export interface InstanceList {
  readonly endpoints: readonly EndpointAddress[];
  /** Id of the instance by `host port`. */
  readonly ids: ReadonlyMap<string, string>;
  /** What is wrong with instances that are left out. */
  readonly wrong: string | undefined;
}

/** What identifies an endpoint of the list. */
export const instanceKey = ({ host, port }: Pick<EndpointAddress, 'host' | 'port'>): string => `${host} ${port}`;

const longestId = 512;
/** So many take two milliseconds at most. */
const instancesAtOnce = 500;
const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/**
 * Reads `{"instances": [{"instance_id", "ipv4", "port"}, ...]}`; beside these an instance may have `ipv6` instead of `ipv4`, `weight`,
 * `locality` and `metadata`. One instance that is wrong is left out and told; an answer of another shape throws.
 */
export const readInstances = (body: Buffer): InstanceList => {
  const turns = readInstancesInTurns(body);
  for (;;) {
    const turn = turns.next();
    if (turn.done === true) return turn.value;
  }
};

/**
 * The same in turns of some hundred instances, between which calls can go on.
 * @param known endpoints of the list before: one that is described as before stays the same object, so that whoever compares is quick.
 */
export function* readInstancesInTurns(body: Buffer, known: readonly EndpointAddress[] = []): Generator<void, InstanceList> {
  let answer: unknown;
  try {
    answer = JSON.parse(body.toString('utf8'));
  } catch {
    throw new Error('the answer is no JSON');
  }
  const instances = isRecord(answer) ? answer['instances'] : undefined;
  if (!Array.isArray(instances)) throw new Error('the answer has no list "instances"');
  yield;
  const former = new Map(known.map((endpoint) => [instanceKey(endpoint), endpoint]));
  const endpoints: EndpointAddress[] = [];
  const ids = new Map<string, string>();
  let firstWrong: string | undefined;
  let wrong = 0;
  for (const [i, instance] of instances.entries()) {
    if (i > 0 && i % instancesAtOnce === 0) yield;
    const read = readInstance(instance);
    if (typeof read === 'string') {
      wrong++;
      firstWrong ??= `instances[${i}]: ${read}`;
      continue;
    }
    const key = instanceKey(read.endpoint);
    const before = former.get(key);
    endpoints.push(before !== undefined && sameEndpoint(before, read.endpoint) ? before : read.endpoint);
    if (!ids.has(key)) ids.set(key, read.id);
  }
  if (firstWrong !== undefined && endpoints.length === 0) throw new Error(firstWrong);
  return { endpoints, ids, wrong: firstWrong === undefined ? undefined : `${firstWrong}${wrong > 1 ? `, and ${wrong - 1} more` : ''}` };
}

const readInstance = (instance: unknown): { readonly endpoint: EndpointAddress; readonly id: string } | string => {
  if (!isRecord(instance)) return 'is no object';
  const { instance_id: id, ipv4, ipv6, port, weight = 1, locality, metadata } = instance;
  if (typeof id !== 'string' || id === '' || id.length > longestId) return '"instance_id" is no text';
  const host = ipv4 ?? ipv6;
  if (typeof host !== 'string' || (ipv4 === undefined ? isIP(host) !== 6 : !isIPv4(host)))
    return `"${ipv4 === undefined && ipv6 !== undefined ? 'ipv6' : 'ipv4'}" is no address`;
  if (typeof port !== 'number' || !Number.isInteger(port) || port < 1 || port > 65_535) return '"port" is no port';
  if (typeof weight !== 'number' || !Number.isInteger(weight) || weight < 1 || weight > 4_294_967_295) return '"weight" is no whole number';
  if (locality !== undefined && typeof locality !== 'string') return '"locality" is no text';
  if (metadata !== undefined && !isRecord(metadata)) return '"metadata" is no object';
  const pairs = Object.entries(metadata ?? {}).filter(([key]) => key !== '__proto__');
  if (pairs.some(([, value]) => !['string', 'number', 'boolean'].includes(typeof value))) return '"metadata" has values that are no text';
  return {
    id,
    endpoint: {
      host,
      port,
      weight,
      instance: id,
      ...(locality !== undefined && locality !== '' && { locality }),
      ...(pairs.length > 0 && { metadata: Object.fromEntries(pairs.map(([key, value]) => [key, String(value)])) }),
    },
  };
};
