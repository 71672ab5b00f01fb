import net from 'node:net';
import tls from 'node:tls';
import { type Clock, ConfigurationError, Deadline, type Logger, type Timer, type Watch } from '../core/index.ts';
import {
  Connection,
  type ConnectionCloseCause,
  type ConnectionHandler,
  type Engine,
  type HeaderBlock,
  type Http2Options,
  type Stream,
} from '../http2/index.ts';
import {
  describeHandshakeFailure,
  formatXfcc,
  type Identity,
  judgeLivePeer,
  type PeerIdentity,
  serverContextOptions,
  type TlsVersion,
  verifyClient,
} from '../identity/index.ts';
import { ListenerStats } from './listener-stats.ts';

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
  readonly minimumTls: TlsVersion;
  readonly http2: Http2Options;
}

export interface ListenerContext {
  readonly engine: Engine;
  readonly clock: Clock;
  readonly log: Logger;
  /** `undefined` only where `tls` is `off`. */
  readonly identity: Watch<Identity> | undefined;
  /** Where requests go; the callee sets `stream.handler`. */
  readonly onRequest: (listener: Listener, connection: Connection, stream: Stream, block: HeaderBlock, endStream: boolean) => void;
}

/** What a listener knows of a connection: stands in `connection.context`. */
export interface Downstream {
  readonly peer: PeerIdentity | undefined;
  /** Value of `x-forwarded-client-cert`; `undefined` where the peer has no verified certificate. */
  readonly forwardedClientCert: string | undefined;
  readonly remoteAddress: string;
}

const handshakeTimeoutMs = 10_000;
const firstByteTimeoutMs = 10_000;
/** As long as a draining connection waits for its peer's round trip. */
const newcomerGraceMs = 2_000;
const sweepIntervalMs = 1_000;
const tlsHandshakeByte = 0x16;

class FirstByteDeadline extends Deadline {
  readonly #listener: Listener;
  readonly #socket: net.Socket;

  constructor(listener: Listener, socket: net.Socket) {
    super();
    this.#listener = listener;
    this.#socket = socket;
  }

  override expire(): void {
    this.#listener.stats.preludeTimeouts++;
    this.#socket.destroy();
  }
}

