import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { runProgram } from '../harness/program.ts';
import { peerProgram } from '../peers/peer-programs.ts';
import type { Ledger } from './ledger.ts';
import type { SoakMesh } from './soak-mesh.ts';

/** Python's grpcio, with the client that `test/peers` has. */
export interface ForeignCaller {
  readonly python: string;
}

/** Cases of echo_client.py against a service with the methods of our echo service, and how many calls each makes. */
const cases: readonly (readonly [name: string, calls: number])[] = [
  ['one_answer', 2],
  ['large', 1],
  ['stream_of_answers', 1],
  ['stream_of_requests', 1],
  ['ping_pong', 1],
  ['many_at_once', 500],
  ['asynchronous', 101],
];
const pauseMs = 2_000;
const client = join(import.meta.dirname, '../peers/python/grpc/echo_client.py');

/** `undefined` where there is no Python with grpcio, and nothing to make one with. */
export const findForeignCaller = async (): Promise<ForeignCaller | undefined> => {
  const program = await peerProgram('python-grpc');
  return program.skip === false ? { python: program.path } : undefined;
};

/** One case after the other, each a process, until `stop`. */
export const runForeignCaller = async ({ python }: ForeignCaller, mesh: SoakMesh, ledger: Ledger, stop: AbortSignal): Promise<void> => {
  for (let turn = 0; !stop.aborted; turn++) {
    const [name, calls] = cases[turn % cases.length] as (typeof cases)[number];
    const ends = Array.from({ length: calls }, () => ledger.begin(`grpcio ${name}`));
    const { code, stderr } = await runProgram(python, [client, name, `127.0.0.1:${mesh.caller.outboundPort}`, 'steady-svc']);
    const expected = code === 0;
    for (const end of ends) end({ expected, what: expected ? 'OK' : `failed: ${stderr.slice(-600)}`, reached: expected });
    await sleep(pauseMs, undefined, { signal: stop }).catch(() => {});
  }
};
