import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer, type ServerOptions } from 'node:https';
import type { AddressInfo } from 'node:net';

export interface StandInInstance {
  readonly instance_id: string;
  readonly ipv4: string;
  readonly port: number;
}

/** Stands in for an HTTP discoverer: lists instances over loopback, and forgets those that are unregistered. */
export class StandInDiscoverer implements AsyncDisposable {
  instances: readonly StandInInstance[] = [];
  /** Answers everything in place of the list. */
  instead: ((request: IncomingMessage, response: ServerResponse) => void) | undefined;
  readonly requests: { readonly method: string; readonly path: string; readonly authorization: string | undefined }[] = [];
  readonly unregistered: string[] = [];
  readonly #server: Server;
  readonly #scheme: string;

  constructor(tls?: ServerOptions) {
    const listener: RequestListener = (request, response) => this.#answer(request, response);
    this.#server = tls === undefined ? createServer(listener) : createTlsServer(tls, listener);
    this.#scheme = tls === undefined ? 'http' : 'https';
  }

  /** @returns its base URL. */
  async start(): Promise<string> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    return `${this.#scheme}://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const path = request.url ?? '';
    this.requests.push({ method: request.method ?? '', path, authorization: request.headers.authorization });
    if (this.instead !== undefined) {
      this.instead(request, response);
      return;
    }
    const [, id] = /^\/v1\/unregister\/(.+)$/.exec(path) ?? [];
    if (request.method === 'POST' && id !== undefined) {
      const decoded = decodeURIComponent(id);
      this.unregistered.push(decoded);
      this.instances = this.instances.filter((instance) => instance.instance_id !== decoded);
      response.end('{}');
    } else if (request.method === 'GET' && path === '/v1/instances') {
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify({ instances: this.instances }));
    } else response.writeHead(404).end();
  }
}
