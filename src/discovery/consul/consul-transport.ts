import type { EventEmitter } from 'node:events';
import { type ClientRequest, Agent as HttpAgent, request as httpRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import type { Clock } from '../../core/index.ts';
import type { ConsulTlsFiles } from './consul-credentials.ts';
import { ConsulError } from './consul-error.ts';

export interface ConsulTransportOptions {
  readonly clock: Clock;
  readonly secure: boolean;
  /** Most bytes of an answer's body. */
  readonly answerLimitBytes: number;
  /** How long a connection may take, its TLS handshake included. */
  readonly connectTimeoutMs: number;
  /** Name in the handshake and in the agent's certificate; the host where left out. */
  readonly serverName: string | undefined;
}

/** A half-open connection under a query that waits for minutes is found out by TCP itself. */
const keepAliveMs = 15_000;

/**
 * What the consul package sends its requests through, in the place of `node:http`: it adds what the package's client lacks. That one keeps
 * all of an answer, however long; never settles when the connection breaks in the middle of an answer; and has one time limit for
 * connecting and for waiting, which a blocking query needs to be told apart.
 */
export class ConsulTransport {
  readonly #options: ConsulTransportOptions;
  #agent: HttpAgent;

  constructor(options: ConsulTransportOptions, tls: ConsulTlsFiles) {
    this.#options = options;
    this.#agent = this.#createAgent(tls);
  }

  /** New connections use these files; those that are open finish what they carry. */
  replaceTls(tls: ConsulTlsFiles): void {
    const former = this.#agent;
    this.#agent = this.#createAgent(tls);
    for (const sockets of Object.values(former.freeSockets)) for (const socket of sockets ?? []) socket.destroy();
  }

  /** Ends all connections. */
  close(): void {
    this.#agent.destroy();
  }

  readonly request = (options: RequestOptions): ClientRequest => {
    const send = this.#options.secure ? httpsRequest : httpRequest;
    const request = send({ ...options, agent: this.#agent });
    this.#limitConnecting(request);
    request.on('response', (response: IncomingMessage) => this.#limitAnswer(request, response));
    return request;
  };

  #createAgent(tls: ConsulTlsFiles): HttpAgent {
    const { secure, serverName } = this.#options;
    const options = { keepAlive: true, keepAliveMsecs: keepAliveMs, scheduling: 'lifo' as const };
    if (!secure) return new HttpAgent(options);
    return new HttpsAgent({ ...options, ...tls, ...(serverName === undefined ? {} : { servername: serverName }) });
  }

  #limitConnecting(request: ClientRequest): void {
    const { clock, connectTimeoutMs, secure } = this.#options;
    request.on('socket', (socket) => {
      if (!socket.connecting) return;
      socket.setKeepAlive(true, keepAliveMs);
      const timer = clock.setTimer(() => {
        fail(request, new ConsulError('timeout', `no connection within ${connectTimeoutMs} ms`));
      }, connectTimeoutMs);
      const event = secure ? 'secureConnect' : 'connect';
      // The socket lives on, and would keep this request and its answer.
      const decided = () => {
        timer.cancel();
        socket.off(event, decided);
        socket.off('close', decided);
      };
      socket.once(event, decided);
      socket.once('close', decided);
    });
  }

  #limitAnswer(request: ClientRequest, response: IncomingMessage): void {
    const { answerLimitBytes } = this.#options;
    // Broken off in the middle.
    response.on('error', (error) => request.emit('error', error));
    let bytes = 0;
    const tooLarge = (): void => fail(request, new ConsulError('too_large', `the answer is larger than ${answerLimitBytes} bytes`));
    if (Number(response.headers['content-length'] ?? 0) > answerLimitBytes) {
      tooLarge();
      return;
    }
    response.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > answerLimitBytes) tooLarge();
    });
  }
}

/** The package settles a request by the first error that it hears of. */
const fail = (request: ClientRequest, error: ConsulError): void => {
  (request as EventEmitter).emit('error', error);
  request.destroy();
};
