import http2 from 'node:http2';
import type net from 'node:net';
import type { TestContext } from 'node:test';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { until } from './upstream-bench.ts';

export type Serving = 'UNKNOWN' | 'SERVING' | 'NOT_SERVING' | 'SERVICE_UNKNOWN';
const numbers: readonly Serving[] = ['UNKNOWN', 'SERVING', 'NOT_SERVING', 'SERVICE_UNKNOWN'];

export interface ReceivedCheck {
  readonly service: string;
  readonly method: 'Check' | 'Watch';
  readonly authority: string;
}

/** A server of `node:http2`, which nobody here wrote, with a health service that does what the test says. */
export interface HealthServer {
  readonly port: number;
  /** Every health request so far. */
  readonly checks: readonly ReceivedCheck[];
  /** Streams of `Watch` that are open. */
  readonly watchers: ReadonlySet<http2.ServerHttp2Stream>;
  readonly sessions: readonly http2.ServerHttp2Session[];
  /** Other calls so far. */
  readonly calls: number;
  /** Connections so far. */
  readonly accepted: number;
  /** What it says; those who watch are told. */
  status: Serving;
  /** Above 0: it ends a health request with this status and no message. */
  grpcStatus: number;
  httpStatus: number;
  /** It has a `Watch`. */
  watch: boolean;
  /** It takes requests, and answers none. */
  mute: boolean;
  stop(): Promise<void>;
}

const message = (status: Serving): Buffer => Buffer.from([0, 0, 0, 0, 2, 8, numbers.indexOf(status)]);

export const startHealthServer = async (t: TestContext, port = 0): Promise<HealthServer> => {
  const checks: ReceivedCheck[] = [];
  const watchers = new Set<http2.ServerHttp2Stream>();
  const sessions: http2.ServerHttp2Session[] = [];
  const sockets = new Set<net.Socket>();
  let calls = 0;
  let accepted = 0;
  let status: Serving = 'SERVING';
  const options = { grpcStatus: 0, httpStatus: 200, watch: true, mute: false };
  const server = http2.createServer();
  server.on('connection', (socket: net.Socket) => {
    accepted++;
    sockets.add(socket.on('close', () => sockets.delete(socket)));
  });
  server.on('session', (session) => {
    sessions.push(session);
    session.on('error', () => {});
  });
  server.on('stream', (stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders) => {
    stream.on('error', () => {});
    const path = String(headers[':path']);
    if (!path.startsWith('/grpc.health.v1.Health/')) {
      calls++;
      stream.respond({ ':status': 200, 'content-type': 'application/grpc', 'grpc-status': '0' }, { endStream: true });
      return;
    }
    const received: Buffer[] = [];
    stream.on('data', (chunk: Buffer) => received.push(chunk));
    stream.on('end', () => {
      const method = path.endsWith('/Watch') ? 'Watch' : 'Check';
      checks.push({ service: Buffer.concat(received).toString('utf8', 7), method, authority: String(headers[':authority']) });
      if (options.mute || stream.destroyed) return;
      const head = { ':status': options.httpStatus, 'content-type': 'application/grpc' };
      const refusal = options.grpcStatus > 0 ? options.grpcStatus : method === 'Watch' && !options.watch ? GrpcStatus.UNIMPLEMENTED : 0;
      if (options.httpStatus !== 200) stream.respond(head, { endStream: true });
      else if (refusal > 0) stream.respond({ ...head, 'grpc-status': String(refusal) }, { endStream: true });
      else {
        stream.respond(head, { waitForTrailers: true });
        stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
        if (method === 'Check') stream.end(message(status));
        else {
          stream.write(message(status));
          watchers.add(stream);
          stream.on('close', () => watchers.delete(stream));
        }
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  const bound = (server.address() as net.AddressInfo).port;
  let stopped = false;
  const stop = async (): Promise<void> => {
    if (stopped) return;
    stopped = true;
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    for (const socket of sockets) socket.destroy();
    await closed;
    await until(() => sockets.size === 0, 'the end of all sockets');
  };
  t.after(stop);
  return Object.defineProperties(options as unknown as HealthServer, {
    port: { value: bound },
    checks: { value: checks },
    watchers: { value: watchers },
    sessions: { value: sessions },
    stop: { value: stop },
    calls: { get: () => calls },
    accepted: { get: () => accepted },
    status: {
      get: () => status,
      set: (next: Serving) => {
        status = next;
        for (const watcher of watchers) watcher.write(message(next));
      },
    },
  });
};
