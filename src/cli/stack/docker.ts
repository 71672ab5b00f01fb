import { spawn } from 'node:child_process';
import type { Environment } from '../configuration.ts';
import { CommandFailure } from '../console.ts';

export interface DockerEnd {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

const oldestEngine = [26, 0] as const;
const oldestCompose = [2, 26] as const;

const longestReason = 400;

/** The last lines of what a program said on stderr, which is where it names the cause. */
const lastWords = (text: string): string => text.trim().split('\n').slice(-3).join('\n').slice(-longestReason);

const isOlder = (version: string, [major, minor]: readonly [number, number]): boolean => {
  const [, first = '0', second = '0'] = /^v?(\d+)\.(\d+)/.exec(version) ?? [];
  return Number(first) < major || (Number(first) === major && Number(second) < minor);
};

/** The `docker` of PATH. Nothing is bound to a shell, so that no name of a file means anything. */
export class Docker {
  readonly #environment: Environment;
  /** Where progress goes while a command runs. */
  readonly #onProgress: (text: string) => void;

  constructor(environment: Environment, onProgress: (text: string) => void) {
    this.#environment = environment;
    this.#onProgress = onProgress;
  }

  /** Runs to the end; the exit code is the caller's to judge. Rejects with a `CommandFailure` where there is no docker. */
  run(parameters: readonly string[], { isShown = false } = {}): Promise<DockerEnd> {
    return new Promise((resolve, reject) => {
      const child = spawn('docker', parameters, { env: this.#environment as NodeJS.ProcessEnv, stdio: ['ignore', 'pipe', 'pipe'] });
      let stdout = '';
      let stderr = '';
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        stdout += text;
      });
      child.stderr.setEncoding('utf8').on('data', (text: string) => {
        stderr += text;
        if (isShown) this.#onProgress(text);
      });
      child.on('error', (cause: NodeJS.ErrnoException) => {
        const why = cause.code === 'ENOENT' ? 'there is no docker on PATH' : `docker cannot be run: ${cause.message}`;
        reject(
          new CommandFailure(why, {
            remedy: 'install Docker 26 or later with its compose plugin: https://docs.docker.com/engine/install/',
            cause,
          }),
        );
      });
      child.on('close', (code) => resolve({ code: code ?? 1, stdout, stderr }));
    });
  }

  /** Engine and compose answer and are new enough; rejects with a `CommandFailure` that says what is missing, and what to do. */
  async check(): Promise<void> {
    const compose = await this.run(['compose', 'version', '--short']);
    if (compose.code !== 0) {
      throw new CommandFailure('this docker has no compose plugin ("docker compose")', {
        remedy: 'install it: sudo apt-get install docker-compose-plugin, or see https://docs.docker.com/compose/install/',
      });
    }
    refuseOld('Docker Compose', compose.stdout.trim(), oldestCompose, 'docker-compose-plugin');
    const engine = await this.run(['version', '--format', '{{.Server.Version}}']);
    if (engine.code !== 0)
      throw new CommandFailure(`the Docker engine does not answer: ${lastWords(engine.stderr)}`, { remedy: engineRemedy(engine.stderr) });
    refuseOld('the Docker engine', engine.stdout.trim(), oldestEngine, 'docker-ce');
  }

  async hasImage(name: string): Promise<boolean> {
    return (await this.run(['image', 'inspect', '--format', '{{.Id}}', name])).code === 0;
  }
}

const refuseOld = (what: string, version: string, oldest: readonly [number, number], packageName: string): void => {
  if (!isOlder(version, oldest)) return;
  throw new CommandFailure(`${what} is ${version}, and ${oldest.join('.')} is needed: each sidecar mounts its own folder of a volume`, {
    remedy: `update it: sudo apt-get update && sudo apt-get install ${packageName}`,
  });
};

const engineRemedy = (said: string): string => {
  if (/permission denied/i.test(said)) return 'let this user talk to it: sudo usermod -aG docker "$USER", and log in again';
  if (/DOCKER_HOST|tcp:\/\/|ssh:\/\//.test(said)) return 'see what DOCKER_HOST and "docker context ls" say, or start the engine there';
  return 'start it: sudo systemctl start docker (Docker Desktop: open it)';
};

export { lastWords };
