import http2 from 'node:http2';
import net from 'node:net';
import type { Duplex } from 'node:stream';
import type { TestContext } from 'node:test';
import { type Clock, type MeshError, SystemClock, silentLogger, TimerWheel, WatchSource } from '../../src/core/index.ts';
import type { EndpointAddress, EndpointSet, EndpointSource } from '../../src/discovery/index.ts';
import { type Connection, Engine, type Stream, type StreamHandler, Token } from '../../src/http2/index.ts';
import type { ClusterPolicy, PolicyTable } from '../../src/policy/index.ts';
import { defaultLoadBalancer } from '../../src/resilience/index.ts';
import { Cluster, type Endpoint, StreamWaiter, type UpstreamContext } from '../../src/upstream/index.ts';

export const policyOf = (overrides: Partial<ClusterPolicy> = {}): ClusterPolicy => ({
  name: 'learner-svc',
  serviceName: 'learner-svc',
  location: { file: '', line: 0, column: 0 },
  endpoints: { kind: 'unwritten' },
  loadBalancer: defaultLoadBalancer,
  outlierDetection: undefined,
  healthCheck: undefined,
  connectTimeoutMs: 5_000,
  breaker: { consecutiveFailures: 5, recoveryTimeoutMs: 60_000, scope: 'cluster' },
  thresholds: {
    maxConnections: 100,
    maxPendingRequests: 100,
    maxRequests: 100,
    maxRetries: Number.POSITIVE_INFINITY,
    retryBudget: { percent: 20, minConcurrency: 3 },
    trackRemaining: true,
  },
  highThresholds: undefined,
  maxConnectionsPerEndpoint: Number.POSITIVE_INFINITY,
  adaptiveConcurrency: undefined,
  tls: { mode: 'disable', sni: '', matchSubjectAltNames: [], verifyCertificateSpki: [], verifyCertificateHash: [] },
  keepaliveIntervalMs: 0,
  keepaliveTimeoutMs: 5_000,
  maxConcurrentStreams: 1_000,
  maxConnectionAgeMs: 0,
  ...overrides,
});

/** Only what the upstream room reads of a table. */
export const tableOf = (...policies: ClusterPolicy[]): PolicyTable =>
  ({ clusters: new Map(policies.map((policy) => [policy.name, policy])) }) as unknown as PolicyTable;

export const addressOf = (port: number, overrides: Partial<EndpointAddress> = {}): EndpointAddress => ({
  host: '127.0.0.1',
  port,
  weight: 1,
  ...overrides,
});

/** A source of endpoints that a test moves by hand. */
export class HandSource extends WatchSource<EndpointSet> implements EndpointSource {
  closed = false;

  constructor(addresses: readonly EndpointAddress[]) {
    super({ endpoints: addresses, source: 'static', updatedAtMs: 1 });
  }

  become(...addresses: EndpointAddress[]): void {
    this.set({ endpoints: addresses, source: 'static', updatedAtMs: 1 });
  }

  close(): void {
    this.closed = true;
  }
}

export const contextOf = (
  source: EndpointSource,
  overrides: Partial<UpstreamContext> & { readonly clock?: Clock } = {},
): UpstreamContext => {
  const { clock = new SystemClock(), ...rest } = overrides;
  return {
    engine: new Engine(clock, new TimerWheel(clock)),
    log: silentLogger,
    random: Math.random,
    identity: undefined,
    trustDomain: 'mesh.local',
    tlsMinimum: 'TLSv1.3',
    createSource: () => source,
    ...rest,
  };
};

/** A cluster of fixed endpoints that ends with the test. */
export const clusterOf = (
  t: TestContext,
  addresses: readonly EndpointAddress[],
  overrides: Partial<ClusterPolicy> = {},
  context: Partial<UpstreamContext> & { readonly clock?: Clock } = {},
): { cluster: Cluster; source: HandSource } => {
  const source = new HandSource(addresses);
  const cluster = new Cluster(policyOf(overrides), contextOf(source, context));
  t.after(() => cluster.close());
  return { cluster, source };
};

/** An attempt that keeps what it was told. */
export class TestWaiter extends StreamWaiter {
  connection: Connection | undefined;
  error: MeshError | undefined;
  readonly settled: Promise<void>;
  #settle: () => void = () => {};
  readonly #use: (connection: Connection) => void;

  constructor(use: (connection: Connection) => void = () => {}) {
    super();
    this.#use = use;
    this.settled = new Promise((resolve) => {
      this.#settle = resolve;
    });
  }

  onConnection(connection: Connection): void {
    this.connection = connection;
    this.#use(connection);
    this.#settle();
  }

  onUnavailable(error: MeshError): void {
    this.error = error;
    this.#settle();
  }
}

/** How a call ended. */
export type Ending =
  | { readonly kind: 'answered' }
  | { readonly kind: 'reset'; readonly code: number; readonly unprocessed: boolean }
  | { readonly kind: 'unavailable'; readonly why: string };

