/**
 * What slow and stalled readers cost a real sidecar process, and its neighbours: resident memory before, at the peak and after, calls per second
 * and p99 of a neighbour on a connection of its own, which shares the upstream connection.
 *
 *     npm run bench:back-pressure -- [--bytes 256MiB] [--slow-for 20s] [--only stalled]
 *
 * A large stream is read at 1 MB/s for `--slow-for` (60 s by default), then as fast as it comes, so that a GiB ends within minutes.
 * Clients and services are Node's own http2 in this process; the neighbour's figures include their share of the machine.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import http2 from 'node:http2';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { outriderPath, type Program, spawnProgram } from '../test/harness/program.ts';
import { temporaryFolder } from '../test/harness/temporary-folder.ts';
import { residentBytesOf } from './process-usage.ts';

const { values: flags } = parseArgs({
  options: {
    bytes: { type: 'string', default: '1024MiB' },
    'slow-for': { type: 'string', default: '60s' },
    only: { type: 'string', default: '' },
  },
});
const mebibyte = 1024 * 1024;
const numberOf = (flag: string, unit: string): number => {
  const value = flag.endsWith(unit) ? Number(flag.slice(0, -unit.length)) : Number.NaN;
  if (!(value > 0)) throw new Error(`"${flag}" is not a number of ${unit}`);
  return value;
};
const streamBytes = numberOf(flags.bytes, 'MiB') * mebibyte;
const slowForMs = numberOf(flags['slow-for'], 's') * 1_000;
const slowBytesPerMs = 1_000;

const grpcHeaders = { ':status': 200, 'content-type': 'application/grpc' };
const piece = Buffer.alloc(64 * 1024);
const smallMessage = Buffer.from([0, 0, 0, 0, 1, 7]);

type Sink = http2.ServerHttp2Stream | http2.ClientHttp2Stream;

/** Writes `bytes`, as fast as they are taken. */
const pour = async (stream: Sink, bytes: number): Promise<void> => {
  for (let left = bytes; left > 0 && !stream.destroyed; left -= piece.length) {
    if (!stream.write(left < piece.length ? piece.subarray(0, left) : piece)) {
      await new Promise<void>((resolve) => {
        const go = (): void => {
          stream.removeListener('drain', go);
          stream.removeListener('close', go);
          resolve();
        };
        stream.on('drain', go);
        stream.on('close', go);
      });
    }
  }
};

/** Reads to the end at 1 MB/s for a while, then at full speed. Returns the bytes. */
const readSlowly = async (stream: Sink): Promise<number> => {
  const startedAt = performance.now();
  let bytes = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    const elapsedMs = performance.now() - startedAt;
    const dueMs = bytes / slowBytesPerMs;
    if (elapsedMs < slowForMs && dueMs > elapsedMs) await sleep(Math.min(dueMs, slowForMs) - elapsedMs);
  }
  return bytes;
};

const finish = (stream: http2.ServerHttp2Stream): void => {
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
  stream.end();
};

const serve = async (stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders): Promise<void> => {
  const { 'x-bytes': bytes, 'x-small': small, 'x-slow': slow } = headers;
  stream.on('error', () => {});
  if (slow === undefined) stream.resume();
  else await readSlowly(stream);
  if (stream.destroyed) return;
  stream.respond(grpcHeaders, { waitForTrailers: true });
  if (bytes !== undefined) await pour(stream, Number(bytes));
  for (let i = 0; i < Number(small ?? 0); i++) stream.write(smallMessage);
  if (!stream.destroyed) finish(stream);
};

const startService = async (): Promise<http2.Http2Server> => {
  const server = http2.createServer({ maxSessionMemory: 4_000 });
  server.on('stream', (stream: http2.ServerHttp2Stream, headers) => void serve(stream, headers).catch(() => {}));
  server.on('sessionError', () => {});
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server;
};

const startSidecar = async (folder: string, servicePort: number): Promise<{ readonly process: Program; readonly port: number }> => {
  const policies = join(folder, 'policies');
  mkdirSync(policies, { recursive: true });
  const cluster = `{ endpoints: ["127.0.0.1:${servicePort}"], tls: { mode: disable } }`;
  writeFileSync(
    join(policies, 'bench.yaml'),
    `routes:\n  - { name: all, match: { prefix: / }, route: { cluster: echo, timeout: 0s } }\nclusters:\n  echo: ${cluster}\n`,
  );
  const sidecar = spawnProgram(outriderPath, ['sidecar'], {
    env: {
      PATH: process.env['PATH'],
      SERVICE_NAME: 'bench',
      GRPC_PORT: '0',
      OUTBOUND_PORT: '0',
      ADMIN_PORT: '0',
      LOCAL_SERVICE_PORT: '9',
      INBOUND_TLS: 'off',
      POLICY_PATH: policies,
    },
  });
  const [line] = await sidecar.waitFor(/^\{.*"msg":"ready".*\}$/m);
  return { process: sidecar, port: Number((JSON.parse(line) as { readonly outbound: number }).outbound) };
};

const connect = (port: number, settings: http2.Settings = {}): http2.ClientHttp2Session => {
  const session = http2.connect(`http://127.0.0.1:${port}`, { settings, maxSessionMemory: 4_000 });
  session.on('error', () => {});
  return session;
};

const request = (session: http2.ClientHttp2Session, headers: http2.OutgoingHttpHeaders = {}): http2.ClientHttp2Stream => {
  const stream = session.request(
    {
      ':method': 'POST',
      ':path': '/bench.Echo/Call',
      ':authority': 'echo',
      'content-type': 'application/grpc',
      te: 'trailers',
      ...headers,
    },
    { endStream: false },
  );
  stream.on('error', () => {});
  return stream;
};

