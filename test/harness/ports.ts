import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import type { Program } from './program.ts';

const host = '127.0.0.1';
const lowest = 10_000;
/** A block is one guard and the ports that its process gives away. */
const blockSize = 64;

/** The first port that the system itself gives to connections and to port 0. */
const firstEphemeral = (): number => {
  try {
    return Number.parseInt(readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8'), 10);
  } catch {
    return 32_768; // Not Linux: where it begins elsewhere it begins higher.
  }
};

const listenOn = async (port: number): Promise<Server | undefined> => {
  const server = createServer();
  try {
    server.listen(port, host);
    await once(server, 'listening');
    return server;
  } catch {
    return undefined;
  }
};

const isFree = async (port: number): Promise<boolean> => {
  const server = await listenOn(port);
  if (server === undefined) return false;
  server.close();
  const socket = createSocket('udp4');
  try {
    socket.bind(port, host);
    await Promise.all([once(server, 'close'), once(socket, 'listening')]);
    return true;
  } catch {
    return false;
  } finally {
    socket.close();
  }
};

/** Keeps a block for this process alone by listening on its first port, until the process ends. */
const takeBlock = async (): Promise<number> => {
  const blocks = Math.floor((firstEphemeral() - lowest) / blockSize);
  if (blocks < 1) throw new Error('no ports between 10000 and those of connections: see net.ipv4.ip_local_port_range');
  const first = Math.floor(Math.random() * blocks);
  for (let i = 0; i < blocks; i++) {
    const start = lowest + ((first + i) % blocks) * blockSize;
    const guard = await listenOn(start);
    if (guard === undefined) continue;
    guard.unref();
    return start;
  }
  throw new Error(`every block of ${blockSize} ports has its process`);
};

let block: Promise<number> | undefined;
let given = 0;

/**
 * A port where nobody listens, by TCP or UDP, for programs that cannot be told "0" or do not say what they got. It lies below those of connections,
 * in a block that no other process of the tests has: nobody takes it between this look and the program's start. Ports come again after 63 others.
 */
export const freePort = async (): Promise<number> => {
  block ??= takeBlock();
  const start = await block;
  for (let i = 1; i < blockSize; i++) {
    const port = start + 1 + (given++ % (blockSize - 1));
    if (await isFree(port)) return port;
  }
  throw new Error(`all ports from ${start + 1} to ${start + blockSize - 1} are taken`);
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
