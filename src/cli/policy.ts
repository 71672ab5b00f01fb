import { Command, CommanderError, Option } from 'commander';
import { formatProblem, loadPolicies, type PolicyCompilation, policyJsonSchema } from '../policy/index.ts';
import { ExitCode } from './exit-code.ts';

interface CheckOptions {
  readonly path?: string;
  readonly consul?: string;
  readonly json?: boolean;
}

/** `outrider policy check|schema`. */
export const policyCommand = (): Command => {
  const policy = new Command('policy').description('check policies before they are rolled out');
  policy
    .command('check')
    .description('read policy files as a sidecar would, and say everything that is wrong or suspicious in them')
    .argument('[paths...]', 'files, and folders whose .yaml and .yml files are merged (default: POLICY_PATH)')
    .addOption(new Option('--path <path>', 'what to check where no paths are given').env('POLICY_PATH').hideHelp())
    // With it a cluster without endpoints is looked up by its name.
    .addOption(new Option('--consul <address>', 'agent of Consul that the sidecar will have').env('CONSUL_HTTP_ADDR').hideHelp())
    .option('--json', 'print JSON instead of lines')
    .addHelpText(
      'after',
      '\nExit code 0: the policies are right, perhaps with warnings; 2: they are wrong, and a sidecar would refuse them.\n',
    )
    .action((paths: readonly string[], options: CheckOptions, command: Command) => {
      const chosen = paths.length === 0 && options.path !== undefined && options.path !== '' ? [options.path] : paths;
      if (chosen.length === 0) {
        command.error('error: nothing to check: name a file or a folder, as in "outrider policy check mesh.yaml", or set POLICY_PATH', {
          code: 'outrider.noPolicies',
          exitCode: ExitCode.wrongUsage,
        });
      }
      const looksUpNames = options.consul === undefined || options.consul === '' ? {} : { looksUpNames: true };
      const compiled = loadPolicies(chosen, looksUpNames);
      writeOut(command, options.json === true ? checkJson(compiled) : checkText(compiled));
      // Commander's own way out: what is to be said has been said.
      if (compiled.table === undefined) throw new CommanderError(ExitCode.wrongUsage, 'outrider.invalidPolicies', 'the policies are wrong');
    });
  policy
    .command('schema')
    .description('print the JSON Schema of policy files, for editors')
    .option('--json', 'the same: it is always JSON')
    .action((_options: unknown, command: Command) => writeOut(command, `${JSON.stringify(policyJsonSchema(), null, 2)}\n`));
  return policy;
};

const writeOut = (command: Command, text: string): void => command.configureOutput().writeOut?.(text);

const counted = (count: number, word: string): string => `${count} ${word}${count === 1 ? '' : 's'}`;

const countOf = ({ problems }: PolicyCompilation, severity: 'error' | 'warning'): number =>
  problems.filter((problem) => problem.severity === severity).length;

const checkText = (compiled: PolicyCompilation): string => {
  const { table, problems, files } = compiled;
  const warnings = counted(countOf(compiled, 'warning'), 'warning');
  const inFiles = `in ${counted(files.length, 'file')}`;
  const verdict =
    table === undefined
      ? `wrong: ${counted(countOf(compiled, 'error'), 'error')}, ${warnings} ${inFiles}`
      : `right: ${counted(table.outbound.routes.length + table.inbound.routes.length, 'route')}, ${counted(table.clusters.size, 'cluster')} ${inFiles}, ${warnings}`;
  return [...problems.map(formatProblem), verdict].map((line) => `${line}\n`).join('');
};

const checkJson = (compiled: PolicyCompilation): string => {
  const { table, problems, files } = compiled;
  const told = {
    ok: table !== undefined,
    ...(table === undefined
      ? {}
      : {
          version: table.version,
          routes: { outbound: table.outbound.routes.length, inbound: table.inbound.routes.length },
          clusters: [...table.clusters.keys()],
        }),
    files,
    problems: problems.map(({ severity, location, path, message, remedy }) => ({ severity, ...location, path, message, remedy })),
  };
  return `${JSON.stringify(told, null, 2)}\n`;
};
