import { Command, CommanderError, Option } from 'commander';
import { ConfigurationError } from '../core/index.ts';
import type { BreakerAction } from './admin-commands.ts';
import { type CommandContext, CommandFailure } from './console.ts';
import { ExitCode } from './exit-code.ts';
import { packageVersion } from './package-version.ts';
import { settingNames, settings } from './settings.ts';

/** Groups of commands that bring their own tree; loaded only when asked for, since forge and the policy parser cost start-up time. */
const families = [
  {
    name: 'certs',
    description: 'make, renew and check the certificates of a mesh',
    load: async (context: CommandContext, finish: (code: number) => void) => (await import('./certs.ts')).certsCommand(context, finish),
  },
  {
    name: 'policy',
    description: 'check policies before they are rolled out',
    load: async () => (await import('./policy.ts')).policyCommand(),
  },
];

/** Commands with many options; loaded only when asked for. */
const meshCommands = [
  {
    name: 'verify',
    description: 'go through a mesh that runs, and say of everything whether it is right, or what is wrong and what helps',
    load: async (context: CommandContext, finish: (code: number) => void) =>
      (await import('./verify/verify-command.ts')).verifyCommand(context, finish),
  },
  {
    name: 'up',
    description: 'start a mesh with docker compose: three services beside their sidecars, Consul, and what operators look at',
    load: async (context: CommandContext) => (await import('./stack/stack-commands.ts')).upCommand(context),
  },
  {
    name: 'down',
    description: 'end the mesh that "outrider up" has started',
    load: async (context: CommandContext) => (await import('./stack/stack-commands.ts')).downCommand(context),
  },
];

const adminOption = () =>
  new Option('--admin <host:port>', 'admin port of the sidecar (default: ADMIN_ADDRESS and ADMIN_PORT, else 127.0.0.1:9901)');
const jsonOption = () => new Option('--json', 'print JSON instead of a table');

const variablesHelp = (): string => {
  const width = Math.max(...settingNames.map((name) => settings[name].variable.length));
  const lines = settingNames.map((name) => {
    const { variable, fallback, meaning } = settings[name];
    const note = fallback ? ` (${fallback})` : '';
    return `  ${variable.padEnd(width)}  ${meaning}${note}`;
  });
  return `\nVariables of the environment; in the YAML file the same names in lower case. The environment wins.\n${lines.join('\n')}\n`;
};

/**
 * The commands of the program. The exit code of a command that was carried out comes through `finish`; usage errors and failures
 * are thrown.
 */
