import { isIP } from 'node:net';
import { type LogLevel, logLevels, parseDurationMs, suggest } from '../core/index.ts';
import { parseConsulAddress } from '../discovery/index.ts';
import type { TlsVersion } from '../identity/index.ts';
import { otlpMetricsSettings } from './otlp-metrics-settings.ts';
import { accepted, anyText, hostName, oneOf, type Parsed, type Setting, setting, truth } from './setting.ts';
import { statsdSettings } from './statsd-settings.ts';
import { tracingSettings } from './tracing-settings.ts';

const longestDurationMs = 24 * 3_600_000;

const port = (lowest: 0 | 1, example: string) => {
  return (text: string): Parsed<number> => {
    const value = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= lowest && value <= 65_535) return accepted(value);
    const chosen = lowest === 0 ? ' (0: the system chooses)' : '';
    return { ok: false, allowed: `a port from ${lowest} to 65535${chosen}`, write: example };
  };
};

const duration = (example: string) => {
  return (text: string): Parsed<number> => {
    const value = parseDurationMs(text);
    if (value !== undefined && value >= 0 && value <= longestDurationMs) return accepted(value);
    const bare = /^\d+(\.\d+)?$/.test(text);
    return { ok: false, allowed: 'a duration with its unit, 0s to 24h (units: ms, s, m, h)', write: bare ? `${text}s` : example };
  };
};

const count = (lowest: 0 | 1, example: string, zero = '') => {
  return (text: string): Parsed<number> => {
    const value = /^\d{1,7}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= lowest) return accepted(value);
    return { ok: false, allowed: `a number from ${lowest} to 9999999${zero}`, write: example };
  };
};

const byteUnits: Readonly<Record<string, number>> = { k: 1e3, m: 1e6, g: 1e9, ki: 2 ** 10, mi: 2 ** 20, gi: 2 ** 30 };
const leastMemoryBytes = 32 * 2 ** 20;

/** `512Mi` as in Kubernetes, `512MiB`, `512m` as in compose files are 1,024s only where they say so; a bare number has no unit. */
const bytes = (example: string) => {
  return (text: string): Parsed<number> => {
    const [, digits, unit = ''] = /^(\d+(?:\.\d+)?)([kmg]i?)b?$/.exec(text.toLowerCase()) ?? [];
    const value = Number(digits) * (byteUnits[unit] ?? Number.NaN);
    if (value >= leastMemoryBytes) return accepted(Math.round(value));
    const bare = /^\d+$/.test(text) && Number(text) >= leastMemoryBytes;
    const write = bare ? `${Math.round(Number(text) / 2 ** 20)}Mi` : example;
    return { ok: false, allowed: 'an amount of memory with its unit, at least 32Mi (units: Ki, Mi, Gi, K, M, G)', write };
  };
};

const host = (example: string) => {
  return (text: string): Parsed<string> => {
    const bare = text.replace(/^\[(.*)\]$/, '$1');
    if (isIP(bare) !== 0) return accepted(bare);
    if (hostName.test(text)) return accepted(text);
    return { ok: false, allowed: 'a host name or an IP address, without scheme and port', write: example };
  };
};

const hostList = (text: string): Parsed<readonly string[]> => {
  const hosts = text
    .split(',')
    .map((entry) => entry.trim().toLowerCase())
    .filter((entry) => entry !== '');
  if (hosts.every((entry) => entry === '*' || /^[a-z0-9_.:[\]-]+$/.test(entry))) return accepted(hosts);
  return { ok: false, allowed: 'host names, separated by commas', write: 'admin.internal,10.0.0.4' };
};

