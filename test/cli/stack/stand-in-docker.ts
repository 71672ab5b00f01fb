import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { outriderPath, type ProgramExit, runProgram } from '../../harness/program.ts';
import { type TemporaryFolder, temporaryFolder } from '../../harness/temporary-folder.ts';

/** What the stand-in answers; each is right where it is left out. */
export interface DockerAnswers {
  /** `undefined`: there is no compose plugin. */
  readonly compose?: string | undefined;
  readonly engine?: string;
  /** What it says on stderr in place of the engine's version. */
  readonly engineError?: string;
  readonly hasImage?: boolean;
  /** Of `compose up`: what it says on stderr, and then ends with 1. */
  readonly upError?: string;
  /** Of `compose ps`. */
  readonly containers?: readonly object[];
  /** Of `compose config --services`. */
  readonly services?: readonly string[];
}

const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

const script = (log: string, answers: DockerAnswers): string => {
  const {
    compose = 'compose' in answers ? undefined : '2.32.1',
    engine = '28.2.2',
    engineError,
    hasImage = true,
    upError,
    containers = [],
    services = [],
  } = answers;
  const fail = (text: string): string => `printf '%s\\n' ${quoted(text)} >&2; exit 1`;
  const say = (text: string): string => `printf '%s\\n' ${quoted(text)}`;
  return `#!/bin/sh
printf '%s\\n' "$*" >>${quoted(log)}
case "$*" in
  'compose version --short') ${compose === undefined ? fail("docker: 'compose' is not a docker command.") : say(compose)} ;;
  version*) ${engineError === undefined ? say(engine) : fail(engineError)} ;;
  'image inspect'*) ${hasImage ? say('sha256:0') : fail('Error: No such image: outrider')} ;;
  *' config --services') ${say(services.join('\n'))} ;;
  *' ps '*) ${say(containers.map((container) => JSON.stringify(container)).join('\n'))} ;;
  *' up '*) ${upError === undefined ? 'echo " Container outrider-consul-1  Healthy" >&2' : fail(upError)} ;;
  *' down'*) echo ' Network outrider_mesh  Removed' >&2 ;;
  *) echo "no answer for: $*" >&2; exit 64 ;;
esac
`;
};

/** Stands in for docker on PATH: it writes down what it was asked, starts nothing, and answers as told. */
export class StandInDocker implements Disposable {
  readonly #folder: TemporaryFolder = temporaryFolder();
  readonly #log = join(this.#folder.path, 'log');

  constructor(answers: DockerAnswers = {}) {
    mkdirSync(join(this.#folder.path, 'bin'));
    writeFileSync(this.#log, '');
    const path = join(this.#folder.path, 'bin', 'docker');
    writeFileSync(path, script(this.#log, answers));
    chmodSync(path, 0o755);
  }

  /** The words of each call, without the path of the compose file. */
  get asked(): readonly string[] {
    const lines = readFileSync(this.#log, 'utf8').split('\n').slice(0, -1);
    return lines.map((line) => line.replace(/--file \S+\/deploy\/compose\/compose\.yaml/, '--file <ours>'));
  }

  outrider(...parameters: readonly string[]): Promise<ProgramExit> {
    return runProgram(outriderPath, parameters, { env: { PATH: `${join(this.#folder.path, 'bin')}:${process.env['PATH']}` } });
  }

  [Symbol.dispose](): void {
    this.#folder[Symbol.dispose]();
  }
}
