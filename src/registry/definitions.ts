import { parseGoDurationMs } from './go-duration.ts';
import { longestMetaKey, longestMetaValue, longestName, metaPairs, shortestDeregisterMs } from './limits.ts';
import { RegistryProblem } from './reply.ts';

export const checkStatuses = ['passing', 'warning', 'critical'] as const;
export type CheckStatus = (typeof checkStatuses)[number];
export const isCheckStatus = (text: unknown): text is CheckStatus => checkStatuses.some((status) => status === text);

/** What a check was registered with. Exactly one of `ttlMs`, `http`, `tcp` and `grpc` says how it is fed. */
export interface CheckDefinition {
  readonly id: string;
  readonly name: string;
  readonly notes: string;
  readonly status: CheckStatus;
  /** Empty for a check of the node. */
  readonly serviceId: string;
  /** 0 where another field says how it is checked. */
  readonly ttlMs: number;
  readonly http: string;
  readonly method: string;
  readonly header: Readonly<Record<string, readonly string[]>>;
  readonly body: string;
  readonly tcp: string;
  readonly tcpUseTls: boolean;
  /** `host:port` or `host:port/service`. */
  readonly grpc: string;
  readonly grpcUseTls: boolean;
  readonly tlsServerName: string;
  readonly tlsSkipVerify: boolean;
  readonly intervalMs: number;
  /** 0: Consul's ten seconds, or the interval where that is shorter. */
  readonly timeoutMs: number;
  /** 0: never. */
  readonly deregisterAfterMs: number;
  readonly successBeforePassing: number;
  readonly failuresBeforeCritical: number;
  /** As it was written, for the answers; Consul shows it in two ways. */
  readonly intervalText: string;
  readonly timeoutText: string;
}

export interface TaggedAddress {
  readonly Address: string;
  readonly Port: number;
}

export interface ServiceDefinition {
  readonly id: string;
  readonly name: string;
  readonly tags: readonly string[];
  readonly port: number;
  readonly address: string;
  readonly taggedAddresses: Readonly<Record<string, TaggedAddress>>;
  readonly meta: Readonly<Record<string, string>>;
  readonly weights: { readonly Passing: number; readonly Warning: number };
  readonly enableTagOverride: boolean;
  readonly checks: readonly CheckDefinition[];
}

const decodeFailed = (why: string): RegistryProblem => new RegistryProblem(400, `Request decode failed: ${why}`);
const invalid = (why: string): RegistryProblem => new RegistryProblem(400, why);

/** Ten years. */
const longestDurationMs = 3_652 * 86_400_000;

const kindOf = (value: unknown): string => (Array.isArray(value) ? 'array' : typeof value === 'boolean' ? 'bool' : typeof value);

/** A JSON object read as Go reads it: names in any case, with or without underscores, unknown ones refused. */
class Fields {
  readonly #values = new Map<string, unknown>();

  constructor(value: unknown, known: readonly string[]) {
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      throw decodeFailed(`json: cannot unmarshal ${kindOf(value)} into Go value of type struct`);
    const byFolded = new Map(known.map((name) => [name.toLowerCase(), name]));
    for (const [key, field] of Object.entries(value)) {
      const name = byFolded.get(key.toLowerCase().replaceAll('_', ''));
      if (name === undefined) throw decodeFailed(`json: unknown field "${key}"`);
      if (field !== null) this.#values.set(name, field);
    }
  }

  get isEmpty(): boolean {
    return this.#values.size === 0;
  }

  raw(name: string): unknown {
    return this.#values.get(name);
  }

  text(name: string): string {
    const value = this.#typed(name, 'string', 'string') ?? '';
    if (value.length > longestName && name !== 'Body' && name !== 'Notes')
      throw invalid(`${name} is longer than ${longestName} characters`);
    return value;
  }

  flag(name: string): boolean {
    return this.#typed(name, 'boolean', 'bool') ?? false;
  }