const buildProgram = async (argv: readonly string[], context: CommandContext, finish: (code: number) => void): Promise<Command> => {
  const program = new Command('outrider')
    .description('A service-mesh sidecar for gRPC: mTLS, deadlines, retries, circuit breakers and a reason for every failed call.')
    .version(packageVersion(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'show help; "outrider help <command>" for one command')
    .showHelpAfterError('"outrider --help" lists the commands');

  program.commandsGroup('Running:');
  program
    .command('sidecar')
    .description('run the sidecar of one service')
    .option('--config <file>', 'YAML file with settings; the environment wins over it')
    .addHelpText('after', variablesHelp)
    .action(async (options: { config?: string }) => {
      const { runSidecar } = await import('./run-sidecar.ts');
      finish(await runSidecar(options, context.environment));
    });
  program
    .command('demo')
    .description('run a mesh of three services, each beside a real sidecar, with faults to switch on')
    .option('--for <duration>', 'end by itself after this time, with a summary (such as 10s)')
    .option('--rate <calls>', 'calls a second', '30')
    .option('--fault <kind:service@from[-to]>', 'a fault at a time of the run, repeatable; kinds: kill, slow, fail, foreign', collect, [])
    .option('--plain', 'lines instead of the live screen')
    .addOption(new Option('--json', 'print the summary as JSON'))
    .addHelpText('after', demoHelp)
    .action(async (options: { for?: string; rate: string; fault: string[]; plain?: boolean; json?: boolean }) => {
      const { runDemoCommand } = await import('./demo.ts');
      finish(await runDemoCommand(options, context));
    });
  program
    .command('demo-service', { hidden: true })
    .description('one service of the demo mesh; started by "outrider demo", and by deploy/compose')
    .requiredOption('--name <service>', 'auth-svc, learner-svc or event-collector-svc')
    .option('--port <port>', 'where to listen; 0 lets the system choose', '0')
    .option('--outbound <host:port>', 'where to call peers; the service then stands alone and takes no orders on stdin')
    .action(async (options: { name: string; port: string; outbound?: string }) => {
      const { runDemoServiceCommand } = await import('./demo.ts');
      finish(await runDemoServiceCommand(options, context));
    });

  program
    .command('registry')
    .description('run a small registry with the part of the HTTP API of Consul that sidecars use, for laptops, demos and tests')
    .option('--listen <host:port>', 'where to listen; port 0 lets the system choose', '127.0.0.1:8500')
    .option('--data <file>', 'keep what was registered in this file; without it everything is gone with the process')
    .option('--allow-host <name>', 'a name that it may be asked under, beside those of the loopback; repeatable', collect, [])
    .option('--datacenter <name>', 'the datacenter that it says it is', 'dc1')
    .addHelpText('after', registryHelp)
    .action(async (options: { listen: string; data?: string; allowHost: string[]; datacenter: string }) => {
      const { runRegistry } = await import('./registry.ts');
      finish(await runRegistry(options));
    });

  program.commandsGroup('Preparing:');
  for (const { name, description, load } of families) {
    const asked = argv.slice(0, 2).includes(name);
    program.addCommand(asked ? (await load(context, finish)).description(description) : new Command(name).description(description));
  }

  program.commandsGroup('A mesh as a whole:');
  for (const { name, description, load } of meshCommands) {
    const asked = argv.slice(0, 2).includes(name);
    program.addCommand(asked ? (await load(context, finish)).description(description) : new Command(name).description(description));
  }

  program.commandsGroup('Looking into a running sidecar:');
  program
    .command('stats')
    .description('print its counters and gauges')
    .option('--filter <regex>', 'only names that match')
    .addOption(adminOption())
    .addOption(jsonOption())
    .action(async (options) => (await import('./admin-commands.ts')).printStats(options, context));
  const clusters = program
    .command('clusters')
    .description('print its clusters: endpoints, health, circuit breakers')
    .addOption(adminOption())
    .addOption(jsonOption())
    .action(async (options) => (await import('./admin-commands.ts')).printClusters(options, context));
  clusters
    .command('uneject')
    .description('take an endpoint back that outlier detection has ejected')
    .argument('<cluster>', 'name of the cluster')
    .argument('<address>', 'the endpoint, host:port')
    .addOption(adminOption())
    .addOption(jsonOption())
    // The options of `clusters` are known here, too, and whichever of both takes them.
    .action(async (cluster: string, address: string, _options, command: Command) =>
      (await import('./admin-commands.ts')).unejectEndpoint(cluster, address, command.optsWithGlobals(), context),
    );
  program
    .command('routes')
    .description('print its routes in the order of evaluation')
    .addOption(adminOption())
    .addOption(jsonOption())
    .action(async (options) => (await import('./admin-commands.ts')).printRoutes(options, context));
  const breaker = program.command('breaker').description('reset a circuit breaker, or hold it open or closed');
  for (const action of ['reset', 'open', 'close'] as const) addBreakerAction(breaker, action, context);
  program
    .command('drain')
    .description('let it finish what it has accepted, and end')
    .addOption(adminOption())
    .addOption(jsonOption())
    .action(async (options) => (await import('./admin-commands.ts')).drainSidecar(options, context));
  return program;
};

const collect = (value: string, earlier: readonly string[]): readonly string[] => [...earlier, value];

const demoHelp = `
Keys while it runs: 1 kills a service, 2 slows one, 3 makes one fail every third call, 4 gives one the certificate of another
mesh; the same key again ends the fault; q or Ctrl-C ends the demo and leaves nothing behind.

The services find each other in the Consul of CONSUL_HTTP_ADDR, else in one of a "consul" on PATH, else in "outrider registry".

Exit code 0 when nothing failed that should not have, 1 otherwise. Example of a run without keys:
  outrider demo --for 20s --fault kill:learner-svc@3s-8s
`;

const registryHelp = `
It is one node without access control, and keeps at most 10,000 services. Production wants Consul.

  /v1/agent/service/register, /v1/agent/service/deregister/:id, /v1/agent/service/:id, /v1/agent/services, /v1/agent/checks
  /v1/agent/check/register, /v1/agent/check/deregister|pass|warn|fail|update/:id (TTL, HTTP, TCP and gRPC checks)
  /v1/agent/service/maintenance/:id, /v1/agent/maintenance, /v1/agent/self
  /v1/health/service|checks|state|node/:name, /v1/catalog/services, /v1/catalog/service/:name, /v1/catalog/nodes,
  /v1/catalog/node/:name (index, wait, passing, tag, filter), /v1/catalog/datacenters, /v1/status/leader, /v1/status/peers
  /v1/kv/:key (raw, recurse, keys, separator, cas, flags, index, wait)
`;

const addBreakerAction = (breaker: Command, action: BreakerAction, context: CommandContext): void => {
  const description = {
    reset: 'close it and let it work by itself again',
    open: 'hold it open: calls are refused at once with circuit_open',
    close: 'hold it closed, whatever fails',
  }[action];
  const command = breaker
    .command(action)
    .description(description)
    .argument('<cluster>', 'name of the cluster')
    .option('--endpoint <host:port>', 'only the breaker of this endpoint (scope: endpoint)')
    .option('--method <path>', 'only the breaker of this full gRPC path (scope: method)')
    .addOption(adminOption())
    .addOption(jsonOption())
    .action(async (cluster: string, options) => (await import('./admin-commands.ts')).changeBreaker(action, cluster, options, context));
  if (action !== 'reset') command.option('--ttl <duration>', 'end the hold after this time, such as 60s (default: until a reset)');
};

/** Commander ends the process by itself unless every command, also those of the families, is told to throw. */
const takeOver = (command: Command, { console }: CommandContext): void => {
  command.exitOverride().configureOutput({ writeOut: (text) => console.out(text), writeErr: (text) => console.error(text) });
  for (const child of command.commands) takeOver(child, { console } as CommandContext);
};

const explain = (error: unknown, { console }: CommandContext): number => {
  // Commander has printed its own message; help that was asked for and the version are successes.
  if (error instanceof CommanderError) return error.exitCode === 0 ? ExitCode.done : ExitCode.wrongUsage;
  if (error instanceof ConfigurationError || error instanceof CommandFailure) {
    console.error(`error: ${error.message}\n${error.remedy === undefined ? '' : `${error.remedy}\n`}`);
    return error instanceof ConfigurationError ? ExitCode.wrongUsage : ExitCode.failed;
  }
  console.error(`error: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  return ExitCode.failed;
};

/** Runs the command that `argv` (without the program's own name) asks for; resolves with the exit code and never rejects. */
export const runProgram = async (argv: readonly string[], context: CommandContext): Promise<number> => {
  let code: number = ExitCode.done;
  try {
    const program = await buildProgram(argv, context, (result) => {
      code = result;
    });
    takeOver(program, context);
    if (argv.length === 0) {
      program.outputHelp({ error: true });
      return ExitCode.wrongUsage;
    }
    await program.parseAsync([...argv], { from: 'user' });
    return code;
  } catch (error) {
    return explain(error, context);
  }
};
