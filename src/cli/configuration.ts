import { ConfigurationError, editDistance, type LogLevel } from '../core/index.ts';
import { type ConsulConnection, parseConsulAddress } from '../discovery/index.ts';
import type { IdentityPaths, TlsVersion } from '../identity/index.ts';
import type { OtlpMetricsOptions, StatsdOptions, TracingOptions } from '../telemetry/index.ts';
import { type ConfigurationFile, readConfigurationFile, type WrittenValue } from './configuration-file.ts';
import { otlpMetricsWarnings, readOtlpMetrics } from './otlp-metrics-configuration.ts';
import { packageVersion } from './package-version.ts';
import { type RegistrationConfiguration, readRegistration } from './registration-configuration.ts';
import { type InboundTls, type SettingName, type SettingValue, settingNames, settings } from './settings.ts';
import { readStatsd, statsdWarnings } from './statsd-configuration.ts';
import { readTracing, tracingWarnings } from './tracing-configuration.ts';

/** The environment as it is handed in; only `main.ts` reads the one of the process. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** Everything the sidecar was told, typed and complete. Immutable; ports may be 0, which lets the system choose. */
export interface SidecarConfiguration {
  readonly serviceName: string;
  readonly serviceVersion: string | undefined;
  readonly grpcPort: number;
  readonly localServicePort: number;
  readonly localServiceHost: string;
  /** 0: never. */
  readonly localServiceHealthIntervalMs: number;
  readonly outboundPort: number;
  readonly adminPort: number;
  readonly adminAddress: string;
  readonly adminAllowedHosts: readonly string[];
  /** `undefined`: there is no gRPC server for the sidecar itself. */
  readonly adminGrpcPort: number | undefined;
  /** Absent only with `INBOUND_TLS=off` and without any variable of a certificate. */
  readonly identity: IdentityPaths | undefined;
  readonly inboundTls: InboundTls;
  readonly tlsMinimum: TlsVersion;
  readonly trustDomain: string;
  readonly policyPath: string | undefined;
  /** Keys of Consul that begin with it hold policies; ends with a slash. */
  readonly policyConsulKv: string | undefined;
  /** Config entries of Consul are read as policies. */
  readonly policyConsulEntries: boolean;
  /** Intentions of Consul say who may call the service. */
  readonly policyConsulIntentions: boolean;
  readonly drainTimeoutMs: number;
  readonly drainDelayMs: number;
  readonly startupWaitMs: number;
  /** `undefined`: what the limit of open files allows. */
  readonly maxConnections: number | undefined;
  readonly maxConnectionsPerListener: number | undefined;
  /** 0: no limit. */
  readonly maxConnectionsPerSource: number;
  /** `undefined`: what the container or the machine has. */
  readonly maxMemoryBytes: number | undefined;
  readonly logLevel: LogLevel;
  /** `stdout`, `stderr`, a path, or `off`; `undefined`: only what policies say. */
  readonly accessLog: string | undefined;
  /** `undefined`: nobody asks Consul for anything. */
  readonly consul: ConsulSettings | undefined;
  /** `undefined`: the service is not registered. */
  readonly registration: RegistrationConfiguration | undefined;
  /** `undefined`: there are no traces. */
  readonly tracing: TracingOptions | undefined;
  /** `undefined`: no metrics are sent to StatsD. */
  readonly statsd: StatsdOptions | undefined;
  /** `undefined`: no metrics are sent to a collector of OpenTelemetry. */
  readonly otlpMetrics: OtlpMetricsOptions | undefined;
  /** Single calls in `/metrics` name their traces; `undefined`: where there are traces. */
  readonly metricsExemplars: boolean | undefined;
  /** `region/zone/sub_zone`, also of what is registered. */
  readonly locality: string | undefined;
  /** What is accepted and deserves a line in the log; whole sentences without a full stop. */
  readonly warnings: readonly string[];
}

/** How to reach Consul, and within what limits. */
export interface ConsulSettings extends ConsulConnection {
  readonly namespace: string;
  readonly partition: string;
  readonly maxConnections: number;
}

export interface ConfigurationSource {
  readonly environment: Environment;
  /** Path of the YAML file; what the environment says wins over it. */
  readonly configPath?: string;
}

/** What reads the settings; several files read their own. */
export interface SettingReader {
  readonly problems: string[];
  written(name: SettingName): WrittenValue | undefined;
  get<N extends SettingName>(name: N): SettingValue<N> | undefined;
}

