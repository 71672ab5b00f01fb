import { Command } from 'commander';
import { ConfigurationError, formatHostPort, parseDurationMs } from '../../core/index.ts';
import { type CommandContext, formatTable } from '../console.ts';
import { componentNames, readComponents } from './components.ts';
import { Docker } from './docker.ts';
import { findComposeFile, Stack, type StackContainer, shellWords } from './stack.ts';

interface StackOptions {
  readonly file?: string;
  readonly project?: string;
  readonly json?: boolean;
}

interface UpOptions extends StackOptions {
  readonly components?: string;
  readonly build: boolean;
  readonly timeout: string;
}

const upHelp = `
Components: ${componentNames.join(', ')}.
Services, sidecars and Consul are always started. "envoy" is understood: the sidecars take its place.

Examples:
  outrider up
  outrider up --components consul,jaeger,prometheus,grafana,statsd
  outrider down --volumes
`;

const withStackOptions = (command: Command): Command =>
  command
    .option('--file <file>', 'compose file (default: deploy/compose/compose.yaml of this program)')
    .option('--project <name>', 'name of the compose project (default: that of the file)')
    .option('--json', 'print JSON instead of lines');

/** `outrider up`: the mesh of `deploy/compose` in Docker. */
export const upCommand = (context: CommandContext): Command =>
  withStackOptions(new Command('up'))
    .description('start a mesh with docker compose: three services beside their sidecars, Consul, and what operators look at')
    .option('--components <names>', 'what else to start, separated by commas')
    .option('--no-build', 'take the image as it is, also in a checkout')
    .option('--timeout <duration>', 'how long everything may take to be healthy, beside building and pulling', '180s')
    .addHelpText('after', upHelp)
    .action((options: UpOptions) => runUp(options, context));

/** `outrider down`: ends it. */
export const downCommand = (context: CommandContext): Command =>
  withStackOptions(new Command('down'))
    .description('end the mesh that "outrider up" has started')
    .option('--volumes', 'its certificates and their authority, too')
    .action((options: StackOptions & { readonly volumes?: boolean }) => runDown(options, context));

const stackOf = ({ file, project }: StackOptions, docker: Docker): Stack => {
  if (project !== undefined && !/^[a-z0-9][a-z0-9_-]*$/.test(project))
    throw new ConfigurationError(`--project ${project}: expected lower-case letters, digits, dashes and underscores`, {
      remedy: 'write --project mesh',
    });
  return new Stack(docker, findComposeFile(file), project);
};

const runUp = async (options: UpOptions, { environment, console }: CommandContext): Promise<void> => {
  const { extras, notes } = options.components === undefined ? { extras: [], notes: [] } : readComponents(options.components);
  const timeoutMs = parseDurationMs(options.timeout);
  if (timeoutMs === undefined || timeoutMs < 1_000)
    throw new ConfigurationError(`--timeout ${options.timeout}: expected a duration with its unit, at least 1s`, {
      remedy: 'write --timeout 180s',
    });
  const docker = new Docker(environment, console.error);
  const stack = stackOf(options, docker);
  for (const note of notes) console.error(`note: ${note}\n`);
  await docker.check();
  await stack.up(extras, { build: options.build, waitSeconds: Math.ceil(timeoutMs / 1_000) });
  const containers = await stack.containers();
  const addresses = addressesOf(containers);
  const next = nextCommands(stack, containers, options);
  if (options.json === true) console.out(`${JSON.stringify({ addresses, next, containers }, null, 2)}\n`);
  else {
    const rows = addresses.map(({ what, address }) => [what, address]);
    const lines = next.map(({ what, command }) => `  ${command}  # ${what}\n`).join('');
    console.out(`the mesh is up\n\n${formatTable(['WHAT', 'WHERE'], rows)}\nNext:\n${lines}`);
  }
};

const runDown = async (options: StackOptions & { readonly volumes?: boolean }, { environment, console }: CommandContext): Promise<void> => {
  const docker = new Docker(environment, console.error);
  const stack = stackOf(options, docker);
  await docker.check();
  await stack.down(options.volumes === true);
  const kept = options.volumes === true ? '' : '; its certificates are kept ("outrider down --volumes" takes them, too)';
  console.out(options.json === true ? '{ "down": true }\n' : `the mesh is down${kept}\n`);
};

/** What a published port of a container is to somebody at this machine, by the port inside. */
const meanings: readonly (readonly [service: RegExp, port: number, what: (name: string) => string, url: (address: string) => string])[] = [
  [/^consul$/, 8500, () => 'Consul', (address) => `http://${address}/ui`],
  [/^jaeger$/, 16686, () => 'Jaeger', (address) => `http://${address}`],
  [/^prometheus$/, 9090, () => 'Prometheus', (address) => `http://${address}`],
  [/^grafana$/, 3000, () => 'Grafana', (address) => `http://${address}`],
  [/-pod$|-sidecar$/, 9901, (name) => `dashboard of ${name}`, (address) => `http://${address}`],
  [/-pod$|-sidecar$/, 50051, (name) => `${name} (mTLS)`, (address) => address],
];

const serviceOf = (container: string): string => container.replace(/-(pod|sidecar)$/, '');

const addressesOf = (containers: readonly StackContainer[]): readonly { readonly what: string; readonly address: string }[] =>
  containers
    .flatMap(({ service, ports }) =>
      ports.flatMap(({ container, host, published }) => {
        const found = meanings.find(([name, port]) => port === container && name.test(service));
        if (found === undefined) return [];
        const [, , what, url] = found;
        const reached = host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host;
        return [{ what: what(serviceOf(service)), address: url(formatHostPort({ host: reached, port: published })) }];
      }),
    )
    .sort((a, b) => (a.what < b.what ? -1 : 1));

/** Commands that make sense with what runs. A container of its own for `verify`: the sidecar's memory is counted. */
const nextCommands = (
  stack: Stack,
  containers: readonly StackContainer[],
  { file, project }: StackOptions,
): readonly { readonly what: string; readonly command: string }[] => {
  const running = new Set(containers.filter(({ state }) => state === 'running').map(({ service }) => service));
  const [sidecar] = [...running].filter((name) => name.endsWith('-sidecar')).sort();
  if (sidecar === undefined) return [{ what: 'what runs', command: `${stack.command} ps` }];
  const observers = [
    ...(running.has('prometheus') ? ['--prometheus http://prometheus:9090'] : []),
    ...(running.has('jaeger') ? ['--jaeger http://jaeger:16686'] : []),
  ];
  const verify = ['verify', '--via 127.0.0.1:15001', ...observers].join(' ');
  return [
    { what: 'whether everything is right', command: `${stack.command} run --rm --no-deps ${sidecar} ${verify}` },
    { what: 'what a sidecar says of its peers', command: `${stack.command} exec ${sidecar} outrider clusters` },
    { what: 'what it did', command: `${stack.command} logs --follow ${sidecar}` },
    {
      what: 'end it',
      command: shellWords(
        'outrider',
        'down',
        ...(file === undefined ? [] : ['--file', stack.file]),
        ...(project === undefined ? [] : ['--project', project]),
      ),
    },
  ];
};
