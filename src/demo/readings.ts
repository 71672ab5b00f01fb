import { readFileSync } from 'node:fs';
import { get } from 'node:http';

export interface ClusterReading {
  readonly breaker: string;
  readonly requests: number;
  readonly retries: number;
  /** How many endpoints it knows. */
  readonly endpoints: number;
}

/** What one sidecar says about its clusters, by name. */
export type SidecarReading = ReadonlyMap<string, ClusterReading>;

const answerWithinMs = 2_000;

const getJson = (port: number, path: string): Promise<unknown> =>
  new Promise((resolve, reject) => {
    const asked = get({ host: '127.0.0.1', port, path, agent: false, timeout: answerWithinMs }, (answer) => {
      const chunks: Buffer[] = [];
      answer.on('data', (chunk: Buffer) => chunks.push(chunk));
      answer.on('error', reject);
      answer.on('end', () => {
        try {
          resolve(JSON.parse(Buffer.concat(chunks).toString('utf8')));
        } catch (error) {
          reject(error);
        }
      });
    });
    asked.on('timeout', () => asked.destroy(new Error(`admin port ${port} does not answer`)));
    asked.on('error', reject);
  });

interface ClustersAnswer {
  readonly cluster_statuses?: readonly {
    readonly name: string;
    readonly circuit_breaker?: { readonly state?: string };
    readonly host_statuses?: readonly unknown[];
  }[];
}
interface StatsAnswer {
  readonly stats?: readonly { readonly name: string; readonly value: number }[];
}

/** Reads the state of a sidecar from its admin port. Rejects where it does not answer. */
export const readSidecar = async (adminPort: number): Promise<SidecarReading> => {
  const filter = encodeURIComponent('^cluster\\..*\\.upstream_rq_(total|retry)$');
  const [clusters, stats] = await Promise.all([
    getJson(adminPort, '/clusters?format=json') as Promise<ClustersAnswer>,
    getJson(adminPort, `/stats?format=json&filter=${filter}`) as Promise<StatsAnswer>,
  ]);
  const statValues = new Map((stats.stats ?? []).map(({ name, value }) => [name, Number(value)]));
  return new Map(
    (clusters.cluster_statuses ?? []).map(({ name, circuit_breaker, host_statuses }) => [
      name,
      {
        breaker: circuit_breaker?.state ?? 'CLOSED',
        requests: statValues.get(`cluster.${name}.upstream_rq_total`) ?? 0,
        retries: statValues.get(`cluster.${name}.upstream_rq_retry`) ?? 0,
        endpoints: host_statuses?.length ?? 0,
      },
    ]),
  );
};

// USER_HZ: the unit in which the kernel reports to user space, 100 on every platform that Node runs on.
const tickMs = 10;

/** Milliseconds of CPU that the process has used, all threads; `undefined` where the system does not say (no `/proc`). */
export const readCpuMs = (pid: number): number | undefined => {
  try {
    // The name in parentheses may contain blanks: count from the last one. utime and stime are fields 14 and 15 (proc(5)).
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return (Number(fields[11]) + Number(fields[12])) * tickMs;
  } catch {
    return undefined;
  }
};