const loopbackHosts = new Set(['127.0.0.1', 'localhost', '::1']);

/** Reads one setting after another and remembers every problem, so that they are all told at once. */
class Reader implements SettingReader {
  readonly problems: string[] = [];
  readonly #environment: Environment;
  readonly #file: ReadonlyMap<string, WrittenValue>;

  constructor(environment: Environment, file: ConfigurationFile) {
    this.#environment = environment;
    this.#file = file.values;
    this.problems.push(...file.problems);
  }

  /** What was written; an empty value counts as not written, which is how compose files unset a variable. */
  written(name: SettingName): WrittenValue | undefined {
    const { variable } = settings[name];
    const fromEnvironment = this.#environment[variable]?.trim();
    if (fromEnvironment) return { text: fromEnvironment, place: variable };
    const fromFile = this.#file.get(variable);
    return fromFile !== undefined && fromFile.text !== '' ? fromFile : undefined;
  }

  get<N extends SettingName>(name: N): SettingValue<N> | undefined {
    const { variable, fallback, parse } = settings[name];
    const written = this.written(name);
    const text = written?.text ?? fallback;
    if (text === undefined) return undefined;
    const parsed = parse(text);
    if (parsed.ok) return parsed.value as SettingValue<N>;
    const place = written?.place ?? variable;
    const assignment = place === variable ? `${variable}=${parsed.write}` : `${variable.toLowerCase()}: ${parsed.write}`;
    const problem = `${place}: ${JSON.stringify(text)} is not allowed: expected ${parsed.allowed}; write ${assignment}`;
    // Traces and metrics read the same settings.
    if (!this.problems.includes(problem)) this.problems.push(problem);
    return undefined;
  }
}

const identityOf = (reader: Reader, inboundTls: InboundTls | undefined): IdentityPaths | undefined => {
  const caCertPath = reader.get('caCertPath');
  const clientCertPath = reader.get('clientCertPath');
  const clientKeyPath = reader.get('clientKeyPath');
  const crlPath = reader.get('crlPath');
  const anyWritten = [caCertPath, clientCertPath, clientKeyPath, crlPath].some((path) => path !== undefined);
  if (inboundTls === 'off' && !anyWritten) return undefined;
  const missing = (['caCertPath', 'clientCertPath', 'clientKeyPath'] as const)
    .filter((name) => reader.written(name) === undefined)
    .map((name) => settings[name].variable);
  if (missing.length > 0) {
    const why = anyWritten ? 'the three files of an identity belong together' : 'every connection of the mesh is authenticated';
    reader.problems.push(
      `${missing.join(', ')}: not set, and ${why}; write the paths of the PEM files ("outrider certs issue" makes them), or INBOUND_TLS=off without any of them`,
    );
  }
  if (caCertPath === undefined || clientCertPath === undefined || clientKeyPath === undefined) return undefined;
  return { caCertPath, clientCertPath, clientKeyPath, ...(crlPath === undefined ? {} : { crlPath }) };
};

/** What belongs to Consul: nothing without an address, which every other variable of it is useless without. */
const consulOf = (reader: Reader): ConsulSettings | undefined => {
  const text = reader.get('consulHttpAddress');
  const address = text === undefined ? undefined : parseConsulAddress(text, reader.get('consulSsl') ?? false);
  const [tokenFile, caCertPath] = [reader.get('consulTokenFile'), reader.get('consulCaCert')];
  const [clientCertPath, clientKeyPath] = [reader.get('consulClientCert'), reader.get('consulClientKey')];
  const tlsServerName = reader.get('consulTlsServerName');
  const [namespace, partition] = [reader.get('consulNamespace'), reader.get('consulPartition')];
  const maxConnections = reader.get('consulMaxConnections');
  if ((clientCertPath === undefined) !== (clientKeyPath === undefined)) {
    reader.problems.push('CONSUL_CLIENT_CERT, CONSUL_CLIENT_KEY: one is set without the other; write the paths of both PEM files, or none');
  }
  if (address === undefined || maxConnections === undefined) return undefined;
  return {
    address,
    ...(tokenFile === undefined ? {} : { tokenFile }),
    ...(caCertPath === undefined ? {} : { caCertPath }),
    ...(clientCertPath === undefined ? {} : { clientCertPath }),
    ...(clientKeyPath === undefined ? {} : { clientKeyPath }),
    ...(tlsServerName === undefined ? {} : { tlsServerName }),
    namespace: namespace ?? '',
    partition: partition ?? '',
    maxConnections,
  };
};