// The name goes into a SPIFFE path segment, a DNS SAN and metric labels: what is legal in all three.
const serviceName = (text: string): Parsed<string> => {
  if (/^[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$/.test(text)) return accepted(text);
  return { ok: false, allowed: 'letters, digits, dots, dashes and underscores, at most 253 characters', write: 'auth-svc' };
};

const trustDomain = (text: string): Parsed<string> => {
  if (/^[a-z0-9._-]{1,255}$/.test(text)) return accepted(text);
  const stripped = text
    .replace(/^spiffe:\/\//, '')
    .replace(/\/.*$/, '')
    .toLowerCase();
  const usable = /^[a-z0-9._-]{1,255}$/.test(stripped);
  return { ok: false, allowed: 'a SPIFFE trust domain (lower case, no scheme, no path)', write: usable ? stripped : 'mesh.local' };
};

const tlsVersion = (text: string): Parsed<TlsVersion> => {
  const parsed = oneOf<'1.3' | '1.2'>(['1.3', '1.2'], '1.3')(text);
  return parsed.ok ? accepted<TlsVersion>(`TLSv${parsed.value}`) : parsed;
};

/** Read again together with CONSUL_HTTP_SSL, which says what an address without a scheme means. */
const consulAddress = (text: string): Parsed<string> => {
  if (parseConsulAddress(text) !== undefined) return accepted(text);
  const allowed = 'host:port, http://host:port, https://host:port or unix:///path, without a user';
  return { ok: false, allowed, write: '127.0.0.1:8500' };
};

const consulName = (text: string): Parsed<string> => {
  if (/^[A-Za-z0-9]([A-Za-z0-9_-]{0,62}[A-Za-z0-9])?$/.test(text)) return accepted(text);
  return { ok: false, allowed: 'letters, digits, dashes and underscores, at most 64 characters', write: 'default' };
};

/** Words that Consul takes as tags: commas separate them. */
const tagList = (text: string): Parsed<readonly string[]> => {
  const tags = text
    .split(',')
    .map((entry) => entry.trim())
    .filter((entry) => entry !== '');
  if (tags.length <= 32 && tags.every((tag) => /^[\x21-\x7e]{1,255}$/.test(tag))) return accepted(tags);
  return { ok: false, allowed: 'at most 32 tags without blanks, separated by commas', write: 'blue,canary' };
};

const locality = (text: string): Parsed<string> => {
  if (/^[A-Za-z0-9_.-]{0,63}(\/[A-Za-z0-9_.-]{0,63}){0,2}$/.test(text)) return accepted(text);
  return { ok: false, allowed: 'region/zone/sub_zone; what is not known is left empty', write: 'eu-west/eu-west-1a' };
};

const checkTarget = (text: string): Parsed<string> => {
  if (/^(tls:\/\/)?(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]+):\d{1,5}$/.test(text) || /^https?:\/\/[^\s]+$/.test(text)) return accepted(text);
  return { ok: false, allowed: 'host:port, tls://host:port, or for http a URL', write: '10.0.0.4:8080' };
};

/** Always with a slash at its end, so that `outrider` is not the beginning of `outrider-test/`. */
const keyPrefix = (text: string): Parsed<string> => {
  const bare = text.replace(/^\/+|\/+$/g, '');
  if (/^[\x21-\x7e]{1,500}$/.test(bare)) return accepted(`${bare}/`);
  return { ok: false, allowed: 'the beginning of keys, without blanks', write: 'outrider/policies/' };
};

const withoutLog = ['off', 'false', 'none', 'no'];

/** A word that is no stream is a typing mistake rather than a file of that name. */
const logPath = (text: string): Parsed<string> => {
  const stream = /^(?:\/dev\/)?(stdout|stderr)$/.exec(text)?.[1];
  if (stream !== undefined) return accepted(stream);
  if (withoutLog.includes(text.toLowerCase())) return accepted('off');
  if (text.includes('/') && !text.endsWith('/') && !text.includes('\0')) return accepted(text);
  return {
    ok: false,
    allowed: 'stdout, stderr, off or the path of a file',
    write: suggest(text, ['stdout', 'stderr']) ?? '/var/log/outrider/access.log',
  };
};

/** Consul's own limit; 0 would take the instance out of the balance. */
const weight = (text: string): Parsed<number> => {
  const value = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  return value >= 1 && value <= 65_535 ? accepted(value) : { ok: false, allowed: 'a number from 1 to 65535', write: '10' };
};

export const registrationCheckKinds = ['ttl', 'grpc', 'tcp', 'http', 'none'] as const;
export type RegistrationCheckKind = (typeof registrationCheckKinds)[number];

export const inboundTlsModes = ['strict', 'permissive', 'off'] as const;
export type InboundTls = (typeof inboundTlsModes)[number];

/** Every variable of the sidecar, in the order in which the help shows them. */
export const settings = {
  serviceName: setting('SERVICE_NAME', undefined, serviceName, 'name of the service beside this sidecar; required'),
  serviceVersion: setting('SERVICE_VERSION', undefined, anyText, 'its version, for /server_info'),
  grpcPort: setting('GRPC_PORT', '50051', port(0, '50051'), 'inbound listener'),
  localServicePort: setting('LOCAL_SERVICE_PORT', '8080', port(1, '8080'), 'where the service itself listens'),
  localServiceHost: setting('LOCAL_SERVICE_HOST', '127.0.0.1', host('127.0.0.1'), 'the host of the service itself'),
  localServiceHealthIntervalMs: setting(
    'LOCAL_SERVICE_HEALTH_INTERVAL',
    '5s',
    duration('5s'),
    'how often the service is asked how it is; 0s: never',
  ),
  outboundPort: setting('OUTBOUND_PORT', '15001', port(0, '15001'), 'where the service calls its peers'),
  adminPort: setting('ADMIN_PORT', '9901', port(0, '9901'), 'admin API'),
  adminAddress: setting('ADMIN_ADDRESS', '127.0.0.1', host('127.0.0.1'), 'interface of the admin API'),
  adminGrpcPort: setting('ADMIN_GRPC_PORT', undefined, port(0, '9902'), 'health and reflection of the sidecar by gRPC; off where left out'),
  adminAllowedHosts: setting('ADMIN_ALLOWED_HOSTS', '', hostList, 'more Host names that the admin API answers to'),
  caCertPath: setting('CA_CERT_PATH', undefined, anyText, 'PEM file of the authorities that this mesh trusts'),
  clientCertPath: setting('CLIENT_CERT_PATH', undefined, anyText, 'PEM file of the certificate, for both roles'),
  clientKeyPath: setting('CLIENT_KEY_PATH', undefined, anyText, 'PEM file of its private key'),
  crlPath: setting('CRL_PATH', undefined, anyText, 'PEM file of revocation lists'),
  inboundTls: setting<InboundTls>('INBOUND_TLS', 'strict', oneOf(inboundTlsModes, 'strict'), 'strict, permissive (plain text too) or off'),
  tlsMinimum: setting('TLS_MINIMUM', '1.3', tlsVersion, '1.2 only while old peers are migrated'),
  trustDomain: setting('TRUST_DOMAIN', 'mesh.local', trustDomain, 'SPIFFE trust domain'),
  policyPath: setting('POLICY_PATH', undefined, anyText, 'policy file or folder, reloaded when it changes'),
  policyConsulKv: setting(
    'POLICY_CONSUL_KV',
    undefined,
    keyPrefix,
    'prefix of keys of Consul that hold policies, such as outrider/policies/',
  ),
  policyConsulEntries: setting('POLICY_CONSUL_CONFIG_ENTRIES', 'false', truth, 'read config entries of Consul as policies'),
  policyConsulIntentions: setting(
    'POLICY_CONSUL_INTENTIONS',
    'false',
    truth,
    'let only those call the service whom intentions of Consul allow',
  ),
  drainTimeoutMs: setting('DRAIN_TIMEOUT', '30s', duration('30s'), 'how long accepted calls may take to finish'),
  drainDelayMs: setting(
    'DRAIN_DELAY',
    undefined,
    duration('1s'),
    'how long a draining sidecar still accepts (1s where registered, else 0s)',
  ),
  startupWaitMs: setting('STARTUP_WAIT', '0s', duration('30s'), 'how long to wait for what is missing or wrong at the start'),
  maxConnections: setting('MAX_CONNECTIONS', undefined, count(1, '10000'), 'connections of both listeners (4/5 of what ulimit -n leaves)'),
  maxConnectionsPerListener: setting('MAX_CONNECTIONS_PER_LISTENER', undefined, count(1, '8000'), 'of one listener (4/5 of those)'),
  maxConnectionsPerSource: setting(
    'MAX_CONNECTIONS_PER_SOURCE',
    '0',
    count(0, '100', ' (0: no limit)'),
    'inbound, from one address; 0: no limit',
  ),
  maxMemoryBytes: setting('MAX_MEMORY', undefined, bytes('512Mi'), 'memory above which load is refused (that of the container)'),
  logLevel: setting<LogLevel>('LOG_LEVEL', 'info', oneOf(logLevels, 'info', { warn: 'warning' }), logLevels.join(', ')),
  accessLog: setting('ACCESS_LOG', undefined, logPath, 'a line for each call: stdout, stderr, a path, or off whatever policies say'),
  consulHttpAddress: setting('CONSUL_HTTP_ADDR', undefined, consulAddress, 'agent of Consul, or "outrider registry"'),
  consulTokenFile: setting('CONSUL_HTTP_TOKEN_FILE', undefined, anyText, 'file with the token for Consul, read again when it changes'),
  consulSsl: setting('CONSUL_HTTP_SSL', 'false', truth, 'TLS towards Consul, where the address has no scheme'),
  consulCaCert: setting('CONSUL_CACERT', undefined, anyText, 'PEM file of the authorities of Consul'),
  consulClientCert: setting('CONSUL_CLIENT_CERT', undefined, anyText, 'PEM file of the certificate for Consul'),
  consulClientKey: setting('CONSUL_CLIENT_KEY', undefined, anyText, 'PEM file of its key'),
  consulTlsServerName: setting('CONSUL_TLS_SERVER_NAME', undefined, host('consul.internal'), 'name in the certificate of Consul'),
  consulNamespace: setting('CONSUL_NAMESPACE', undefined, consulName, 'namespace of Consul Enterprise (that of the token)'),
  consulPartition: setting('CONSUL_PARTITION', undefined, consulName, 'admin partition of Consul Enterprise (that of the agent)'),
  consulMaxConnections: setting('CONSUL_MAX_CONNECTIONS', '160', count(1, '160'), 'connections on which questions wait at the agent'),
  registration: setting(
    'REGISTRATION',
    'on',
    oneOf(['on', 'off'], 'on', { true: 'on', false: 'off' }),
    'register the service in Consul: on, off',
  ),
  serviceAddress: setting('SERVICE_ADDRESS', undefined, host('10.0.0.4'), 'the address to register (that of the default route)'),
  serviceTags: setting('SERVICE_TAGS', '', tagList, 'more tags to register, separated by commas'),
  serviceWeight: setting('SERVICE_WEIGHT', '1', weight, 'share of the calls in relation to the other instances'),
  locality: setting('LOCALITY', undefined, locality, 'region/zone/sub_zone of this instance'),
  registrationCheck: setting<RegistrationCheckKind>(
    'REGISTRATION_CHECK',
    'ttl',
    oneOf(registrationCheckKinds, 'ttl'),
    'who checks the service: the sidecar (ttl), or Consul (grpc, tcp, http), or nobody (none)',
  ),
  registrationCheckTarget: setting('REGISTRATION_CHECK_TARGET', undefined, checkTarget, 'what Consul checks (the service itself)'),
  registrationTtlMs: setting('REGISTRATION_TTL', '12s', duration('12s'), 'how soon a sidecar that is gone counts as critical'),
  deregisterAfterMs: setting('REGISTRATION_DEREGISTER_AFTER', '5m', duration('5m'), 'how long a critical instance stays; 0s: for ever'),
  ...tracingSettings,
  ...statsdSettings,
  ...otlpMetricsSettings,
} as const;

export type SettingName = keyof typeof settings;
export type SettingValue<N extends SettingName> = (typeof settings)[N] extends Setting<infer T> ? T : never;
export const settingNames = Object.keys(settings) as readonly SettingName[];
