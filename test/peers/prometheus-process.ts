import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort, untilAnswering } from '../harness/ports.ts';
import { type Program, spawnProgram } from '../harness/program.ts';
import { type TemporaryFolder, temporaryFolder } from '../harness/temporary-folder.ts';

export interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface Target {
  /** As Prometheus labels everything that it has scraped there. */
  readonly labels: Readonly<Record<string, string>>;
  readonly health: string;
  readonly lastError: string;
  readonly url: string;
}

export interface RunningRule {
  readonly name: string;
  readonly type: 'alerting' | 'recording';
  readonly health: string;
  readonly lastError?: string;
  readonly state?: string;
}

/** A real Prometheus on loopback, with exemplars, and with a configuration in a folder of its own. */
export class PrometheusProcess implements AsyncDisposable {
  readonly port: number;
  readonly #program: Program;
  readonly #folder: TemporaryFolder;

  private constructor(port: number, program: Program, folder: TemporaryFolder) {
    this.port = port;
    this.#program = program;
    this.#folder = folder;
  }

  static async start(path: string, configuration: string): Promise<PrometheusProcess> {
    const folder = temporaryFolder();
    const file = join(folder.path, 'prometheus.yml');
    writeFileSync(file, configuration);
    const port = await freePort();
    const program = spawnProgram(path, [
      `--config.file=${file}`,
      `--storage.tsdb.path=${join(folder.path, 'data')}`,
      `--web.listen-address=127.0.0.1:${port}`,
      '--enable-feature=exemplar-storage',
      '--log.level=warn',
    ]);
    const started = new PrometheusProcess(port, program, folder);
    try {
      await untilAnswering(program, async () => {
        try {
          return (await fetch(`http://127.0.0.1:${port}/-/ready`, { headers: { connection: 'close' } })).ok;
        } catch {
          return false;
        }
      });
    } catch (error) {
      await started[Symbol.asyncDispose]();
      throw error;
    }
    return started;
  }

  /** Series of an expression at this moment. Rejects with what Prometheus says of an expression that is wrong. */
  async query(expression: string): Promise<readonly Sample[]> {
    const data = await this.#ask('query', { query: expression });
    const { result, resultType } = data as { result: unknown; resultType: string };
    if (resultType === 'scalar') return [{ labels: {}, value: Number((result as [number, string])[1]) }];
    type Series = { metric: Record<string, string>; value: [number, string] };
    return (result as Series[]).map(({ metric, value }) => ({ labels: metric, value: Number(value[1]) }));
  }

  /** How many series the selector has. */
  async seriesOf(selector: string): Promise<number> {
    return ((await this.#ask('series', { 'match[]': selector })) as unknown[]).length;
  }

  /** Labels of the exemplars of the selector's series in the last ten minutes. */
  async exemplars(selector: string): Promise<readonly Readonly<Record<string, string>>[]> {
    const now = Date.now() / 1_000;
    const data = await this.#ask('query_exemplars', { query: selector, start: String(now - 600), end: String(now + 10) });
    return (data as { exemplars: { labels: Record<string, string> }[] }[]).flatMap(({ exemplars }) =>
      exemplars.map(({ labels }) => labels),
    );
  }

  async rules(): Promise<readonly RunningRule[]> {
    const { groups } = (await this.#ask('rules')) as { groups: { rules: RunningRule[] }[] };
    return groups.flatMap(({ rules }) => rules);
  }

  async targets(): Promise<readonly Target[]> {
    const { activeTargets } = (await this.#ask('targets', { state: 'active' })) as {
      activeTargets: { labels: Record<string, string>; health: string; lastError: string; scrapeUrl: string }[];
    };
    return activeTargets.map(({ labels, health, lastError, scrapeUrl }) => ({ labels, health, lastError, url: scrapeUrl }));
  }

  async #ask(path: string, parameters: Readonly<Record<string, string>> = {}): Promise<unknown> {
    const url = `http://127.0.0.1:${this.port}/api/v1/${path}?${new URLSearchParams(parameters)}`;
    const answer = await fetch(url, { headers: { connection: 'close' }, signal: AbortSignal.timeout(10_000) });
    const { status, data, error } = (await answer.json()) as { status: string; data: unknown; error?: string };
    if (status !== 'success') throw new Error(`${error} in ${JSON.stringify(parameters)}`);
    return data;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#program[Symbol.asyncDispose]();
    this.#folder[Symbol.dispose]();
  }
}
