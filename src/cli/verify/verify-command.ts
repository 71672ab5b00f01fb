import { existsSync, readFileSync } from 'node:fs';
import { Command, Option } from 'commander';
import { ConfigurationError, holdProcess, parseDurationMs, SystemClock, silentLogger } from '../../core/index.ts';
import { ConsulClient } from '../../discovery/index.ts';
import type { TlsVersion } from '../../identity/index.ts';
import { type Environment, readConsulConnection } from '../configuration.ts';
import type { CommandContext } from '../console.ts';
import { ExitCode } from '../exit-code.ts';
import { type Address, parseAddress } from './address.ts';
import { ConsulDirectory } from './consul-directory.ts';
import type { ClientIdentity, VerifyPlan } from './plan.ts';
import { countOutcomes, formatReport, reportJson } from './report.ts';
import { verifyMesh } from './verify-mesh.ts';

export interface VerifyOptions {
  readonly services?: string;
  readonly consul?: string;
  readonly admin: readonly string[];
  readonly via?: string;
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly trustDomain?: string;
  readonly prometheus?: string;
  readonly jaeger?: string;
  readonly ownPolicies?: boolean;
  readonly timeout: string;
  readonly traceTimeout: string;
  readonly scrapeTimeout: string;
  readonly clockSkew: string;
  readonly expiryWarning: string;
  readonly expiryFailure: string;
  readonly json?: boolean;
}

const collect = (value: string, earlier: readonly string[]): readonly string[] => [...earlier, value];

const help = `
Each check has a tick, or a cause with the command that helps; "-" is what could not be looked at from here, with the reason.

  consul         an agent answers, and there is a leader
  identity       the certificate of the client that asks
  registration   in the catalogue, with address, port and the metadata of a sidecar; its checks pass
  port           the inbound listener accepts connections
  certificate    as the listener shows it: chain, dates, key, strength, names (SPIFFE id too), purposes
  mtls           no certificate, one of another authority, plain text and TLS 1.2 are refused
  call           grpc.health.v1.Health/Check through the inbound listener, and with --via through both sidecars
  admin          ready, no overload, policies in force, breakers closed, nobody ejected, endpoints known, the service beside it well
  local_service.bypass  a call in plain text to the service itself, around its sidecar, fails
  policies.same  all sidecars have the same policies
  clock          the clocks of Consul and of each sidecar agree with ours
  metrics        /metrics has what dashboards need; with --prometheus it is scraped
  trace          with --jaeger: a call is made and found

Exit code 0: nothing failed; 1: something did; 2: wrong usage.

Examples:
  outrider verify --services auth-svc,learner-svc,event-collector-svc
  outrider verify --via 127.0.0.1:15001 --prometheus http://127.0.0.1:9090 --jaeger http://127.0.0.1:16686
  outrider verify --services auth-svc --admin auth-svc=10.0.0.4:9901 --json
`;

/** `outrider verify`. `finish` gets the exit code. */
export const verifyCommand = (context: CommandContext, finish: (code: number) => void): Command =>
  new Command('verify')
    .description('go through a mesh that runs, and say of everything whether it is right, or what is wrong and what helps')
    .option('--services <names>', 'services, separated by commas (default: all that sidecars have registered)')
    .option('--consul <host:port>', 'agent of Consul (default: CONSUL_HTTP_ADDR, else 127.0.0.1:8500)')
    .option('--admin <name=host:port>', 'admin port of a sidecar, where the registration does not lead to it; repeatable', collect, [])
    .option('--via <host:port>', 'outbound listener of a sidecar, to call the services through both sidecars')
    .option('--ca <file>', 'authorities of the mesh (default: CA_CERT_PATH, else ./certs/ca/ca.crt)')
    .option('--cert <file>', 'certificate of a client (default: CLIENT_CERT_PATH, else ./certs/mesh-client.crt)')
    .option('--key <file>', 'its key (default: CLIENT_KEY_PATH, else ./certs/mesh-client-key.pem)')
    .option('--trust-domain <name>', 'trust domain of the mesh (default: TRUST_DOMAIN, else mesh.local)')
    .option('--prometheus <url>', 'Prometheus that scrapes the sidecars')
    .option('--jaeger <url>', 'query API of Jaeger, such as http://127.0.0.1:16686')
    .option('--own-policies', 'services have policies of their own: only instances of one service must have the same')
    .option('--timeout <duration>', 'how long each answer may take', '5s')
    .option('--trace-timeout <duration>', 'how long a trace may take to arrive in Jaeger', '15s')
    .option('--scrape-timeout <duration>', 'how long Prometheus may take to find a sidecar and to scrape it', '20s')
    .option('--clock-skew <duration>', 'how far clocks may be apart', '2s')
    .option('--expiry-warning <duration>', 'certificates that end sooner are a warning', '14d')
    .option('--expiry-failure <duration>', 'certificates that end sooner are a failure', '1d')
    .addOption(new Option('--json', 'print JSON instead of lines'))
    .addHelpText('after', help)
    .action(async (options: VerifyOptions) => finish(await runVerify(options, context)));