/** One port: accepts, finds out who is there, and hands requests on. */
export class Listener {
  readonly name: 'inbound' | 'outbound';
  readonly stats: ListenerStats;
  readonly connections = new Set<Connection>();
  readonly #options: ListenerOptions;
  #http2: Http2Options;
  readonly #context: ListenerContext;
  readonly #server: net.Server;
  readonly #tlsServer: tls.Server | undefined;
  readonly #handler: ConnectionHandler;
  /** Sockets that are not a connection yet, by the peer's address: TLS hands on another object than the one that was accepted. */
  readonly #newcomers = new Map<string, net.Socket>();
  #newcomerGrace: Timer | undefined;
  #unsubscribe: () => void = () => {};
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
    this.#server = net.createServer({ noDelay: true }, this.#onSocket);
    this.#closed = new Promise((resolve) => this.#server.once('close', resolve));
    this.#tlsServer = this.#createTlsServer();
    this.#handler = {
      onReady() {},
      onCapacity() {},
      onGoAway() {},
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
        this.#server.on('error', (error) => this.#context.log.error('listener failed', { listener: name, error: error.message }));
        resolve();
      });
    });
    if (this.#tlsServer !== undefined) this.#scheduleSweep();
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
    if (this.#newcomers.size > 0) this.#newcomerGrace ??= this.#context.clock.setTimer(() => this.#dropNewcomers(), newcomerGraceMs);
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

  stopAccepting(): void {
    if (!this.#accepting) return;
    this.#accepting = false;
    this.#server.close();
  }

  /** Ends everything now; streams hear `onReset`. Resolves when the port is free and every socket gone, which a peer can delay by a second. */
  async close(): Promise<void> {
    this.#unsubscribe();
    this.#sweep?.cancel();
    this.#sweep = undefined;
    this.#newcomerGrace?.cancel();
    this.stopAccepting();
    for (const connection of [...this.connections]) connection.goAway(0, 'shutdown');
    this.#dropNewcomers();
    if (this.#started) await this.#closed;
  }

  get #isEmpty(): boolean {
    return this.connections.size === 0 && this.#newcomers.size === 0;
  }

  #tellIfEmpty(): void {
    if (this.#isEmpty) for (const resolve of this.#onEmpty.splice(0)) resolve();
  }

  #dropNewcomers(): void {
    for (const socket of [...this.#newcomers.values()]) socket.destroy();
  }

  #createTlsServer(): tls.Server | undefined {
    const { identity, log } = this.#context;
    if (this.#options.tls === 'off' || identity === undefined) return undefined;
    const options = this.#tlsOptions(identity.value);
    const server = tls.createServer({ ...options, handshakeTimeout: handshakeTimeoutMs });
    server.on('secureConnection', this.#onSecureConnection);
    server.on('tlsClientError', (error, socket) => {
      const failure = describeHandshakeFailure(error, 'server');
      this.stats.refusals[failure.counter]++;
      log.warning('handshake refused', {
        listener: this.name,
        peer: remoteOf(socket),
        counter: failure.counter,
        why: failure.why,
        remedy: failure.remedy,
      });
      socket.destroy();
    });
    this.#unsubscribe = identity.subscribe((next) => server.setSecureContext(this.#tlsOptions(next)));
    return server;
  }

  #tlsOptions(identity: Identity): tls.TlsOptions {
    const options = serverContextOptions(identity, this.#options.minimumTls);
    return this.#options.verifyClients ? options : { ...options, requestCert: false };
  }

  readonly #onSocket = (socket: net.Socket): void => {
    this.stats.connectionsTotal++;
    this.stats.connectionsActive++;
    const peer = remoteOf(socket);
    this.#newcomers.set(peer, socket);
    socket.on('error', ignoreError);
    socket.once('close', () => {
      this.stats.connectionsActive--;
      if (this.#newcomers.get(peer) !== socket) return;
      this.#newcomers.delete(peer);
      this.#tellIfEmpty();
    });
    if (this.#tlsServer === undefined) this.#adopt(socket, plainDownstream(socket));
    else if (this.#options.tls === 'required') this.#tlsServer.emit('connection', socket);
    else this.#detect(socket, this.#tlsServer);
  };

  #detect(socket: net.Socket, tlsServer: tls.Server): void {
    const { engine } = this.#context;
    const deadline = new FirstByteDeadline(this, socket);
    engine.wheel.arm(deadline, engine.clock.now() + firstByteTimeoutMs);
    const onReadable = (): void => {
      const bytes: Buffer | null = socket.read();
      if (bytes === null) return;
      engine.wheel.cancel(deadline);
      socket.removeListener('readable', onReadable);
      if (bytes[0] === tlsHandshakeByte) {
        socket.unshift(bytes);
        tlsServer.emit('connection', socket);
        return;
      }
      this.stats.plainTextTotal++;
      const connection = this.#adopt(socket, plainDownstream(socket));
      connection.receive(bytes);
      // Removing the last 'readable' listener leaves the socket paused.
      socket.resume();
    };
    socket.on('readable', onReadable);
    socket.once('close', () => engine.wheel.cancel(deadline));
  }

  readonly #onSecureConnection = (socket: tls.TLSSocket): void => {
    const { clock, log, identity } = this.#context;
    socket.on('error', ignoreError);
    if (!this.#options.verifyClients) {
      if (socket.alpnProtocol !== 'h2') {
        this.stats.refusals.no_alpn++;
        log.warning('handshake refused', {
          listener: this.name,
          peer: remoteOf(socket),
          counter: 'no_alpn',
          why: 'the client did not offer ALPN h2',
        });
        socket.destroy();
        return;
      }
      this.stats.handshakes++;
      this.#adopt(socket, plainDownstream(socket));
      return;
    }
    const own = (identity as Watch<Identity>).value;
    const verdict = verifyClient(socket, { nowMs: clock.wallNow(), revocations: own.revocations });
    if (!verdict.ok) {
      this.stats.refusals[verdict.counter]++;
      log.warning('handshake refused', {
        listener: this.name,
        peer: remoteOf(socket),
        counter: verdict.counter,
        why: verdict.why,
        remedy: verdict.remedy,
      });
      socket.destroy();
      return;
    }
    this.stats.handshakes++;
    const ownName = own.spiffeId ?? own.dnsNames[0] ?? '';
    this.#adopt(socket, {
      peer: verdict.peer,
      forwardedClientCert: formatXfcc(verdict.peer, ownName),
      remoteAddress: remoteOf(socket),
    });
  };

  #adopt(socket: net.Socket, downstream: Downstream): Connection {
    this.#newcomers.delete(downstream.remoteAddress);
    const connection = new Connection(this.#context.engine, socket, 'server', this.#http2, this.stats.http2, this.#handler);
    connection.context = downstream;
    this.connections.add(connection);
    // Accepted by the kernel before the port was closed: it is served, and told to go elsewhere next time.
    if (!this.#accepting) connection.drain('drain');
    return connection;
  }

  #onClose(connection: Connection, cause: ConnectionCloseCause): void {
    this.connections.delete(connection);
    this.#tellIfEmpty();
    if (cause.kind !== 'protocol' && cause.kind !== 'timeout') return;
    const { remoteAddress } = connection.context as Downstream;
    this.#context.log.warning('connection ended', { listener: this.name, peer: remoteAddress, kind: cause.kind, why: cause.message });
  }

  #scheduleSweep(): void {
    this.#sweep = this.#context.clock.setTimer(() => {
      this.#closeExpired();
      this.#scheduleSweep();
    }, sweepIntervalMs);
  }

  /** A certificate counts as long as the connection lives, not only at its beginning. */
  #closeExpired(): void {
    const { identity, clock } = this.#context;
    if (identity === undefined) return;
    const expected = { nowMs: clock.wallNow(), revocations: identity.value.revocations };
    for (const connection of [...this.connections]) {
      const { peer, remoteAddress } = connection.context as Downstream;
      const refusal = peer === undefined ? undefined : judgeLivePeer(peer, expected);
      if (refusal === undefined) continue;
      this.stats.peersExpired++;
      this.#context.log.warning('connection closed', { listener: this.name, peer: remoteAddress, why: refusal.why });
      connection.goAway(0, refusal.why);
    }
  }
}

const ignoreError = (): void => {};

const remoteOf = (socket: net.Socket): string => `${socket.remoteAddress ?? 'unknown'}:${socket.remotePort ?? 0}`;

const plainDownstream = (socket: net.Socket): Downstream => ({
  peer: undefined,
  forwardedClientCert: undefined,
  remoteAddress: remoteOf(socket),
});

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