  count(name: string): number {
    const value = this.#typed(name, 'number', 'int') ?? 0;
    if (!Number.isSafeInteger(value))
      throw decodeFailed(`json: cannot unmarshal number ${value} into Go struct field .Alias.${name} of type int`);
    return value;
  }

  texts(name: string): readonly string[] {
    const value = this.#values.get(name) ?? [];
    if (!Array.isArray(value) || !value.every((entry) => typeof entry === 'string')) throw this.#wrongType(name, value, '[]string');
    if (value.length > metaPairs || value.some((entry: string) => entry.length > longestName))
      throw invalid(`${name} has more than ${metaPairs} entries, or one of more than ${longestName} characters`);
    return value as readonly string[];
  }

  map<T>(name: string, read: (value: unknown) => T): Readonly<Record<string, T>> {
    const value = this.#values.get(name) ?? {};
    if (typeof value !== 'object' || Array.isArray(value)) throw this.#wrongType(name, value, 'map[string]string');
    return Object.fromEntries(Object.entries(value as object).map(([key, entry]) => [key, read(entry)]));
  }

  /** A Go duration, or a number of nanoseconds. */
  durationMs(name: string): number {
    const value = this.#values.get(name);
    if (value === undefined) return 0;
    if (typeof value !== 'number' && typeof value !== 'string') throw this.#wrongType(name, value, 'time.Duration');
    const ms = typeof value === 'number' ? value / 1e6 : parseGoDurationMs(value);
    if (ms === undefined || Math.abs(ms) > longestDurationMs) throw decodeFailed(`time: invalid duration ${JSON.stringify(value)}`);
    return ms;
  }

  #typed<K extends 'string' | 'boolean' | 'number'>(name: string, type: K, goType: string) {
    const value = this.#values.get(name);
    if (value === undefined) return undefined;
    if (typeof value !== type) throw this.#wrongType(name, value, goType);
    return value as { string: string; boolean: boolean; number: number }[K];
  }

  #wrongType(name: string, value: unknown, goType: string): RegistryProblem {
    return decodeFailed(`json: cannot unmarshal ${kindOf(value)} into Go struct field .Alias.${name} of type ${goType}`);
  }
}

