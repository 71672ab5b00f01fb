import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { ConfigurationError } from '../../core/index.ts';
import { CommandFailure } from '../console.ts';
import { list, text } from '../json.ts';
import { type Docker, lastWords } from './docker.ts';

/** One container of the stack. */
export interface StackContainer {
  /** Name in the compose file. */
  readonly service: string;
  /** `running`, `exited`, ... */
  readonly state: string;
  /** `healthy`, `unhealthy`, `starting`; empty where nobody asks. */
  readonly health: string;
  readonly exitCode: number;
  readonly ports: readonly { readonly container: number; readonly host: string; readonly published: number }[];
}

const root = resolve(import.meta.dirname, '../../..');
const image = 'outrider';

/** The compose file that came with this program, or another one. Throws a `ConfigurationError` where it is not there. */
export const findComposeFile = (option: string | undefined): string => {
  const file = option === undefined ? join(root, 'deploy', 'compose', 'compose.yaml') : resolve(option);
  if (existsSync(file)) return file;
  throw new ConfigurationError(`${file} does not exist`, { remedy: 'name a compose file with --file' });
};

/** In a checkout the image is made of the sources; a package has none. */
const canBuild = (): boolean => existsSync(join(root, 'Dockerfile')) && existsSync(join(root, 'src'));

/** As one writes it at a shell. */
export const shellWords = (...words: readonly string[]): string =>
  words.map((word) => (/^[\w./:=-]+$/.test(word) ? word : `'${word}'`)).join(' ');

/** The compose project of a file. */
export class Stack {
  readonly #docker: Docker;
  readonly #base: readonly string[];
  readonly file: string;

  constructor(docker: Docker, file: string, project: string | undefined) {
    this.#docker = docker;
    this.file = file;
    this.#base = ['compose', '--file', file, ...(project === undefined ? [] : ['--project-name', project])];
  }

  /** As one writes it at a shell. */
  get command(): string {
    return shellWords('docker', ...this.#base);
  }

  /**
   * Starts what the file has without a profile, and `extras`, and waits until all of it is healthy. Rejects with a `CommandFailure` that
   * names who is not, and where to look.
   */
  async up(extras: readonly string[], { build, waitSeconds }: { readonly build: boolean; readonly waitSeconds: number }): Promise<void> {
    const builds = build && canBuild();
    if (!builds && !(await this.#docker.hasImage(image))) {
      throw new CommandFailure(
        `there is no image "${image}", and ${build ? 'nothing here to build it from' : '--no-build forbids building it'}`,
        {
          remedy: `make it in a checkout of Outrider: docker build --tag ${image} .`,
        },
      );
    }
    // Named services are started whatever their profile is; with some named, the others have to be named, too.
    const named = extras.length === 0 ? [] : [...(await this.#services()), ...extras];
    const parameters = ['up', '--detach', '--wait', '--wait-timeout', String(waitSeconds), builds ? '--build' : '--no-build', ...named];
    const { code, stderr } = await this.#docker.run([...this.#base, ...parameters], { isShown: true });
    if (code !== 0) throw await this.#explain(stderr);
  }

  /** Ends all of it, what has a profile included. */
  async down(volumes: boolean): Promise<void> {
    const { code, stderr } = await this.#docker.run([...this.#base, '--profile', '*', 'down', ...(volumes ? ['--volumes'] : [])], {
      isShown: true,
    });
    if (code !== 0)
      throw new CommandFailure(`docker compose down failed: ${lastWords(stderr)}`, {
        remedy: `see what is left: ${this.command} ps --all`,
      });
  }

  async containers(): Promise<readonly StackContainer[]> {
    const { code, stdout, stderr } = await this.#docker.run([...this.#base, 'ps', '--all', '--format', 'json']);
    if (code !== 0)
      throw new CommandFailure(`docker compose ps failed: ${lastWords(stderr)}`, { remedy: `try it by hand: ${this.command} ps --all` });
    return containersIn(stdout);
  }

  /** Services of the file that have no profile. */
  async #services(): Promise<readonly string[]> {
    const { code, stdout, stderr } = await this.#docker.run([...this.#base, 'config', '--services']);
    if (code !== 0)
      throw new CommandFailure(`${this.file} is not accepted: ${lastWords(stderr)}`, { remedy: `see why: ${this.command} config` });
    return stdout
      .split('\n')
      .filter((line) => line !== '')
      .sort();
  }

  async #explain(stderr: string): Promise<CommandFailure> {
    const [, port] =
      /(?:Bind for|bind: address already in use|port is already allocated)[^\n]*?(\d+\.\d+\.\d+\.\d+:\d+)/.exec(stderr) ??
      /(\d+\.\d+\.\d+\.\d+:\d+)[^\n]*(?:address already in use|port is already allocated)/.exec(stderr) ??
      [];
    if (port !== undefined || /port is already allocated|address already in use/.test(stderr)) {
      return new CommandFailure(`a port of the mesh is taken${port === undefined ? '' : `: ${port}`}`, {
        remedy: `find who has it (ss -ltnp), or choose others: CONSUL_PORT, AUTH_GRPC_PORT, AUTH_ADMIN_PORT, ... in ${this.file}`,
      });
    }
    const bad = (await this.containers().catch(() => [])).filter(isBad);
    if (bad.length === 0)
      return new CommandFailure(`docker compose up failed: ${lastWords(stderr)}`, {
        remedy: `see what there is: ${this.command} ps --all`,
      });
    const words = bad.map(
      ({ service, state, health, exitCode }) => `${service} is ${state === 'exited' ? `exited with ${exitCode}` : health || state}`,
    );
    return new CommandFailure(`not everything came up: ${words.join(', ')}`, {
      remedy: `see why: ${this.command} logs ${bad.map(({ service }) => service).join(' ')}`,
    });
  }
}

/** A job that has done its work is well, too. */
const isBad = ({ state, health, exitCode }: StackContainer): boolean =>
  state === 'exited' ? exitCode !== 0 : state !== 'running' || (health !== '' && health !== 'healthy');

/** Compose prints an array or, in later releases, an object a line. */
const containersIn = (stdout: string): readonly StackContainer[] => {
  const documents = stdout
    .split('\n')
    .filter((line) => /^[[{]/.test(line))
    .map((line): unknown => JSON.parse(line));
  return list(documents.flat()).map((container) => ({
    service: text(container['Service']),
    state: text(container['State']),
    health: text(container['Health'], ''),
    exitCode: Number(container['ExitCode'] ?? 0),
    ports: list(container['Publishers'])
      .filter((port) => Number(port['PublishedPort']) > 0)
      .map((port) => ({
        container: Number(port['TargetPort']),
        host: text(port['URL'], '127.0.0.1'),
        published: Number(port['PublishedPort']),
      })),
  }));
};