export class TestCall implements StreamHandler {
  stream: Stream | undefined;
  ending: Ending | undefined;
  readonly waiter: TestWaiter;
  /** Resolves when it has a stream, or never will. */
  readonly started: Promise<void>;
  readonly ended: Promise<Ending>;
  #end: (ending: Ending) => void = () => {};

  constructor(endpoint: Endpoint) {
    this.ended = new Promise((resolve) => {
      this.#end = (ending) => {
        this.ending = ending;
        resolve(ending);
      };
    });
    this.waiter = new TestWaiter((connection) => this.#open(connection));
    this.started = this.waiter.settled.then(() => {
      const { error } = this.waiter;
      if (error !== undefined) this.#end({ kind: 'unavailable', why: error.message });
    });
    const connection = endpoint.acquire(this.waiter);
    if (connection !== undefined) this.waiter.onConnection(connection);
  }

  get connection(): Connection | undefined {
    return this.waiter.connection;
  }

  #open(connection: Connection): void {
    const block = connection.engine.takeBlock();
    block.add(Token.method, 'POST');
    block.add(Token.scheme, 'http');
    block.add(Token.path, '/learner.LearnerService/GetProfile');
    block.add(Token.authority, 'learner-svc');
    block.add(Token.te, 'trailers');
    this.stream = connection.open(this, block, true);
    connection.engine.returnBlock(block);
  }

  onHeaders(_stream: Stream, _block: unknown, endStream: boolean): void {
    if (endStream) this.#end({ kind: 'answered' });
  }
  onData(stream: Stream, _bytes: Uint8Array, start: number, end: number, endStream: boolean): void {
    stream.consume(end - start);
    if (endStream) this.#end({ kind: 'answered' });
  }
  onTrailers(): void {
    this.#end({ kind: 'answered' });
  }
  onReset(_stream: Stream, code: number, unprocessed: boolean): void {
    this.#end({ kind: 'reset', code, unprocessed });
  }
  onSent(): void {}
}

export const startCall = async (endpoint: Endpoint | undefined): Promise<TestCall> => {
  if (endpoint === undefined) throw new Error('no endpoint was picked');
  const call = new TestCall(endpoint);
  await call.started;
  return call;
};

/** Resolves once `condition` holds; looks again after each turn of the event loop. */
export const until = async (condition: () => boolean, what: string): Promise<void> => {
  const giveUpAt = performance.now() + 10_000;
  while (!condition()) {
    if (performance.now() > giveUpAt) throw new Error(`never came: ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
};

export interface Backend {
  readonly port: number;
  readonly sessions: http2.ServerHttp2Session[];
  /** Streams that wait for an answer, oldest first; empty while the backend answers by itself. */
  readonly held: http2.ServerHttp2Stream[];
  /** Connections accepted so far. */
  accepted: number;
  /** New connections are refused from here on; those that are open stay. */
  stopListening(): Promise<void>;
}

export interface BackendOptions {
  readonly settings?: http2.Settings;
  /** Keep streams open until the test answers them. */
  readonly hold?: boolean;
  readonly tls?: http2.SecureServerOptions;
}

export const answer = (stream: http2.ServerHttp2Stream | undefined): void => {
  stream?.respond({ ':status': 200, 'content-type': 'application/grpc', 'grpc-status': '0' }, { endStream: true });
};

/** A real HTTP/2 server, of `node:http2`, which nobody here wrote. It ends with the test. */
export const backend = async (t: TestContext, { settings, hold = false, tls }: BackendOptions = {}): Promise<Backend> => {
  const server =
    tls === undefined
      ? http2.createServer(settings === undefined ? {} : { settings })
      : http2.createSecureServer({ ...tls, ...(settings === undefined ? {} : { settings }) });
  const sessions: http2.ServerHttp2Session[] = [];
  const held: http2.ServerHttp2Stream[] = [];
  const stopListening = async (): Promise<void> => {
    // Closing waits for what is open; the port is closed as soon as this returns to the event loop.
    net.Server.prototype.close.call(server);
    await new Promise((resolve) => setImmediate(resolve));
  };
  const found: Backend & { port: number } = { port: 0, sessions, held, accepted: 0, stopListening };
  server.on('connection', () => found.accepted++);
  server.on('session', (session) => {
    sessions.push(session);
    session.on('error', () => {});
  });
  server.on('stream', (stream: http2.ServerHttp2Stream) => {
    stream.on('error', () => {});
    if (hold) held.push(stream);
    else answer(stream);
  });
  server.on('error', () => {});
  if (tls !== undefined) server.on('tlsClientError', () => {});
  found.port = await listen(t, server);
  t.after(() => {
    for (const session of sessions) session.destroy();
  });
  return found;
};

/** Listens on a free port until the test ends, with every socket that came in. */
export const listen = async (t: TestContext, server: net.Server): Promise<number> => {
  const sockets = new Set<Duplex>();
  server.on('connection', (socket: net.Socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(
    () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  );
  const { port } = server.address() as net.AddressInfo;
  return port;
};
