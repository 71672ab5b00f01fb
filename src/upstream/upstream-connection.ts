import net from 'node:net';
import tls from 'node:tls';
import { Deadline, type MeshError } from '../core/index.ts';
import {
  Connection,
  ConnectionAge,
  type ConnectionCloseCause,
  type ConnectionHandler,
  defaultHttp2Options,
  ErrorCode,
  type Http2Counters,
  type Stream,
} from '../http2/index.ts';
import { clientConnectOptions, type Identity, type PeerIdentity, verifyServer } from '../identity/index.ts';
import type { ClusterPolicy } from '../policy/index.ts';
import type { ConcurrencyLimit } from '../resilience/index.ts';
import type { ClusterStats } from './cluster-stats.ts';
import {
  type ConnectPhase,
  type ConnectTarget,
  closedAfterHandshake,
  connectTimeout,
  handshakeFailure,
  noIdentity,
  noSocketLeft,
  peerRefusal,
  settingsFailure,
  tcpFailure,
} from './connect-failure.ts';
import { expectedServer } from './expected-server.ts';
import { Keepalive, type KeepaliveOptions } from './keepalive.ts';
import { PacedResets } from './paced-resets.ts';
import type { UpstreamContext } from './upstream-context.ts';

/** What a connection is made with. */
export interface UpstreamConnectionOptions {
  readonly target: ConnectTarget;
  readonly host: string;
  readonly port: number;
  /** Who it has to be, by its certificate. */
  readonly serviceName: string;
  readonly policy: ClusterPolicy;
  readonly keepalive: KeepaliveOptions;
  readonly context: UpstreamContext;
  readonly stats: ClusterStats;
  readonly http2Counters: Http2Counters;
}

/** Whoever made a connection hears each of these at most once, except for `onCapacity`. All are synchronous. */
export interface UpstreamConnectionOwner {
  /** It may carry calls from here on. */
  onReady(connection: UpstreamConnection): void;
  /** It never became ready, and is over. */
  onConnectFailed(connection: UpstreamConnection, error: MeshError): void;
  /** A stream has ended, or the peer allows more of them. */
  onCapacity(connection: UpstreamConnection): void;
  /** It takes no new calls any more (GOAWAY); those that it carries go on. */
  onRetired(connection: UpstreamConnection, tooManyPings: boolean): void;
  /** It was ready once, and is over. */
  onClosed(connection: UpstreamConnection): void;
  /** It is as old as `max_connection_age` lets it become; once, and again where it is reminded. */
  onAged(connection: UpstreamConnection): void;
  /** It has reset as many streams as its server takes at once. */
  onResetsUsedUp(connection: UpstreamConnection, owed: number): void;
}

type State = 'connecting' | 'ready' | 'retired' | 'closed';

const isTlsError = (error: Error | undefined): error is Error =>
  error !== undefined &&
  'code' in error &&
  typeof error.code === 'string' &&
  (error.code.startsWith('ERR_SSL_') || error.code === 'EPROTO');

/**
 * One connection to one endpoint, from TCP to the peer's SETTINGS to its end. It counts as connected only with the SETTINGS:
 * with TLS 1.3 a server that refuses our certificate says so after *our* handshake is complete, and a call sent by then
 * would be lost instead of tried elsewhere.
 */
export class UpstreamConnection implements ConnectionHandler {
  /** Verified; `undefined` in plain text and before the handshake. */
  peer: PeerIdentity | undefined = undefined;
  /** For the owner: the limit in which it has a place. */
  countedIn: ConcurrencyLimit | undefined = undefined;
  readonly #options: UpstreamConnectionOptions;
  readonly #owner: UpstreamConnectionOwner;
  readonly #deadline = new Deadline({ expire: () => this.#onConnectTimeout() });
  #state: State = 'connecting';
  #phase: ConnectPhase = 'tcp';
  #socket: net.Socket | undefined;
  #connection: Connection | undefined;
  #keepalive: Keepalive | undefined;
  #resets: PacedResets | undefined;
  #age: ConnectionAge | undefined;
  #socketError: Error | undefined;
  #closedHere = false;

  constructor(options: UpstreamConnectionOptions, owner: UpstreamConnectionOwner) {
    this.#options = options;
    this.#owner = owner;
  }