const runVerify = async (options: VerifyOptions, { environment, console }: CommandContext): Promise<number> => {
  const plan = makePlan(options, environment);
  const clock = new SystemClock();
  const address = options.consul ?? (environment['CONSUL_HTTP_ADDR']?.trim() || '127.0.0.1:8500');
  const connection = readConsulConnection({ ...environment, CONSUL_HTTP_ADDR: address });
  const { timeoutMs } = plan;
  const client = new ConsulClient({ ...connection, clock, log: silentLogger, timeoutMs, connectTimeoutMs: timeoutMs });
  const release = holdProcess();
  try {
    const beganMs = clock.now();
    const groups = await verifyMesh(plan, { clock, consul: new ConsulDirectory(client, clock) });
    const { isTTY, columns } = process.stdout;
    const screen = { colours: isTTY === true && !environment['NO_COLOR'], columns: isTTY === true ? columns : 0 };
    console.out(options.json === true ? reportJson(groups) : formatReport(groups, clock.now() - beganMs, screen));
    return countOutcomes(groups).failed === 0 ? ExitCode.done : ExitCode.failed;
  } finally {
    client.close();
    release();
  }
};

const wrongUsage = (message: string, remedy: string): ConfigurationError => new ConfigurationError(message, { remedy });

const makePlan = (options: VerifyOptions, environment: Environment): VerifyPlan => {
  const services = (options.services ?? '').split(',').map((name) => name.trim());
  if (options.services !== undefined && services.some((name) => !/^[A-Za-z0-9._-]+$/.test(name)))
    throw wrongUsage(`--services ${options.services}: expected names, separated by commas`, 'write --services auth-svc,learner-svc');
  const named = options.services === undefined ? [] : [...new Set(services)];
  const admins = readAdmins(options.admin);
  for (const name of admins.keys())
    if (named.length > 0 && !named.includes(name))
      throw wrongUsage(`--admin ${name}: no service of --services is called so`, `write --services ${[...named, name].join(',')}`);
  return {
    services: named,
    admins,
    via: options.via === undefined ? undefined : readAddress('--via', options.via, '127.0.0.1:15001'),
    identity: readClientIdentity(options, environment),
    trustDomain: options.trustDomain ?? (environment['TRUST_DOMAIN'] || 'mesh.local'),
    tlsMinimum: readTlsMinimum(environment),
    prometheus: readUrl('--prometheus', options.prometheus, 'http://127.0.0.1:9090'),
    jaeger: readUrl('--jaeger', options.jaeger, 'http://127.0.0.1:16686'),
    timeoutMs: readDuration('--timeout', options.timeout, 50, 120_000),
    traceTimeoutMs: readDuration('--trace-timeout', options.traceTimeout, 0, 600_000),
    scrapeTimeoutMs: readDuration('--scrape-timeout', options.scrapeTimeout, 0, 600_000),
    clockSkewMs: readDuration('--clock-skew', options.clockSkew, 0, dayMs),
    expiryWarningMs: readDuration('--expiry-warning', options.expiryWarning, 0, 3_650 * dayMs),
    expiryFailureMs: readDuration('--expiry-failure', options.expiryFailure, 0, 3_650 * dayMs),
    samePoliciesEverywhere: options.ownPolicies !== true,
  };
};

const dayMs = 86_400_000;

const readAdmins = (texts: readonly string[]): ReadonlyMap<string, readonly Address[]> => {
  const admins = new Map<string, Address[]>();
  for (const text of texts) {
    const [, name = '', rest = ''] = /^([A-Za-z0-9._-]+)=(.+)$/.exec(text) ?? [];
    const address = parseAddress(rest);
    if (address === undefined) throw wrongUsage(`--admin ${text}: expected name=host:port`, 'write --admin auth-svc=127.0.0.1:9901');
    admins.set(name, [...(admins.get(name) ?? []), address]);
  }
  return admins;
};

const readAddress = (option: string, text: string, example: string): Address => {
  const address = parseAddress(text);
  if (address === undefined) throw wrongUsage(`${option} ${text}: expected host:port`, `write ${option} ${example}`);
  return address;
};

const readUrl = (option: string, text: string | undefined, example: string): string | undefined => {
  if (text === undefined) return undefined;
  if (!/^https?:\/\//.test(text) || !URL.canParse(text))
    throw wrongUsage(`${option} ${text}: expected a URL`, `write ${option} ${example}`);
  return text.replace(/\/+$/, '');
};

const readDuration = (option: string, text: string, leastMs: number, mostMs: number): number => {
  const ms = parseDurationMs(text);
  if (ms === undefined || ms < leastMs || ms > mostMs)
    throw wrongUsage(`${option} ${text}: expected a duration with its unit (ms, s, m, h, d)`, `write ${option} 5s`);
  return ms;
};

const readTlsMinimum = (environment: Environment): TlsVersion => (environment['TLS_MINIMUM']?.trim() === '1.2' ? 'TLSv1.2' : 'TLSv1.3');

/** Files that were named have to be there; those of the usual layout are taken where they are. */
const readClientIdentity = ({ ca, cert, key }: VerifyOptions, environment: Environment): ClientIdentity | undefined => {
  const paths = {
    ca: ca ?? (environment['CA_CERT_PATH']?.trim() || undefined),
    cert: cert ?? (environment['CLIENT_CERT_PATH']?.trim() || undefined),
    key: key ?? (environment['CLIENT_KEY_PATH']?.trim() || undefined),
  };
  const isNamed = Object.values(paths).some((path) => path !== undefined);
  const caPath = paths.ca ?? './certs/ca/ca.crt';
  const certPath = paths.cert ?? './certs/mesh-client.crt';
  const keyPath = paths.key ?? './certs/mesh-client-key.pem';
  if (!isNamed && ![caPath, certPath, keyPath].every((path) => existsSync(path))) return undefined;
  return { caPath, certPath, caPem: read('--ca', caPath), certPem: read('--cert', certPath), keyPem: read('--key', keyPath) };
};

const read = (option: string, path: string): string => {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new ConfigurationError(`${path} cannot be read: ${why}`, {
      remedy: `name the file with ${option}; "outrider certs init" makes one`,
      cause,
    });
  }
};