const statusOf = (stream: http2.ClientHttp2Stream): Promise<string> =>
  new Promise((resolve) => {
    let status = 'none';
    const take = (headers: http2.IncomingHttpHeaders): void => {
      status = String(headers['grpc-status'] ?? status);
    };
    stream.on('response', take);
    stream.on('trailers', take);
    stream.on('close', () => resolve(status));
  });

const callOnce = async (session: http2.ClientHttp2Session): Promise<void> => {
  const stream = request(session);
  stream.resume();
  const status = statusOf(stream);
  stream.end(smallMessage);
  if ((await status) !== '0') throw new Error("a neighbour's call failed");
};

interface Neighbour {
  readonly callsPerSecond: number;
  readonly p99Ms: number;
}

/** Calls one after the other until `over`; every one has to be answered. */
const neighbour = async (port: number, over: Promise<unknown>): Promise<Neighbour> => {
  const session = connect(port);
  const latencies: number[] = [];
  const startedAt = performance.now();
  let ended = false;
  void over.finally(() => {
    ended = true;
  });
  while (!ended) {
    const at = performance.now();
    await callOnce(session);
    latencies.push(performance.now() - at);
  }
  const seconds = (performance.now() - startedAt) / 1_000;
  session.destroy();
  latencies.sort((a, b) => a - b);
  return { callsPerSecond: latencies.length / seconds, p99Ms: latencies[Math.floor(latencies.length * 0.99)] ?? 0 };
};

const mib = (bytes: number): string => (bytes / mebibyte).toFixed(0).padStart(5);

/** A row: the load runs until it resolves, beside a neighbour; memory is looked at all the time. */
const row = async (name: string, pid: number, port: number, load: () => Promise<void>): Promise<void> => {
  const before = residentBytesOf(pid);
  let peak = before;
  const watch = setInterval(() => {
    peak = Math.max(peak, residentBytesOf(pid));
  }, 20);
  const work = load();
  const beside = await neighbour(port, work);
  await work;
  clearInterval(watch);
  await sleep(2_000);
  const figures = `${mib(before)} ${mib(peak)} ${mib(peak - before)} ${mib(residentBytesOf(pid))}`;
  console.log(`${name.padEnd(52)} ${figures} ${beside.callsPerSecond.toFixed(0).padStart(8)} ${beside.p99Ms.toFixed(1).padStart(8)}`);
};

const stalled = (port: number, count: number, bytes: number, settings: http2.Settings) => async (): Promise<void> => {
  const session = connect(port, settings);
  for (let i = 0; i < count; i++) {
    const stream = request(session, { 'x-bytes': String(bytes) });
    stream.pause();
    stream.end(smallMessage);
    if (i % 50 === 49) await sleep(20);
  }
  await sleep(5_000);
  session.destroy();
};

const download = (port: number) => async (): Promise<void> => {
  const session = connect(port);
  const stream = request(session, { 'x-bytes': String(streamBytes) });
  stream.end(smallMessage);
  const bytes = await readSlowly(stream);
  session.destroy();
  if (bytes !== streamBytes) throw new Error(`${bytes} of ${streamBytes} bytes came`);
};

const upload = (port: number) => async (): Promise<void> => {
  const session = connect(port);
  const stream = request(session, { 'x-slow': '1' });
  stream.resume();
  const status = statusOf(stream);
  await pour(stream, streamBytes);
  stream.end();
  if ((await status) !== '0') throw new Error('the upload failed');
  session.destroy();
};

const smallMessages = (port: number) => async (): Promise<void> => {
  for (let round = 0; round < 10; round++) {
    const session = connect(port);
    const stream = request(session, { 'x-small': '20000' });
    let bytes = 0;
    stream.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
    });
    const status = statusOf(stream);
    stream.end(smallMessage);
    if ((await status) !== '0' || bytes !== 20_000 * smallMessage.length) throw new Error(`${bytes} bytes of small messages came`);
    session.destroy();
  }
};

const main = async (): Promise<void> => {
  using folder = temporaryFolder();
  const service = await startService();
  const { process: sidecar, port } = await startSidecar(folder.path, (service.address() as AddressInfo).port);
  await using _sidecar = sidecar;
  const { pid } = sidecar;
  try {
    console.log(`${'MiB resident'.padEnd(52)} ${'before  peak   +   after'.padStart(23)} ${'calls/s'.padStart(8)} ${'p99 ms'.padStart(8)}`);
    await neighbour(port, sleep(3_000));
    const large = `${streamBytes / mebibyte} MiB, 1 MB/s for ${slowForMs / 1_000} s, then fast`;
    const rows: readonly (readonly [name: string, load: () => Promise<void>])[] = [
      ['nothing else', () => sleep(5_000)],
      [`response of ${large}`, download(port)],
      [`request of ${large}`, upload(port)],
      ['1,000 stalled streams on one connection', stalled(port, 1_000, mebibyte, {})],
      ['400 streams with a zero window, 1 MiB answers', stalled(port, 400, mebibyte, { initialWindowSize: 0 })],
      ['20,000 messages of 6 bytes, ten times', smallMessages(port)],
    ];
    for (const [name, load] of rows) if (name.includes(flags.only)) await row(name, pid, port, load);
  } finally {
    service.close();
    sidecar[Symbol.asyncDispose]().catch(() => {});
  }
};

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));

try {
  await main();
  process.exit(0);
} catch (error) {
  console.error((error as Error).message);
  process.exit(1);
}
