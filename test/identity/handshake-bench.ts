import { once } from 'node:events';
import net, { type AddressInfo } from 'node:net';
import tls from 'node:tls';
import {
  clientConnectOptions,
  describeHandshakeFailure,
  type HandshakeFailure,
  type Identity,
  type PeerVerdict,
  type ServerExpectation,
  serverContextOptions,
  type TlsVersion,
  verifyClient,
  verifyServer,
} from '../../src/identity/index.ts';
import { clock, trustDomain } from './hostile-certificates.ts';

/** What one side made of a handshake: a verdict on the peer, or why it broke off. */
export type Outcome = PeerVerdict | (HandshakeFailure & { readonly ok: false });

/** A server of ours on loopback that judges each client and then closes. */
export class JudgingServer implements AsyncDisposable {
  readonly #server: tls.Server;
  readonly #outcomes: Outcome[] = [];
  readonly #sockets: tls.TLSSocket[] = [];
  #heard: (() => void) | undefined;

  private constructor(identity: Identity, minimum: TlsVersion | undefined) {
    this.#server = tls.createServer(serverContextOptions(identity, minimum), (socket) => {
      socket.on('error', () => {});
      this.#sockets.push(socket);
      this.resumed.push(socket.isSessionReused());
      this.#add(verifyClient(socket, { nowMs: clock.wallNow(), revocations: identity.revocations }));
      socket.end();
    });
    this.#server.on('tlsClientError', (error, socket) => {
      socket.destroy();
      this.#add({ ok: false, ...describeHandshakeFailure(error, 'server') });
    });
  }

  static async listen(identity: Identity, minimum?: TlsVersion): Promise<JudgingServer> {
    const judging = new JudgingServer(identity, minimum);
    judging.#server.listen(0, '127.0.0.1');
    await once(judging.#server, 'listening');
    return judging;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Which of the handshakes so far resumed a session. */
  readonly resumed: boolean[] = [];

  /** The next outcome that nobody has taken yet. */
  async outcome(): Promise<Outcome> {
    while (this.#outcomes.length === 0) await new Promise<void>((resolve) => (this.#heard = resolve));
    return this.#outcomes.shift() as Outcome;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #add(outcome: Outcome): void {
    this.#outcomes.push(outcome);
    this.#heard?.();
  }
}

/** A client that is not ours, which takes any server and shows what it is told to. */
export const connectHostile = (port: number, options: tls.ConnectionOptions): tls.TLSSocket => {
  const socket = tls.connect({
    host: '127.0.0.1',
    port,
    rejectUnauthorized: false,
    ALPNProtocols: ['h2'],
    ciphers: 'DEFAULT@SECLEVEL=0',
    ...options,
  });
  socket.on('error', () => {});
  socket.resume();
  return socket;
};

/** What a server of ours makes of a client that shows `options`. */
export const judgeClient = async (identity: Identity, options: tls.ConnectionOptions, minimum?: TlsVersion): Promise<Outcome> => {
  await using server = await JudgingServer.listen(identity, minimum);
  const client = connectHostile(server.port, options);
  const closed = once(client, 'close');
  const outcome = await server.outcome();
  client.destroy();
  await closed;
  return outcome;
};

export const expected = (identity: Identity, more: Partial<ServerExpectation> = {}) => ({
  serviceName: 'learner-svc',
  trustDomain,
  matchSubjectAltNames: [],
  spkiPins: [],
  hashPins: [],
  nowMs: clock.wallNow(),
  revocations: identity.revocations,
  ...more,
});

/** What a client of ours makes of whatever listens at `port`. */
export const judgeServerAt = async (port: number, identity: Identity, more: Partial<ServerExpectation> = {}): Promise<Outcome> => {
  const want = expected(identity, more);
  const socket = tls.connect({ ...clientConnectOptions(identity, want.serviceName), host: '127.0.0.1', port });
  const closed = once(socket, 'close').catch(() => {});
  const outcome = await new Promise<Outcome>((resolve) => {
    socket.once('secureConnect', () => resolve(verifyServer(socket, want)));
    socket.on('error', (error) => resolve({ ok: false, ...describeHandshakeFailure(error, 'client') }));
  });
  socket.destroy();
  await closed;
  return outcome;
};

/** What a client of ours makes of a server that is not ours. */
export const judgeServer = async (identity: Identity, options: tls.TlsOptions, more: Partial<ServerExpectation> = {}): Promise<Outcome> => {
  const sockets = new Set<net.Socket>();
  const server = tls.createServer({
    ALPNProtocols: ['h2'],
    ciphers: 'DEFAULT@SECLEVEL=0',
    requestCert: true,
    rejectUnauthorized: false,
    ...options,
  });
  server.on('connection', (socket) => sockets.add(socket));
  server.on('secureConnection', (socket) => socket.on('error', () => {}));
  server.on('tlsClientError', (_error, socket) => socket.destroy());
  return await served(server, sockets, (port) => judgeServerAt(port, identity, more));
};

/** What a client of ours makes of a server that answers `reply` to its first bytes. */
export const judgePlainServer = async (identity: Identity, reply: string): Promise<Outcome> => {
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.once('data', () => socket.end(reply));
  });
  return await served(server, sockets, (port) => judgeServerAt(port, identity));
};

const served = async (server: net.Server, sockets: ReadonlySet<net.Socket>, work: (port: number) => Promise<Outcome>): Promise<Outcome> => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    return await work((server.address() as AddressInfo).port);
  } finally {
    for (const socket of sockets) socket.destroy();
    server.close();
    await once(server, 'close');
  }
};

/** What a server of ours makes of a client that sends `bytes` instead of TLS. */
export const judgeBytes = async (identity: Identity, bytes: string | Uint8Array): Promise<Outcome> => {
  await using server = await JudgingServer.listen(identity);
  const client = net.connect({ host: '127.0.0.1', port: server.port }, () => client.end(bytes));
  client.on('error', () => {});
  client.resume();
  const closed = once(client, 'close');
  const outcome = await server.outcome();
  client.destroy();
  await closed;
  return outcome;
};