/** What a command that is no sidecar needs to ask Consul. Throws one `ConfigurationError` for all that is wrong with it, or without an address. */
export const readConsulConnection = (environment: Environment): ConsulSettings => {
  const reader = new Reader(environment, { values: new Map(), problems: [] });
  const consul = consulOf(reader);
  if (consul !== undefined && reader.problems.length === 0) return consul;
  throw new ConfigurationError(reader.problems.join('\n') || 'CONSUL_HTTP_ADDR is not set', {
    remedy: 'write CONSUL_HTTP_ADDR=127.0.0.1:8500',
  });
};

const consulNames = ['consulTokenFile', 'consulSsl', 'consulCaCert', 'consulClientCert', 'consulClientKey'] as const;

/** Two listeners on one port, or an inbound listener that would call itself. */
const portProblems = (reader: Reader): readonly string[] => {
  const ports = (['grpcPort', 'outboundPort', 'adminPort', 'adminGrpcPort'] as const).map((name) => ({
    variable: settings[name].variable,
    port: portOf(reader, name),
  }));
  const localHost = reader.written('localServiceHost')?.text ?? '127.0.0.1';
  if (loopbackHosts.has(localHost)) ports.push({ variable: 'LOCAL_SERVICE_PORT', port: portOf(reader, 'localServicePort') });
  const problems: string[] = [];
  for (const [i, first] of ports.entries()) {
    for (const second of ports.slice(i + 1)) {
      if (first.port !== 0 && first.port === second.port) {
        problems.push(`${first.variable} and ${second.variable} are both ${first.port}: each needs a port of its own; change one of them`);
      }
    }
  }
  return problems;
};

/** The port, or 0 where it is none: what is wrong with it has been said elsewhere. */
const portOf = (reader: Reader, name: 'grpcPort' | 'outboundPort' | 'adminPort' | 'adminGrpcPort' | 'localServicePort'): number => {
  const parsed = settings[name].parse(reader.written(name)?.text ?? settings[name].fallback ?? '0');
  return parsed.ok ? parsed.value : 0;
};

const shortestGuess = 8;

/** Variables one edit away from ours, where ours is not set: somebody's default stays in force without their knowing. */
const misspellings = (environment: Environment): readonly string[] => {
  const ours = settingNames.map((name) => settings[name].variable);
  const warnings: string[] = [];
  for (const name of Object.keys(environment)) {
    if (name.length < shortestGuess || ours.includes(name) || !environment[name]) continue;
    const meant = ours.find(
      (variable) => Math.abs(variable.length - name.length) <= 1 && !environment[variable] && editDistance(name, variable) === 1,
    );
    if (meant !== undefined) warnings.push(`${name} is no variable of Outrider; did you mean ${meant}?`);
  }
  return warnings;
};

const warningsOf = (reader: Reader, environment: Environment): readonly string[] => {
  const warnings: string[] = [];
  if (reader.written('tlsMinimum')?.text === '1.2') {
    warnings.push('TLS_MINIMUM is 1.2, which is meant for a migration; remove it once every peer speaks TLS 1.3');
  }
  for (const name of consulNames) {
    if (reader.written(name) === undefined || reader.written('consulHttpAddress') !== undefined) continue;
    warnings.push(`${settings[name].variable} is set without CONSUL_HTTP_ADDR, and has no effect`);
  }
  if (environment['CONSUL_HTTP_TOKEN']) {
    warnings.push(
      'CONSUL_HTTP_TOKEN is not read: a token in the environment is seen by everybody; write it into a file, and its path into CONSUL_HTTP_TOKEN_FILE',
    );
  }
  return [...warnings, ...misspellings(environment)];
};

/**
 * The sidecar's configuration from the environment and, below it, the `--config` file.
 *
 * Throws one `ConfigurationError` that lists every problem: where it stands, the value, what is allowed, what to write.
 */
