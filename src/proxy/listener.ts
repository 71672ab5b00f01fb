import net from 'node:net';
import { ConfigurationError, LimitedLog, type Logger, type Timer, type Watch } from '../core/index.ts';
import {
  Connection,
  type ConnectionCloseCause,
  type ConnectionHandler,
  type Engine,
  type HeaderBlock,
  type Http2Options,
  type SheddingOwner,
  type Stream,
} from '../http2/index.ts';
import { type Identity, judgeLivePeer, type TlsVersion } from '../identity/index.ts';
import type { ConnectionAgePolicy } from '../policy/index.ts';
import { ConnectionAges } from './connection-ages.ts';
import { ListenerStats } from './listener-stats.ts';
import { Newcomers } from './newcomers.ts';
import { type ConnectionLimits, overflowRemedy } from './overload/connection-limits.ts';
import type { Overload } from './overload/overload.ts';
import { type Downstream, ignoreError, plainDownstream, TlsAcceptor } from './tls-acceptor.ts';

/** How a listener speaks TLS: always, never, or as the first byte of each connection says (0x16 begins a TLS handshake). */
export type ListenerTls = 'required' | 'off' | 'detected';

export interface ListenerOptions {
  readonly name: 'inbound' | 'outbound';
  readonly host: string;
  /** 0: the system chooses. */
  readonly port: number;
  readonly tls: ListenerTls;
  /** Clients must show a certificate of the mesh where they speak TLS. */
  readonly verifyClients: boolean;
  /** How many connections one address has is counted. */
  readonly limitSources: boolean;
  readonly minimumTls: TlsVersion;
  readonly http2: Http2Options;
  readonly age: ConnectionAgePolicy;
}

export interface ListenerContext {
  /** Brings the clock with it. */
  readonly engine: Engine;
  readonly log: Logger;
  readonly limits: ConnectionLimits;
  readonly overload: Overload;
  /** `undefined` only where `tls` is `off`. */
  readonly identity: Watch<Identity> | undefined;
  /** What becomes of requests for which there is no time. */
  readonly shedding: (listener: Listener) => SheddingOwner;
  /** Where requests go; the callee sets `stream.handler`. */
  readonly onRequest: (listener: Listener, connection: Connection, stream: Stream, block: HeaderBlock, endStream: boolean) => void;
  /** From 0 to 1. */
  readonly random: () => number;
  /** Ends the calls of a connection that is too old, and had its grace. */
  readonly endAgedCalls: (connection: Connection) => void;
}

/** As long as a draining connection waits for its peer's round trip. */
const newcomerGraceMs = 2_000;
const sweepIntervalMs = 1_000;

/** One port: accepts, finds out who is there, and hands requests on. */
export class Listener {
  readonly name: 'inbound' | 'outbound';
  readonly stats: ListenerStats;
  readonly connections = new Set<Connection>();
  readonly #options: ListenerOptions;
  #http2: Http2Options;
  readonly #context: ListenerContext;
  readonly #log: LimitedLog;
  readonly #server: net.Server;
  readonly #acceptor: TlsAcceptor | undefined;
  readonly #newcomers: Newcomers;
  readonly #ages: ConnectionAges;
  readonly #handler: ConnectionHandler;
  #newcomerGrace: Timer | undefined;
  #sweep: Timer | undefined;
  #accepting = true;
  #started = false;
  readonly #closed: Promise<void>;
  readonly #onEmpty: (() => void)[] = [];