  /** Begins to connect. The owner may hear `onConnectFailed` before this returns. */
  start(): void {
    const { context, policy, stats } = this.#options;
    const { clock, wheel } = context.engine;
    stats.upstreamCxTotal++;
    wheel.arm(this.#deadline, clock.now() + policy.connectTimeoutMs);
    if (context.sockets?.take() === false) {
      this.#fail(noSocketLeft(this.#options.target));
      return;
    }
    if (policy.tls.mode === 'disable') this.#startPlain();
    else this.#startTls();
  }

  get connection(): Connection | undefined {
    return this.#connection;
  }

  get state(): State {
    return this.#state;
  }

  /** The calls it carries go on, then it closes. One that is still connecting is given up without a word. */
  retire(debugData: string): void {
    if (this.#state === 'ready') {
      this.#state = 'retired';
      this.#closedHere = true;
      this.#age?.stop();
      this.#connection?.drain(debugData);
    } else if (this.#state === 'connecting') this.#abandon();
  }

  /** Ends it at once; its streams hear `onReset`. */
  close(code: number, debugData: string): void {
    this.#closedHere = true;
    if (this.#state === 'connecting') this.#abandon();
    else if (this.#state !== 'closed') this.#connection?.goAway(code, debugData);
  }

  /** Tells the server that nobody waits for `stream`, which carries a call on this connection; at once where that is honest. */
  resetStream(stream: Stream, code: number): void {
    this.#resets ??= new PacedResets(stream.connection, this.#onOwing);
    if (!this.#resets.reset(stream, code)) this.#options.stats.upstreamRqResetDelayed++;
  }

  /** Resets wait: another connection takes the calls to come, and this one ends with the last call that somebody waits for. */
  readonly #onOwing = (): void => {
    if (this.#state === 'ready') this.#owner.onResetsUsedUp(this, this.#resets?.owed ?? 0);
    if (this.#state === 'retired' && this.#resets?.owesAll === true) this.#connection?.goAway(ErrorCode.noError, 'max_resets');
  };

  /** How old it may become from here on, 10 % more or less; 0: any age. */
  limitAge(ageMs: number): void {
    if (this.#state !== 'ready' || (ageMs === 0 && this.#age === undefined)) return;
    const { engine, random } = this.#options.context;
    this.#age ??= new ConnectionAge(engine, random(), () => {
      if (this.#state === 'ready') this.#owner.onAged(this);
    });
    this.#age.limit(ageMs);
  }

  /** It was too old, and could not be replaced: tells once more after so many milliseconds. */
  remindOfAge(afterMs: number): void {
    if (this.#state === 'ready') this.#age?.remind(afterMs);
  }

  changeKeepalive(options: KeepaliveOptions): void {
    this.#keepalive?.change(options);
  }

  // ---- connecting ----

  #startPlain(): void {
    const { host, port } = this.#options;
    const socket = net.connect({ host, port, noDelay: true });
    this.#adopt(socket);
    socket.once('connect', () => this.#speakHttp2(socket));
  }

  #startTls(): void {
    const { context, host, policy, port, target } = this.#options;
    const identity = context.identity?.value;
    if (identity === undefined) {
      context.sockets?.give();
      this.#fail(noIdentity(target));
      return;
    }
    let socket: tls.TLSSocket;
    try {
      const serverName = policy.tls.sni === '' ? this.#options.serviceName : policy.tls.sni;
      socket = tls.connect({ ...clientConnectOptions(identity, serverName, context.tlsMinimum), host, port });
    } catch (error) {
      // An identity that OpenSSL does not take after all.
      context.sockets?.give();
      this.#fail(handshakeFailure(target, error instanceof Error ? error : new Error(String(error)), this.#options.stats));
      return;
    }
    this.#adopt(socket);
    socket.once('connect', () => {
      this.#phase = 'tls';
      socket.setNoDelay(true);
    });
    socket.once('secureConnect', () => this.#onSecure(socket, identity));
  }

  #adopt(socket: net.Socket): void {
    this.#socket = socket;
    // Ours comes before the engine's, which knows an error by its text only.
    socket.on('error', (error) => {
      this.#socketError = error;
      if (this.#connection === undefined) this.#onSocketLost(error);
    });
    socket.on('close', () => {
      this.#options.context.sockets?.give();
      if (this.#connection === undefined) this.#onSocketLost(this.#socketError ?? new Error('the peer closed the connection'));
    });
  }

  #onSecure(socket: tls.TLSSocket, identity: Identity): void {
    if (this.#state !== 'connecting') return;
    const { context, policy, serviceName, stats, target } = this.#options;
    const verdict = verifyServer(socket, expectedServer(policy, serviceName, context, identity));
    if (!verdict.ok) {
      this.#fail(peerRefusal(target, verdict, stats));
      return;
    }
    stats.sslHandshake++;
    this.peer = verdict.peer;
    this.#speakHttp2(socket);
  }

  #speakHttp2(socket: net.Socket): void {
    if (this.#state !== 'connecting') return;
    this.#phase = 'settings';
    const { context, http2Counters, policy } = this.#options;
    // Our own limit covers all of TCP, TLS and SETTINGS, and is the one that speaks.
    const options = { ...(context.http2 ?? defaultHttp2Options), prefaceTimeoutMs: policy.connectTimeoutMs + 1_000 };
    this.#connection = new Connection(context.engine, socket, 'client', options, http2Counters, this);
    this.#connection.context = this;
  }

  #onConnectTimeout(): void {
    const { policy, stats, target } = this.#options;
    stats.upstreamCxConnectTimeout++;
    if (this.#phase === 'tls') stats.sslHandshakeTimeout++;
    this.#fail(connectTimeout(target, this.#phase, policy.connectTimeoutMs));
  }

  #onSocketLost(error: Error): void {
    if (this.#state !== 'connecting') return;
    const { stats, target } = this.#options;
    this.#fail(this.#phase === 'tls' ? handshakeFailure(target, error, stats) : tcpFailure(target, error));
  }

  /** The one way out of 'connecting' that is no success and not our own wish. */
  #fail(error: MeshError): void {
    if (this.#state !== 'connecting') return;
    this.#options.stats.upstreamCxConnectFail++;
    this.#abandon();
    this.#owner.onConnectFailed(this, error);
  }

  #abandon(): void {
    this.#state = 'closed';
    this.#options.context.engine.wheel.cancel(this.#deadline);
    if (this.#connection === undefined) this.#socket?.destroy();
    else this.#connection.destroy();
  }

  // ---- the engine's calls ----

  onReady(): void {
    if (this.#state !== 'connecting') return;
    const { context, keepalive, policy, stats } = this.#options;
    context.engine.wheel.cancel(this.#deadline);
    this.#state = 'ready';
    stats.upstreamCxHttp2Total++;
    const socket = this.#socket as net.Socket;
    this.#keepalive = new Keepalive(
      this.#connection as Connection,
      keepalive,
      () => socket.bytesRead,
      () => this.#onSilence(),
    );
    this.limitAge(policy.maxConnectionAgeMs);
    this.#owner.onReady(this);
  }

  onRequest(_connection: Connection, stream: Stream): void {
    // Cannot happen: the engine lets no server open streams.
    stream.reset(ErrorCode.protocolError);
  }

  onCapacity(): void {
    if (this.#state === 'ready') this.#owner.onCapacity(this);
  }

  onGoAway(_connection: Connection, _lastStreamId: number, code: number, debugData: string): void {
    if (this.#state !== 'ready') return;
    this.#state = 'retired';
    this.#age?.stop();
    this.#options.stats.upstreamCxCloseNotify++;
    this.#owner.onRetired(this, code === ErrorCode.enhanceYourCalm && debugData.includes('too_many_pings'));
  }

  onClose(_connection: Connection, cause: ConnectionCloseCause): void {
    this.#keepalive?.stop();
    this.#resets?.stop();
    this.#age?.stop();
    const { stats } = this.#options;
    if (this.#state === 'connecting') {
      if (cause.kind === 'protocol') stats.upstreamCxProtocolError++;
      this.#fail(this.#failureBeforeSettings(cause));
      return;
    }
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    if (cause.kind === 'protocol') stats.upstreamCxProtocolError++;
    stats.upstreamCxDestroy++;
    if (this.#closedHere || cause.kind === 'local') stats.upstreamCxDestroyLocal++;
    else stats.upstreamCxDestroyRemote++;
    this.#owner.onClosed(this);
  }

  #failureBeforeSettings(cause: ConnectionCloseCause): MeshError {
    const { stats, target } = this.#options;
    if (this.peer === undefined || (cause.kind !== 'peer' && cause.kind !== 'error')) return settingsFailure(target, cause.message);
    // With TLS 1.3 this is where the refusal of our certificate arrives.
    return isTlsError(this.#socketError) ? handshakeFailure(target, this.#socketError, stats) : closedAfterHandshake(target, stats);
  }

  #onSilence(): void {
    const { http2Counters, keepalive, target } = this.#options;
    http2Counters.keepaliveTimeout++;
    const message = `cluster "${target.cluster}", endpoint ${target.endpoint}: no answer to a PING within ${keepalive.timeoutMs} ms`;
    this.#options.context.log.warning('upstream connection is dead', { cluster: target.cluster, endpoint: target.endpoint });
    this.#connection?.destroy(new Error(message));
  }
}
