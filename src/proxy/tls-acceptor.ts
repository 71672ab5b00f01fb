import type net from 'node:net';
import tls from 'node:tls';
import type { Clock, LimitedLog, Watch } from '../core/index.ts';
import {
  describeHandshakeFailure,
  formatXfcc,
  type HandshakeCounter,
  type Identity,
  type PeerIdentity,
  serverContextOptions,
  type TlsVersion,
  verifyClient,
} from '../identity/index.ts';
import type { ListenerStats } from './listener-stats.ts';
import { NewcomerDropped } from './newcomers.ts';

/** What a listener knows of a connection: stands in `connection.context`. */
export interface Downstream {
  readonly peer: PeerIdentity | undefined;
  /** Value of `x-forwarded-client-cert`; `undefined` where the peer has no verified certificate. */
  readonly forwardedClientCert: string | undefined;
  /** With the port. */
  readonly remoteAddress: string;
  /** Without it. */
  readonly remoteIp: string;
  /** What it asked for in its handshake (SNI); `undefined`: it named nobody, or spoke no TLS. */
  readonly serverName: string | undefined;
}

export interface TlsAcceptorContext {
  readonly listener: string;
  readonly clock: Clock;
  readonly identity: Watch<Identity>;
  readonly minimumTls: TlsVersion;
  /** Clients must show a certificate of the mesh. */
  readonly verifyClients: boolean;
  readonly stats: ListenerStats;
  readonly log: LimitedLog;
  readonly onSecure: (socket: tls.TLSSocket, downstream: Downstream) => void;
}

/** Whoever hands over sockets has a time limit of its own, in the time of its clock; Node's is for nobody. */
const nodeTimeoutMs = 120_000;

/** The server side of TLS: handshakes, and whom to let in afterwards. */
export class TlsAcceptor {
  readonly #context: TlsAcceptorContext;
  readonly #server: tls.Server;
  readonly #unsubscribe: () => void;

  constructor(context: TlsAcceptorContext) {
    this.#context = context;
    const { identity } = context;
    this.#server = tls.createServer({ ...this.#options(identity.value), handshakeTimeout: nodeTimeoutMs });
    this.#server.on('secureConnection', this.#onSecureConnection);
    this.#server.on('tlsClientError', (error, socket) => {
      if (!(error instanceof NewcomerDropped)) {
        const { counter, why, remedy } = describeHandshakeFailure(error, 'server');
        this.#refuse(socket, counter, why, remedy);
      }
      socket.destroy();
    });
    this.#unsubscribe = identity.subscribe((next) => this.#server.setSecureContext(this.#options(next)));
  }

  /** Begins a handshake over an accepted socket, with what was read of it unshifted. */
  begin(socket: net.Socket): void {
    this.#server.emit('connection', socket);
  }

  close(): void {
    this.#unsubscribe();
  }

  #options(identity: Identity): tls.TlsOptions {
    const options = serverContextOptions(identity, this.#context.minimumTls);
    return this.#context.verifyClients ? options : { ...options, requestCert: false };
  }

  readonly #onSecureConnection = (socket: tls.TLSSocket): void => {
    const { clock, identity, onSecure, stats, verifyClients } = this.#context;
    socket.on('error', ignoreError);
    if (!verifyClients) {
      if (socket.alpnProtocol !== 'h2') {
        this.#refuse(socket, 'no_alpn', 'the client did not offer ALPN h2', 'offer h2 in ALPN, as gRPC does');
        socket.destroy();
        return;
      }
      stats.handshakes++;
      onSecure(socket, plainDownstream(socket));
      return;
    }
    const own = identity.value;
    const verdict = verifyClient(socket, { nowMs: clock.wallNow(), revocations: own.revocations });
    if (!verdict.ok) {
      this.#refuse(socket, verdict.counter, verdict.why, verdict.remedy);
      socket.destroy();
      return;
    }
    stats.handshakes++;
    const ownName = own.spiffeId ?? own.dnsNames[0] ?? '';
    onSecure(socket, {
      peer: verdict.peer,
      forwardedClientCert: formatXfcc(verdict.peer, ownName),
      remoteAddress: remoteOf(socket),
      remoteIp: socket.remoteAddress ?? 'unknown',
      // `false` where there is none.
      serverName: socket.servername || undefined,
    });
  };

  #refuse(socket: net.Socket, counter: HandshakeCounter, why: string, remedy: string): void {
    const { listener, log, stats } = this.#context;
    stats.refusals[counter]++;
    log.warning('handshake refused', () => ({ listener, peer: remoteOf(socket), counter, why, remedy }));
  }
}

export const ignoreError = (): void => {};

export const remoteOf = (socket: net.Socket): string => `${socket.remoteAddress ?? 'unknown'}:${socket.remotePort ?? 0}`;

export const plainDownstream = (socket: net.Socket): Downstream => ({
  peer: undefined,
  forwardedClientCert: undefined,
  remoteAddress: remoteOf(socket),
  remoteIp: socket.remoteAddress ?? 'unknown',
  serverName: undefined,
});
