import { SystemClock, silentLogger } from '../../src/core/index.ts';
import { Registry } from '../../src/registry/index.ts';
import { ConsulProcess } from '../peers/consul-process.ts';
import { peerProgram } from '../peers/peer-programs.ts';
import { type Answer, ask } from './consul-api-suite.ts';

/** Somebody to register with, who can be gone, and who comes back empty under the same address. */
export interface CatalogueAgent extends AsyncDisposable {
  readonly address: string;
  kill(): Promise<void>;
  /** Empty, where the former was. */
  begin(): Promise<void>;
}

export interface AgentKind {
  readonly name: string;
  readonly skip: string | false;
  start(): Promise<CatalogueAgent>;
}

const startRegistry = async (): Promise<CatalogueAgent> => {
  let port = 0;
  let running: Registry | undefined;
  const begin = async (): Promise<void> => {
    running = new Registry({ host: '127.0.0.1', port, clock: new SystemClock(), log: silentLogger, random: Math.random });
    port = (await running.start()).port;
  };
  const kill = async (): Promise<void> => {
    await running?.close();
    running = undefined;
  };
  await begin();
  return { address: `127.0.0.1:${port}`, kill, begin, [Symbol.asyncDispose]: kill };
};

const consul = await peerProgram('consul');

const startConsul = async (): Promise<CatalogueAgent> => {
  const agent = await ConsulProcess.start({ path: consul.path });
  const begin = async (): Promise<void> => {
    await agent.begin();
    await agent.ready();
  };
  return { address: agent.address, kill: () => agent.kill(), begin, [Symbol.asyncDispose]: () => agent[Symbol.asyncDispose]() };
};

/** Whatever a sidecar does with one of them it does with the other. */
export const agentKinds: readonly AgentKind[] = [
  { name: 'outrider registry', skip: false, start: startRegistry },
  { name: 'Consul', skip: consul.skip, start: startConsul },
];

/** One instance as `/v1/health/service` shows it. */
export interface Instance {
  readonly id: string;
  readonly address: string;
  readonly port: number;
  readonly tags: readonly string[];
  readonly meta: Readonly<Record<string, string>>;
  readonly weight: number;
  /** The worst status of its own checks, and what they say. */
  readonly status: string;
  readonly output: string;
}

const worst = (statuses: readonly string[]): string =>
  statuses.includes('critical') ? 'critical' : statuses.includes('warning') ? 'warning' : 'passing';

/** All instances of a service; none where the agent does not answer. */
export const instancesOf = async (agent: Pick<CatalogueAgent, 'address'>, name: string): Promise<readonly Instance[]> => {
  let answer: Answer;
  try {
    answer = await ask(agent, 'GET', `/health/service/${name}`);
  } catch {
    return [];
  }
  // biome-ignore lint/suspicious/noExplicitAny: the JSON of an answer.
  return (answer.json ?? []).map(({ Service, Checks }: any): Instance => {
    // biome-ignore lint/suspicious/noExplicitAny: as above.
    const own = Checks.filter(({ ServiceID }: any) => ServiceID === Service.ID);
    return {
      id: Service.ID,
      address: Service.Address,
      port: Service.Port,
      tags: Service.Tags,
      meta: Service.Meta,
      weight: Service.Weights.Passing,
      // biome-ignore lint/suspicious/noExplicitAny: as above.
      status: worst(own.map(({ Status }: any) => Status)),
      // biome-ignore lint/suspicious/noExplicitAny: as above.
      output: own.map(({ Output }: any) => Output).join('; '),
    };
  });
};
