import { connect, createServer } from 'node:net';
import type { Program } from './program.ts';

/**
 * A port that was free a moment ago, for foreign programs that cannot be told "0" or do not say what they got. Our own programs are given port
 * 0 and asked what they chose: nobody can take that away in between.
 */
export const freePort = async (): Promise<number> => {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
};

/** Asks again until the answer is yes. The program's early end is reported with what it said; so is a program that stays silent. */
export const untilAnswering = async (program: Program, probe: () => Promise<boolean>, patienceMs = 20_000): Promise<void> => {
  const deadline = performance.now() + patienceMs;
  const { promise: ended, reject } = Promise.withResolvers<never>();
  program.exited.then(({ stderr }) => reject(new Error(`ended before it answered: ${stderr.slice(-2000)}`)), reject);
  ended.catch(() => {}); // It ends one day in any case.
  while (!(await Promise.race([probe(), ended]))) {
    if (performance.now() > deadline) throw new Error(`no answer within ${patienceMs} ms: ${program.stderr.slice(-2000)}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
};

/** A probe for `untilAnswering`: somebody accepts connections on the port of 127.0.0.1. */
export const isListening = (port: number) => (): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