  constructor(options: ListenerOptions, context: ListenerContext) {
    this.name = options.name;
    this.#options = options;
    this.#http2 = options.http2;
    this.#context = context;
    this.stats = new ListenerStats(options.name);
    this.#log = new LimitedLog(context.log, context.engine.clock);
    // Nothing is read of a connection before it is clear what becomes of it.
    this.#server = net.createServer({ noDelay: true, pauseOnConnect: true }, this.#onSocket);
    this.#server.on('drop', () => this.#onDrop());
    this.#applyOverload();
    this.#closed = new Promise((resolve) => this.#server.once('close', resolve));
    this.#acceptor = this.#createAcceptor();
    this.#newcomers = this.#createNewcomers();
    this.#ages = new ConnectionAges(options.age, {
      engine: context.engine,
      random: context.random,
      onAged: () => {
        this.stats.maxDurationReached++;
      },
      endCalls: context.endAgedCalls,
    });
    context.overload.onSample(() => this.#applyOverload());
    this.#handler = {
      onReady() {},
      onCapacity() {},
      onGoAway() {},
      shedding: context.shedding(this),
      onRequest: (connection, stream, block, endStream) => context.onRequest(this, connection, stream, block, endStream),
      onClose: (connection, cause) => this.#onClose(connection, cause),
    };
  }

  /** Rejects with a ConfigurationError where the port cannot be had. */
  async start(): Promise<void> {
    const { host, port, name } = this.#options;
    await new Promise<void>((resolve, reject) => {
      const refuse = (error: NodeJS.ErrnoException): void => reject(cannotListen(name, host, port, error));
      this.#server.once('error', refuse);
      this.#server.listen({ host, port, backlog: 1_024 }, () => {
        this.#started = true;
        this.#server.removeListener('error', refuse);
        // One of accepting: no descriptors are left. Who knocks meanwhile waits, or is turned away by the kernel.
        this.#server.on('error', (error) => this.#log.warning('listener failed', () => ({ listener: name, error: error.message })));
        resolve();
      });
    });
    if (this.#acceptor !== undefined) this.#scheduleSweep();
  }

  /** Where it listens; only after `start`. */
  get address(): { readonly host: string; readonly port: number } {
    const address = this.#server.address();
    return address === null || typeof address === 'string'
      ? { host: this.#options.host, port: this.#options.port }
      : { host: address.address, port: address.port };
  }

  /**
   * No further connections are accepted; those that live say GOAWAY in two steps and end when their streams have. Who is about to
   * shake hands has a moment to do so, and is then told the same.
   */
  drain(debugData: string): void {
    this.stopAccepting();
    for (const connection of [...this.connections]) connection.drain(debugData);
    if (this.#newcomers.size > 0)
      this.#newcomerGrace ??= this.#context.engine.clock.setTimer(() => this.#newcomers.dropAll(), newcomerGraceMs);
  }

  /** Resolves when no connection is left, nor one that may become one; at once where there is none. */
  async whenEmpty(): Promise<void> {
    if (this.#isEmpty) return;
    await new Promise<void>((resolve) => this.#onEmpty.push(resolve));
  }

  /** MAX_CONCURRENT_STREAMS of connections from here on; those that live keep what was announced to them. */
  limitStreams(maxConcurrentStreams: number): void {
    this.#http2 = { ...this.#http2, maxConcurrentStreams };
  }

  /** How old connections may become from here on, also those that live. */
  limitAge(age: ConnectionAgePolicy): void {
    this.#ages.change(age, this.connections);
  }

  stopAccepting(): void {
    if (!this.#accepting) return;
    this.#accepting = false;
    this.#server.close();
  }

  /** Ends everything now; streams hear `onReset`. Resolves when the port is free and every socket gone, which a peer can delay by a second. */
  async close(): Promise<void> {
    this.#acceptor?.close();
    this.#sweep?.cancel();
    this.#sweep = undefined;
    this.#newcomerGrace?.cancel();
    this.stopAccepting();
    for (const connection of [...this.connections]) connection.goAway(0, 'shutdown');
    this.#newcomers.dropAll();
    if (this.#started) await this.#closed;
  }

  get #isEmpty(): boolean {
    return this.connections.size === 0 && this.#newcomers.size === 0;
  }

  #tellIfEmpty(): void {
    if (this.#isEmpty) for (const resolve of this.#onEmpty.splice(0)) resolve();
  }

  /** What the process can afford has changed. */
  #applyOverload(): void {
    const { limits, overload } = this.#context;
    // Node closes what is above without making a socket of it.
    this.#server.maxConnections = overload.isActive('stop_accepting_connections') ? 0 : limits.options.perListener;
    if (!overload.isActive('disable_http_keepalive')) return;
    for (const connection of [...this.connections]) if (connection.activeStreams === 0) connection.drain('overloaded');
  }

  #createAcceptor(): TlsAcceptor | undefined {
    const { engine, identity } = this.#context;
    const { minimumTls, tls, verifyClients } = this.#options;
    if (tls === 'off' || identity === undefined) return undefined;
    return new TlsAcceptor({
      listener: this.name,
      clock: engine.clock,
      identity,
      minimumTls,
      verifyClients,
      stats: this.stats,
      log: this.#log,
      onSecure: (socket, downstream) => {
        // In this order: a listener that drains must not be empty in between.
        this.#adopt(socket, downstream);
        this.#newcomers.settle(socket);
      },
    });
  }

  #createNewcomers(): Newcomers {
    const { engine, overload } = this.#context;
    return new Newcomers({
      engine,
      stats: this.stats,
      plainTextAllowed: this.#options.tls === 'detected',
      isBusy: () => overload.isActive('shed_newest_requests'),
      beginTls: (socket) => this.#acceptor?.begin(socket),
      onPlain: (socket, bytes) => {
        const connection = this.#adopt(socket, plainDownstream(socket));
        connection.receive(bytes, bytes.length);
        socket.resume();
      },
      onTooMany: (peer) => {
        const why = 'too many connections are in their TLS handshake, or have not begun it';
        this.#log.warning('connection refused', () => ({ listener: this.name, peer, why }));
      },
      onEmpty: () => this.#tellIfEmpty(),
    });
  }

  readonly #onSocket = (socket: net.Socket): void => {
    const { limits } = this.#context;
    socket.on('error', ignoreError);
    const peer = socket.remoteAddress;
    if (peer === undefined) {
      // Gone before it was looked at.
      this.stats.connectionsTotal++;
      socket.destroy();
      return;
    }
    const source = this.#options.limitSources ? peer : undefined;
    const overflow = limits.take(this.stats.connectionsActive, source);
    if (overflow !== undefined) {
      this.stats.overflows[overflow]++;
      this.#log.warning('connection refused', () => ({ listener: this.name, peer, ...overflowRemedy(overflow, limits.options) }));
      socket.destroy();
      return;
    }
    this.stats.connectionsTotal++;
    this.stats.connectionsActive++;
    socket.once('close', () => {
      this.stats.connectionsActive--;
      limits.give(source);
    });
    if (this.#acceptor !== undefined) {
      this.#newcomers.add(socket);
      return;
    }
    this.#adopt(socket, plainDownstream(socket));
    socket.resume();
  };

  /** Node has closed a connection above `maxConnections`. */
  #onDrop(): void {
    const { limits, overload } = this.#context;
    const why = overload.unready;
    if (why === undefined) this.stats.overflows.listener++;
    else this.stats.overloadRejects++;
    this.#log.warning('connection refused', () => ({
      listener: this.name,
      ...(why === undefined ? overflowRemedy('listener', limits.options) : { why }),
    }));
  }

  #adopt(socket: net.Socket, downstream: Downstream): Connection {
    const connection = new Connection(this.#context.engine, socket, 'server', this.#http2, this.stats.http2, this.#handler);
    connection.context = downstream;
    this.connections.add(connection);
    this.#ages.add(connection);
    // Accepted by the kernel before the port was closed: it is served, and told to go elsewhere next time.
    if (!this.#accepting) connection.drain('drain');
    return connection;
  }

  #onClose(connection: Connection, cause: ConnectionCloseCause): void {
    this.connections.delete(connection);
    this.#ages.remove(connection);
    this.#tellIfEmpty();
    if (cause.kind !== 'protocol' && cause.kind !== 'timeout') return;
    const { remoteAddress } = connection.context as Downstream;
    const { kind, message: why } = cause;
    this.#log.warning('connection ended', () => ({ listener: this.name, peer: remoteAddress, kind, why }));
  }

  #scheduleSweep(): void {
    this.#sweep = this.#context.engine.clock.setTimer(() => {
      this.#closeExpired();
      this.#scheduleSweep();
    }, sweepIntervalMs);
  }

  /** A certificate counts as long as the connection lives, not only at its beginning. */
  #closeExpired(): void {
    const { identity, engine } = this.#context;
    if (identity === undefined) return;
    const expected = { nowMs: engine.clock.wallNow(), revocations: identity.value.revocations };
    for (const connection of [...this.connections]) {
      const { peer, remoteAddress } = connection.context as Downstream;
      const refusal = peer === undefined ? undefined : judgeLivePeer(peer, expected);
      if (refusal === undefined) continue;
      this.stats.peersExpired++;
      this.#log.warning('connection closed', () => ({ listener: this.name, peer: remoteAddress, why: refusal.why }));
      connection.goAway(0, refusal.why);
    }
  }
}

const cannotListen = (name: string, host: string, port: number, error: NodeJS.ErrnoException): ConfigurationError => {
  const variable = name === 'inbound' ? 'GRPC_PORT' : 'OUTBOUND_PORT';
  if (error.code === 'EADDRINUSE') {
    return new ConfigurationError(`${name} listener: port ${port} on ${host} is in use`, {
      remedy: `stop what listens there, or set ${variable} to a free port`,
      cause: error,
    });
  }
  if (error.code === 'EACCES') {
    return new ConfigurationError(`${name} listener: port ${port} on ${host} needs privileges`, {
      remedy: `set ${variable} to a port above 1023`,
      cause: error,
    });
  }
  return new ConfigurationError(`${name} listener: cannot listen on ${host}:${port}: ${error.message}`, {
    remedy: `check ${variable} and the address`,
    cause: error,
  });
};