/** The body of a request as JSON. */
export const parseBody = (body: Buffer): unknown => {
  if (body.length === 0) throw decodeFailed('EOF');
  try {
    return JSON.parse(body.toString('utf8'));
  } catch (error) {
    throw decodeFailed(`invalid JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
};

const checkFields =
  'ID CheckID Name Notes Status ServiceID TTL HTTP Method Header Body DisableRedirects TCP TCPUseTLS GRPC GRPCUseTLS TLSServerName TLSSkipVerify Interval Timeout DeregisterCriticalServiceAfter SuccessBeforePassing FailuresBeforeWarning FailuresBeforeCritical OutputMaxSize Token Args ScriptArgs Script Shell DockerContainerID AliasNode AliasService H2PING H2PingUseTLS UDP OSService ProxyHTTP ProxyGRPC'.split(
    ' ',
  );
const serviceFields =
  'ID Name Tags Port Address TaggedAddresses Meta Weights EnableTagOverride Check Checks Token Kind Proxy Connect SocketPath Locality'.split(
    ' ',
  );

/** Kinds of checks that this registry has no part in; each would stay critical for ever. */
const foreignKinds = ['DockerContainerID', 'AliasNode', 'AliasService', 'H2PING', 'UDP', 'OSService'];

const readHeader = (value: unknown): readonly string[] => {
  if (Array.isArray(value) && value.every((entry) => typeof entry === 'string')) return value as readonly string[];
  throw decodeFailed('json: cannot unmarshal Header into Go type map[string][]string');
};

const readCheck = (
  fields: Fields,
  identity: { readonly id: string; readonly name: string; readonly serviceId: string },
): CheckDefinition => {
  const intervalMs = fields.durationMs('Interval');
  const ttlMs = fields.durationMs('TTL');
  const timeoutMs = fields.durationMs('Timeout');
  const deregisterAfterMs = fields.durationMs('DeregisterCriticalServiceAfter');
  const [http, tcp, grpc] = (['HTTP', 'TCP', 'GRPC'] as const).map((name) => fields.text(name)) as [string, string, string];
  if (['Args', 'ScriptArgs', 'Script', 'Shell'].some((name) => fields.raw(name) !== undefined))
    throw new RegistryProblem(500, 'Scripts are disabled on this agent: "outrider registry" runs none');
  const foreign = foreignKinds.find((name) => fields.raw(name) !== undefined);
  if (foreign !== undefined)
    throw invalid(`Invalid check: "outrider registry" has no checks of the kind ${foreign}; use TTL, HTTP, TCP or GRPC`);
  const asked = [http, tcp, grpc].filter((target) => target !== '').length;
  if (asked > 1) throw invalid('Invalid check: only one of HTTP, TCP and GRPC can be specified');
  if (intervalMs > 0 && ttlMs > 0) throw invalid('Invalid check: Interval and TTL cannot both be specified');
  if (asked > 0 && intervalMs <= 0)
    throw invalid('Invalid check: Interval must be > 0 for Script, HTTP, H2PING, TCP, UDP or OSService checks');
  if (asked === 0 && ttlMs <= 0) throw invalid('Invalid check: TTL must be > 0 for TTL checks');
  if (http !== '' && !/^https?:$/.test(URL.canParse(http) ? new URL(http).protocol : ''))
    throw invalid(`Invalid check: HTTP is no URL: ${http}`);
  const status = fields.text('Status');
  if (status !== '' && !isCheckStatus(status)) throw invalid("Status for checks must 'passing', 'warning', 'critical'");
  const { id, name, serviceId } = identity;
  return {
    id,
    name,
    serviceId,
    notes: fields.text('Notes'),
    status: isCheckStatus(status) ? status : 'critical',
    ttlMs,
    http,
    method: fields.text('Method'),
    header: fields.map('Header', readHeader),
    body: fields.text('Body'),
    tcp,
    tcpUseTls: fields.flag('TCPUseTLS'),
    grpc,
    grpcUseTls: fields.flag('GRPCUseTLS'),
    tlsServerName: fields.text('TLSServerName'),
    tlsSkipVerify: fields.flag('TLSSkipVerify'),
    // Consul checks nobody more often than once a second.
    intervalMs: asked > 0 ? Math.max(intervalMs, 1_000) : 0,
    timeoutMs,
    deregisterAfterMs: deregisterAfterMs > 0 ? Math.max(deregisterAfterMs, shortestDeregisterMs) : 0,
    successBeforePassing: Math.max(fields.count('SuccessBeforePassing'), 0),
    failuresBeforeCritical: Math.max(fields.count('FailuresBeforeCritical'), 0),
    intervalText: textOfDuration(fields.raw('Interval')),
    timeoutText: textOfDuration(fields.raw('Timeout')),
  };
};

const textOfDuration = (value: unknown): string => (typeof value === 'string' ? value : typeof value === 'number' ? `${value / 1e9}s` : '');

/** The body of `/v1/agent/check/register`: a check of the node, or of a service that is there. */
export const readCheckDefinition = (body: unknown): CheckDefinition => {
  if (body === null) throw invalid('Missing check name');
  const fields = new Fields(body, checkFields);
  const name = fields.text('Name');
  if (name === '') throw invalid('Missing check name');
  const id = fields.text('CheckID') || fields.text('ID') || name;
  return readCheck(fields, { id, name, serviceId: fields.text('ServiceID') });
};

const readWeights = (value: unknown): ServiceDefinition['weights'] => {
  if (value === undefined) return { Passing: 1, Warning: 1 };
  const fields = new Fields(value, ['Passing', 'Warning']);
  const weights = { Passing: fields.count('Passing'), Warning: fields.count('Warning') };
  if (weights.Passing < 1) throw invalid('Invalid Weights: Passing must be greater than 0');
  if (weights.Warning < 0) throw invalid('Invalid Weights: Warning must be greater or equal than 0');
  if (weights.Passing > 65_535 || weights.Warning > 65_535) throw invalid('Invalid Weights: DNS Weight must be between 0 and 65535');
  return weights;
};

const readMeta = (fields: Fields): Readonly<Record<string, string>> => {
  const meta = fields.map('Meta', (value) => {
    if (typeof value === 'string') return value;
    throw decodeFailed(`json: cannot unmarshal ${kindOf(value)} into Go struct field .Alias.Meta of type string`);
  });
  const entries = Object.entries(meta);
  if (entries.length > metaPairs)
    throw invalid(`Invalid Service Meta: Node metadata cannot contain more than ${metaPairs} key/value pairs`);
  for (const [key, value] of entries) {
    const wrong = (why: string): RegistryProblem =>
      invalid(`Invalid Service Meta: Couldn't load metadata pair ('${key}', '${value}'): ${why}`);
    if (key === '') throw wrong('Key cannot be blank');
    if (!/^[a-zA-Z0-9_-]+$/.test(key)) throw wrong('Key contains invalid characters');
    if (key.length > longestMetaKey) throw wrong(`Key is too long (limit: ${longestMetaKey} characters)`);
    if (value.length > longestMetaValue) throw wrong(`Value is too long (limit: ${longestMetaValue} characters)`);
  }
  return meta;
};

const readTaggedAddress = (value: unknown): TaggedAddress => {
  const fields = new Fields(value, ['Address', 'Port']);
  return { Address: fields.text('Address'), Port: fields.count('Port') };
};

/** The body of `/v1/agent/service/register`. */
export const readServiceDefinition = (body: unknown): ServiceDefinition => {
  if (body === null) throw invalid('Missing service name');
  const fields = new Fields(body, serviceFields);
  const name = fields.text('Name');
  const id = fields.text('ID') || name;
  const list = fields.raw('Checks') ?? [];
  if (!Array.isArray(list))
    throw decodeFailed(`json: cannot unmarshal ${kindOf(list)} into Go struct field .Alias.Checks of type structs.CheckTypes`);
  const single = new Fields(fields.raw('Check') ?? {}, checkFields);
  const groups = [...(single.isEmpty ? [] : [single]), ...list.map((entry: unknown) => new Fields(entry, checkFields))];
  const described = { tags: fields.texts('Tags'), port: fields.count('Port'), address: fields.text('Address'), meta: readMeta(fields) };
  const taggedAddresses = fields.map('TaggedAddresses', readTaggedAddress);
  const weights = readWeights(fields.raw('Weights'));
  const kind = fields.text('Kind');
  for (const key of ['Proxy', 'Connect'] as const) {
    if (Object.keys((fields.raw(key) ?? {}) as object).length > 0)
      throw invalid(`"outrider registry" has no part in ${key}; production wants Consul`);
  }
  if (name === '') throw invalid('Missing service name');
  if (kind !== '') throw invalid(`"outrider registry" has no services of the kind ${kind}; production wants Consul`);
  if (described.address === '0.0.0.0' || described.address === '::' || described.address === '[::]')
    throw invalid('Invalid service address');
  const checks = groups.map((group, i) => {
    const usualId = groups.length === 1 ? `service:${id}` : `service:${id}:${i + 1}`;
    return readCheck(group, { id: group.text('CheckID') || usualId, name: group.text('Name') || `Service '${name}' check`, serviceId: id });
  });
  return { id, name, ...described, taggedAddresses, weights, enableTagOverride: fields.flag('EnableTagOverride'), checks };
};

/** The body of `/v1/agent/check/update/:id`. */
export const readCheckUpdate = (body: unknown): { readonly status: CheckStatus; readonly output: string } => {
  const fields = new Fields(body ?? {}, ['Status', 'Output', 'CheckID']);
  const status = fields.raw('Status') ?? '';
  const output = fields.raw('Output') ?? '';
  if (!isCheckStatus(status)) throw invalid(`Invalid check status: '${String(status)}'`);
  return { status, output: String(output) };
};