export const readSidecarConfiguration = ({ environment, configPath }: ConfigurationSource): SidecarConfiguration => {
  const file: ConfigurationFile = configPath === undefined ? { values: new Map(), problems: [] } : readConfigurationFile(configPath);
  const reader = new Reader(environment, file);
  const { problems } = reader;

  const serviceName = reader.get('serviceName');
  if (reader.written('serviceName') === undefined) {
    problems.push('SERVICE_NAME: not set; write the name of the service beside this sidecar, such as SERVICE_NAME=auth-svc');
  }
  const inboundTls = reader.get('inboundTls');
  const configuration = {
    serviceName,
    grpcPort: reader.get('grpcPort'),
    localServicePort: reader.get('localServicePort'),
    localServiceHost: reader.get('localServiceHost'),
    localServiceHealthIntervalMs: reader.get('localServiceHealthIntervalMs'),
    outboundPort: reader.get('outboundPort'),
    adminPort: reader.get('adminPort'),
    adminAddress: reader.get('adminAddress'),
    adminAllowedHosts: reader.get('adminAllowedHosts'),
    inboundTls,
    tlsMinimum: reader.get('tlsMinimum'),
    trustDomain: reader.get('trustDomain'),
    drainTimeoutMs: reader.get('drainTimeoutMs'),
    startupWaitMs: reader.get('startupWaitMs'),
    maxConnectionsPerSource: reader.get('maxConnectionsPerSource'),
    logLevel: reader.get('logLevel'),
  };
  const serviceVersion = reader.get('serviceVersion');
  const policyPath = reader.get('policyPath');
  const accessLog = reader.get('accessLog');
  const policyConsulKv = reader.get('policyConsulKv');
  const adminGrpcPort = reader.get('adminGrpcPort');
  const consul = consulOf(reader);
  const policyConsulEntries = reader.get('policyConsulEntries') ?? false;
  const policyConsulIntentions = reader.get('policyConsulIntentions') ?? false;
  for (const [variable, wanted] of [
    ['POLICY_CONSUL_INTENTIONS', policyConsulIntentions],
    ['POLICY_CONSUL_KV', policyConsulKv !== undefined],
    ['POLICY_CONSUL_CONFIG_ENTRIES', policyConsulEntries],
  ] as const) {
    if (wanted && consul === undefined && reader.written('consulHttpAddress') === undefined)
      problems.push(`${variable}: set without CONSUL_HTTP_ADDR; write the address of an agent of Consul, or remove it`);
  }
  const registration = readRegistration(reader, consul !== undefined);
  const drainDelayMs = reader.get('drainDelayMs') ?? (registration === undefined ? 0 : registeredDrainDelayMs);
  const optionalLimits = {
    maxConnections: reader.get('maxConnections'),
    maxConnectionsPerListener: reader.get('maxConnectionsPerListener'),
    maxMemoryBytes: reader.get('maxMemoryBytes'),
  };
  const statsd = readStatsd(reader, serviceName);
  const otlpMetrics = readOtlpMetrics(reader, serviceVersion, packageVersion());
  const metricsExemplars = reader.get('metricsExemplars');
  const tracing = readTracing(reader, serviceVersion, packageVersion());
  const identity = identityOf(reader, inboundTls);
  problems.push(...portProblems(reader));

  if (problems.length > 0 || !isComplete(configuration)) {
    const heading = problems.length === 1 ? 'one problem' : `${problems.length} problems`;
    throw new ConfigurationError(`the configuration has ${heading}:\n${problems.map((problem) => `  ${problem}`).join('\n')}`, {
      remedy: '"outrider sidecar --help" lists every variable',
    });
  }
  return Object.freeze({
    ...configuration,
    ...optionalLimits,
    serviceVersion,
    policyPath,
    accessLog,
    policyConsulKv,
    policyConsulEntries,
    policyConsulIntentions,
    adminGrpcPort,
    consul,
    registration,
    tracing,
    statsd,
    otlpMetrics,
    metricsExemplars,
    locality: reader.written('locality')?.text,
    drainDelayMs,
    identity,
    warnings: [
      ...warningsOf(reader, environment),
      ...tracingWarnings(reader, tracing),
      ...statsdWarnings(reader),
      ...otlpMetricsWarnings(reader, otlpMetrics),
    ],
  });
};

/** Peers hear of the end a moment later than Consul. */
const registeredDrainDelayMs = 1_000;

type Complete<T> = { readonly [K in keyof T]: Exclude<T[K], undefined> };

const isComplete = <T extends object>(values: T): values is T & Complete<T> => Object.values(values).every((value) => value !== undefined);
