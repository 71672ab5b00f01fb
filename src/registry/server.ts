import { once } from 'node:events';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { AdminProblem, closeServer, RequestGuard } from '../admin/index.ts';
import { type Clock, ConfigurationError, LimitedLog, type Logger, suggest } from '../core/index.ts';
import { longestDefinitionBytes, longestValueBytes } from './limits.ts';
import type { RegistryParts } from './path.ts';
import { findPath, registryPaths } from './paths.ts';
import { problemReply, RegistryProblem, type RegistryReply } from './reply.ts';

// As for the admin API: an import of node:http evaluates all that it exports.
const { createServer } = process.getBuiltinModule('node:http');

export interface RegistryServerOptions {
  readonly host: string;
  /** 0: the system chooses. */
  readonly port: number;
  /** Names which it may be asked under, beside the loopback's and the address that it was reached at. */
  readonly allowedHosts: readonly string[];
  readonly connectionsAtMost: number;
  readonly clock: Clock;
  readonly log: Logger;
}

const receiveWithinMs = 10_000;
/** Between two requests; the clients of Consul keep their connections for longer than browsers do. */
const keepAliveMs = 65_000;

/** Consul's HTTP API as far as a registry has it, over HTTP/1.1. */
export class RegistryServer {
  readonly #parts: RegistryParts;
  readonly #options: RegistryServerOptions;
  readonly #guard: RequestGuard;
  readonly #server: Server;

  constructor(parts: RegistryParts, options: RegistryServerOptions) {
    this.#parts = parts;
    this.#options = options;
    this.#guard = new RequestGuard(options.allowedHosts, { port: 'this registry', setting: 'the names of --allow-host' });
    const limits = { headersTimeout: receiveWithinMs, requestTimeout: receiveWithinMs, connectionsCheckingInterval: receiveWithinMs / 2 };
    this.#server = createServer({ ...limits, keepAliveTimeout: keepAliveMs, requireHostHeader: false }, this.#onRequest);
    this.#server.maxConnections = options.connectionsAtMost;
  }

  /** Resolves with what is really bound. Rejects with a `ConfigurationError` where the address cannot be had. */
  async start(): Promise<{ readonly host: string; readonly port: number }> {
    const { host, port, log, clock } = this.#options;
    this.#server.listen({ host, port });
    try {
      await once(this.#server, 'listening');
    } catch (error) {
      throw new ConfigurationError(`${host}:${port} cannot be listened on: ${error instanceof Error ? error.message : String(error)}`, {
        remedy: 'end the program that has it, or write another address: --listen 127.0.0.1:8501',
        cause: error,
      });
    }
    const limited = new LimitedLog(log, clock);
    this.#server.on('error', (error) => limited.warning('registry listener failed', () => ({ error: error.message })));
    this.#server.on('drop', () => limited.warning('connection refused', () => ({ limit: this.#options.connectionsAtMost })));
    const bound = this.#server.address() as AddressInfo;
    return { host: bound.address, port: bound.port };
  }

  /** Stops listening; answers under way get a second. Idempotent. */
  close(): Promise<void> {
    return closeServer(this.#server, this.#options.clock);
  }

  readonly #onRequest = (request: IncomingMessage, response: ServerResponse): void => void this.#serve(request, response);

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    let reply: RegistryReply;
    try {
      reply = await this.#answer(request, gone.signal);
    } catch (error) {
      reply = problemReply(this.#problemOf(request, error));
    }
    this.#send(request, response, reply);
  }

  #problemOf({ url }: IncomingMessage, error: unknown): RegistryProblem {
    if (error instanceof RegistryProblem) return error;
    if (error instanceof AdminProblem) return new RegistryProblem(error.status, error.message);
    const why = error instanceof Error ? error.message : String(error);
    this.#options.log.error('registry request failed', { url, error: why });
    return new RegistryProblem(500, `this is a fault of Outrider: ${why}`);
  }

  async #answer(request: IncomingMessage, gone: AbortSignal): Promise<RegistryReply> {
    this.#guard.checkHost(request);
    const { method = '', url = '' } = request;
    if (method !== 'GET') this.#guard.checkSameSite(request);
    const queryAt = url.indexOf('?');
    const path = queryAt < 0 ? url : url.slice(0, queryAt);
    const found = findPath(path);
    if (found === undefined) throw noSuchPath(path);
    const { entry, rest } = found;
    const allow = `OPTIONS,${entry.methods.join(',')}`;
    if (method === 'OPTIONS') return { status: 200, contentType: 'text/plain; charset=utf-8', body: '', headers: { Allow: allow } };
    if (!entry.methods.includes(method)) throw new RegistryProblem(405, `method ${method} not allowed`, { Allow: allow });
    const query = new URLSearchParams(queryAt < 0 ? '' : url.slice(queryAt + 1));
    refuseEnterprise(query);
    const body = await readBody(request, path.startsWith('/v1/kv/') ? longestValueBytes : longestDefinitionBytes);
    return entry.answer(this.#parts, { method, rest: decoded(rest), query, body, gone });
  }

  #send(request: IncomingMessage, response: ServerResponse, { status, contentType, body, headers }: RegistryReply): void {
    if (response.destroyed) return;
    request.resume();
    const bytes = typeof body === 'string' ? Buffer.from(body) : body;
    response.writeHead(status, {
      ...(contentType === undefined ? {} : { 'Content-Type': contentType }),
      'Content-Length': bytes.length,
      'X-Content-Type-Options': 'nosniff',
      // A body that was not read to its end must not be taken for the next request; nor may a connection outlive the server.
      ...(request.complete && this.#server.listening ? {} : { Connection: 'close' }),
      ...headers,
    });
    response.end(bytes);
  }
}

const decoded = (text: string): string => {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new RegistryProblem(400, `${text} is not percent-encoded correctly`);
  }
};

/** Consul's words for what only its paid edition has; its default names mean what they mean there: nothing. */
const refuseEnterprise = (query: URLSearchParams): void => {
  for (const [name, what] of [
    ['ns', 'Namespaces are a Consul Enterprise feature'],
    ['partition', 'Partitions are a Consul Enterprise feature'],
  ] as const) {
    if (![null, '', 'default'].includes(query.get(name))) throw new RegistryProblem(400, `Invalid query parameter: "${name}" - ${what}`);
  }
};

const noSuchPath = (path: string): RegistryProblem => {
  const likely = suggest(
    path,
    registryPaths.map((entry) => entry.path),
  );
  const hint = likely === undefined ? 'it has what sidecars use of Consul, "outrider registry --help" lists it' : `did you mean ${likely}?`;
  return new RegistryProblem(404, `Invalid URL path: not a recognized HTTP API endpoint (this is "outrider registry": ${hint})`);
};

const readBody = async (request: IncomingMessage, longestBytes: number): Promise<Buffer> => {
  const tooLong = (): RegistryProblem => new RegistryProblem(413, `Request body too large, max size: ${longestBytes} bytes.`);
  if (Number(request.headers['content-length'] ?? 0) > longestBytes) throw tooLong();
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > longestBytes) throw tooLong();
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
};
