import { type ProgramExit, runProgram } from '../harness/program.ts';
import { prepareImages } from './images.ts';

const patienceMs = 180_000;

/** Runs docker to its end; rejects with what it said where it fails. */
export const docker = async (...args: readonly string[]): Promise<string> => {
  const { code, stdout, stderr } = await tryDocker(...args);
  if (code !== 0) throw new Error(`docker ${args.join(' ')} ended with ${code}\n${stdout.slice(-2_000)}\n${stderr.slice(-6_000)}`);
  return stdout.trim();
};

export const tryDocker = (...args: readonly string[]): Promise<ProgramExit> => runProgram('docker', args, { patienceMs });

const findEngine = async (): Promise<string | false> => {
  try {
    const { code } = await runProgram('docker', ['compose', 'version']);
    const { code: engine, stderr } = await runProgram('docker', ['version']);
    if (code !== 0 || engine !== 0)
      return `no Docker engine with compose (${stderr.trim().split('\n')[0]}); "npm run test:containers" makes one`;
  } catch {
    return 'no docker on PATH; "npm run test:containers" makes an engine from packages';
  }
  if (process.env['OUTRIDER_IMAGES'] !== 'ready') await prepareImages((line) => console.error(line));
  return false;
};

/** For node:test's `skip`: false where there is an engine, with the images of the mesh in it. */
export const withoutEngine: string | false = await findEngine();

/** Asks until it is told something; fails with what was waited for, and with what `describe` says then. */
export const eventually = async <T>(
  what: string,
  ask: () => Promise<T | undefined | false>,
  { withinMs = 60_000, describe = async (): Promise<string> => '' } = {},
): Promise<T> => {
  const deadline = performance.now() + withinMs;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined && answer !== false) return answer;
    if (performance.now() > deadline) throw new Error(`no sign of ${what} after ${withinMs} ms\n${await describe()}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
};

/** One container of `docker run`, gone with the block. */
export class Container implements AsyncDisposable {
  readonly id: string;

  private constructor(id: string) {
    this.id = id;
  }

  static async run(...args: readonly string[]): Promise<Container> {
    return new Container(await docker('run', '--detach', ...args));
  }

  async log(): Promise<string> {
    const { stdout, stderr } = await tryDocker('logs', this.id);
    return `${stdout}${stderr}`;
  }

  inspect(format: string): Promise<string> {
    return docker('inspect', '--format', format, this.id);
  }

  /** Resolves with the first match in its log. */
  said(pattern: RegExp): Promise<RegExpMatchArray> {
    return eventually(`${pattern} in the log`, async () => (await this.log()).match(pattern) ?? undefined, { describe: () => this.log() });
  }

  /** Resolves when its health is so; with what the last check said. */
  health(status: 'healthy' | 'unhealthy' | 'starting', saying = /(?:)/): Promise<string> {
    return eventually(
      `health ${status} that says ${saying}`,
      async () => {
        const health = JSON.parse(await this.inspect('{{json .State.Health}}')) as { Status: string; Log: readonly { Output: string }[] };
        const output = health.Log?.at(-1)?.Output ?? '';
        return health.Status === status && saying.test(output) ? output : undefined;
      },
      { describe: () => this.log() },
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await tryDocker('rm', '--force', '--volumes', this.id);
  }
}
