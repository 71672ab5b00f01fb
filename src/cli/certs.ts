import { Argument, Command, Option } from 'commander';
import { ConfigurationError, SystemClock } from '../core/index.ts';
import {
  certificatePaths,
  checkFileName,
  checkServiceName,
  checkTrustDomain,
  issueInto,
  type KeyType,
  keyTypes,
  meshClientName,
  openAuthority,
} from '../identity/index.ts';
import { verifyCertificates } from './certs-verify.ts';
import { type CommandContext, formatTable } from './console.ts';

interface IssueOptions {
  readonly outputDir: string;
  readonly validDays: string;
  readonly trustDomain?: string;
  readonly keyType: KeyType;
  readonly json?: boolean;
}

const defaultServices = ['auth-svc', 'learner-svc', 'event-collector-svc'];
const defaultTrustDomain = 'mesh.local';
/** A century: what is more is a slip of the finger. */
const mostDays = 36_500;

/** `outrider certs init|issue|verify`. `finish` gets the exit code of a verification. */
export const certsCommand = (context: CommandContext, finish: (code: number) => void): Command => {
  const certs = new Command('certs').description('make and check the certificates of a mesh');
  withIssueOptions(certs.command('init'))
    .description('make a certificate for each service and for mesh-client, and the authority that signs them where there is none yet')
    .addArgument(new Argument('[services...]', 'names of the services').default(defaultServices, defaultServices.join(' ')))
    .addHelpText('after', initHelp)
    .action((services: readonly string[], options: IssueOptions) => issueAll('init', [...services, meshClientName], options, context));
  withIssueOptions(certs.command('issue'))
    .description('make or renew single certificates with the authority that "certs init" made')
    .argument('<names...>', `names of services, or ${meshClientName}`)
    .addHelpText('after', issueHelp)
    .action((names: readonly string[], options: IssueOptions) => issueAll('issue', names, options, context));
  certs
    .command('verify')
    .description('check certificates as a sidecar would: chain, dates, key, strength, names, purposes')
    .argument('[paths...]', 'certificates, or folders of them', ['./certs'])
    .option('--ca <file>', 'certificates of the authorities to trust (default: ca/ca.crt or ca.crt of the folder)')
    .option('--json', 'print JSON instead of lines')
    .addHelpText('after', verifyHelp)
    .action((paths: readonly string[], options: { readonly ca?: string; readonly json?: boolean }) =>
      finish(verifyCertificates(paths, options, new SystemClock(), context.console)),
    );
  return certs;
};

const withIssueOptions = (command: Command): Command =>
  command
    .option('--output-dir <folder>', 'folder of the certificates', './certs')
    .option('--valid-days <days>', 'how long the certificates of services are valid; never longer than the authority', '365')
    .option(
      '--trust-domain <name>',
      `the middle part of spiffe://<name>/service/... (default: that of the authority, else ${defaultTrustDomain})`,
    )
    .addOption(new Option('--key-type <type>', 'kind of the keys').choices(keyTypes).default('p256'))
    .option('--json', 'print JSON instead of a table');

const layoutHelp = `
  ca/ca.crt                             the authority, for CA_CERT_PATH of every sidecar; valid for ten years
  ca/ca-key.pem                         its key: keep it off the machines that run sidecars
  services/<name>.crt                   for CLIENT_CERT_PATH
  services/<name>-key.pem               for CLIENT_KEY_PATH
  mesh-client.crt, mesh-client-key.pem  for clients that are no service: scripts, grpcurl
`;

const initHelp = `
An authority that is there is kept and used. The certificates of the named services are made anew each time; running sidecars
take them up by themselves. Files, under --output-dir:
${layoutHelp}
Examples:
  outrider certs init
  outrider certs init --output-dir /etc/mesh --valid-days 90 auth-svc billing-svc
`;

const issueHelp = `
Examples:
  outrider certs issue billing-svc
  outrider certs issue --valid-days 30 auth-svc learner-svc
`;

const verifyHelp = `
Exit code 0: everything is good; 1: something is wrong; 2: a path or option is.

Examples:
  outrider certs verify
  outrider certs verify ./certs/services/auth-svc.crt --ca ./certs/ca/ca.crt
`;

const parseDays = (text: string): number => {
  const days = Number(text);
  if (/^\d+$/.test(text) && days > 0 && days <= mostDays) return days;
  throw new ConfigurationError(`--valid-days ${text}: expected whole days, from 1 to ${mostDays}`, { remedy: 'write --valid-days 365' });
};

const issueAll = async (
  action: 'init' | 'issue',
  names: readonly string[],
  options: IssueOptions,
  { console }: CommandContext,
): Promise<void> => {
  const { outputDir, keyType, json } = options;
  const validDays = parseDays(options.validDays);
  // Before anything is written: half a folder would be a riddle.
  for (const name of names) {
    checkServiceName(name);
    checkFileName(name);
  }
  if (options.trustDomain !== undefined) checkTrustDomain(options.trustDomain);
  const nowMs = new SystemClock().wallNow();
  const ca = certificatePaths(outputDir, 'ca');
  const { authority, created } = await openAuthority(outputDir, {
    trustDomain: options.trustDomain ?? defaultTrustDomain,
    keyType,
    nowMs,
    mayCreate: action === 'init',
  });
  const trustDomain = options.trustDomain ?? authority.trustDomain ?? defaultTrustDomain;
  const issued = [];
  for (const name of new Set(names)) {
    issued.push({ name, ...(await issueInto(outputDir, authority, { name, trustDomain, validDays, keyType, nowMs })) });
  }
  const authorityEndMs = authority.certificate.validToDate.getTime();
  if (json) {
    const told = {
      authority: { ...ca, created, not_after: new Date(authorityEndMs).toISOString() },
      certificates: issued.map(({ name, cert, key, notAfterMs }) => ({ name, cert, key, not_after: new Date(notAfterMs).toISOString() })),
    };
    console.out(`${JSON.stringify(told, null, 2)}\n`);
    return;
  }
  const rows = [
    [created ? 'authority (new)' : 'authority (kept)', ca.cert, ca.key, dayOf(authorityEndMs)],
    ...issued.map(({ name, cert, key, notAfterMs }) => [name, cert, key, dayOf(notAfterMs)]),
  ];
  console.out(formatTable(['NAME', 'CERTIFICATE', 'KEY', 'VALID UNTIL'], rows));
  if (issued.some(({ notAfterMs }) => notAfterMs === authorityEndMs))
    console.error(`note: the authority ends on ${dayOf(authorityEndMs)}, and its certificates with it\n`);
};

const dayOf = (ms: number): string => new Date(ms).toISOString().slice(0, 10);
