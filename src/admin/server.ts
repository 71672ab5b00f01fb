import { once } from 'node:events';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { type Clock, ConfigurationError, LimitedLog, suggest } from '../core/index.ts';
import type { AdminPath } from './admin-path.ts';
import { closeServer } from './close-server.ts';
import { Dashboard } from './dashboard/dashboard.ts';
import { adminPaths } from './paths.ts';
import { Query } from './query.ts';
import { AdminProblem, type AdminReply, problemReply } from './reply.ts';
import { RequestGuard } from './request-guard.ts';
import type { AdminViews } from './views.ts';

// An import of node:http evaluates all it exports, its WebSocket and fetch among them: 4 MB and 20 ms that nobody uses here.
const { createServer } = process.getBuiltinModule('node:http');

export interface AdminServerOptions {
  /** `ADMIN_ADDRESS`. */
  readonly address: string;
  /** `ADMIN_PORT`; 0: the system chooses. */
  readonly port: number;
  /** Names which the port may be asked under beside the loopback's: the own host name, `SERVICE_NAME`, `ADMIN_ALLOWED_HOSTS`. */
  readonly allowedHosts: readonly string[];
  /** Above it whoever has waited longest without a request under way makes room. */
  readonly connectionsAtMost?: number;
  readonly clock: Clock;
}

/** No path needs a body; one of this size is read and dropped, a bigger one ends the connection. */
const longestBodyBytes = 64 * 1_024;
const usualConnections = 256;
const receiveWithinMs = 10_000;
const idleSocketMs = 30_000;

/** The admin API over HTTP/1.1. What it shows comes from `AdminViews`, what it can be asked from `adminPaths`. */
export class AdminServer {
  readonly #views: AdminViews;
  readonly #options: AdminServerOptions;
  readonly #guard: RequestGuard;
  readonly #server: Server;
  readonly #connectionsAtMost: number;
  readonly #dashboard: Dashboard;
  /** Connections without a request under way, those that have waited longest first: idle ones, and those who send theirs slowly. */
  readonly #waiting = new Set<Socket>();
  #connections = 0;

  constructor(views: AdminViews, options: AdminServerOptions) {
    this.#views = views;
    this.#options = options;
    this.#guard = new RequestGuard(options.allowedHosts);
    const limits = { headersTimeout: receiveWithinMs, requestTimeout: receiveWithinMs, connectionsCheckingInterval: receiveWithinMs / 2 };
    // A missing Host is the guard's to judge: health checkers of old speak HTTP/1.0.
    this.#server = createServer({ ...limits, requireHostHeader: false }, this.#onRequest);
    this.#connectionsAtMost = options.connectionsAtMost ?? usualConnections;
    this.#dashboard = new Dashboard(views, options.clock, this.#connectionsAtMost);
    this.#server.on('connection', this.#onConnection);
    this.#server.timeout = idleSocketMs;
  }

  /** Resolves with what is really bound. Rejects with a `ConfigurationError` where the port cannot be had. */
  async start(): Promise<{ readonly address: string; readonly port: number }> {
    const { address, port } = this.#options;
    this.#server.listen({ host: address, port });
    try {
      await once(this.#server, 'listening');
    } catch (error) {
      throw cannotListen(address, port, error);
    }
    // After `listening` an error is one of accepting (no file descriptors left): the next connection tries again.
    const log = new LimitedLog(this.#views.log, this.#options.clock);
    this.#server.on('error', (error) => log.warning('admin listener failed', () => ({ error: error.message })));
    const bound = this.#server.address() as AddressInfo;
    return { address: bound.address, port: bound.port };
  }

  /** To be called now and then, so that the dashboard has something to begin with. */
  keepHistory(): void {
    this.#dashboard.keep();
  }

  /** Stops listening; answers under way get a second. Idempotent. */
  close(): Promise<void> {
    this.#dashboard.close();
    return closeServer(this.#server, this.#options.clock);
  }

  /** Slow strangers must not lock out the operator: one connection too many costs the place of the one that has waited longest. */
  readonly #onConnection = (socket: Socket): void => {
    this.#connections++;
    this.#waiting.add(socket);
    socket.once('close', () => {
      this.#connections--;
      this.#waiting.delete(socket);
    });
    if (this.#connections <= this.#connectionsAtMost) return;
    const [longest] = this.#waiting;
    longest?.destroy();
  };

  readonly #onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    const { socket } = request;
    this.#waiting.delete(socket);
    response.once('close', () => {
      if (!socket.destroyed) this.#waiting.add(socket);
    });
    void this.#serve(request, response);
  };

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let reply: AdminReply;
    try {
      reply = await this.#answer(request);
    } catch (error) {
      reply = problemReply(error instanceof AdminProblem ? error : this.#internal(request, error));
    }
    send(request, response, reply, this.#server.listening);
  }

  #internal({ url }: IncomingMessage, error: unknown): AdminProblem {
    const why = error instanceof Error ? error.message : String(error);
    this.#views.log.error('admin request failed', { url, error: why });
    return new AdminProblem(500, `this is a fault of Outrider: ${why}`);
  }

  #answer(request: IncomingMessage): AdminReply | Promise<AdminReply> {
    const [path = '', query = ''] = splitOnce(request.url ?? '', '?');
    const method = request.method === 'HEAD' ? 'GET' : (request.method ?? '');
    const here = adminPaths.flatMap((entry) => matchPath(entry, path) ?? []);
    const found = here.find(({ entry }) => entry.method === method);
    if (found?.entry.anyHost !== true) this.#guard.checkHost(request);
    if (here.length === 0) throw noSuchPath(path);
    if (found === undefined)
      throw wrongMethod(
        method,
        path,
        here.map(({ entry }) => entry.method),
      );
    if (found.entry.method === 'POST') this.#guard.checkSameSite(request);
    if (found.entry.sameSite === true) this.#guard.checkSameSite(request, 'is not answered here');
    if (bodyBytes(request) > longestBodyBytes) {
      throw new AdminProblem(413, 'no path of the admin API takes a body', { headers: { connection: 'close' } });
    }
    const parameters = new Query(query, found.entry.parameters ?? []);
    return found.entry.answer(this.#views, {
      query: parameters,
      named: found.named,
      second: found.second,
      nowMs: this.#options.clock.wallNow(),
      headers: request.headers,
      dashboard: this.#dashboard,
      wantsPage: /\btext\/html\b/.test(request.headers.accept ?? ''),
    });
  }
}

const splitOnce = (text: string, separator: string): readonly string[] => {
  const at = text.indexOf(separator);
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)];
};

interface MatchedPath {
  readonly entry: AdminPath;
  readonly named: string;
  readonly second: string;
}

/** The entry, with what stands at its `{...}`, where `path` is one of its. */
const matchPath = (entry: AdminPath, path: string): MatchedPath | undefined => {
  const wanted = entry.path.split('/');
  const given = path.split('/');
  if (wanted.length !== given.length) return undefined;
  const names: string[] = [];
  for (const [i, segment] of wanted.entries()) {
    const here = given[i] ?? '';
    if (segment.startsWith('{') && here !== '') names.push(here);
    else if (segment !== here) return undefined;
  }
  const [named = '', second = ''] = names.map(decoded);
  return { entry, named, second };
};

const decoded = (text: string): string => {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new AdminProblem(400, `${text} is not percent-encoded correctly`);
  }
};

/** Bytes of the body as announced; infinite where nobody knows. */
const bodyBytes = ({ headers }: IncomingMessage): number =>
  headers['transfer-encoding'] !== undefined ? Number.POSITIVE_INFINITY : Number(headers['content-length'] ?? 0);

const noSuchPath = (path: string): AdminProblem => {
  const known = [...new Set(adminPaths.map((entry) => entry.path))];
  const likely = suggest(path, known);
  return new AdminProblem(404, `no such path${likely === undefined ? '' : `, did you mean ${likely}`}`, {
    details: { paths: adminPaths.map((entry) => `${entry.method} ${entry.path}`) },
  });
};

const wrongMethod = (method: string, path: string, methods: readonly string[]): AdminProblem => {
  const allow = methods.flatMap((each) => (each === 'GET' ? ['GET', 'HEAD'] : [each])).join(', ');
  return new AdminProblem(405, `${method} is not for ${path}; use ${allow}`, { headers: { allow } });
};

const cannotListen = (address: string, port: number, error: unknown): ConfigurationError => {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  const place = `the admin address ${address}:${port}`;
  if (code === 'EADDRINUSE') {
    return new ConfigurationError(`${place} is in use`, {
      remedy: 'end the program that has it, or set ADMIN_PORT to a free port (0: the system chooses)',
      cause: error,
    });
  }
  if (code === 'EACCES') {
    return new ConfigurationError(`${place} may not be used by this user`, { remedy: 'set ADMIN_PORT to 1024 or above', cause: error });
  }
  return new ConfigurationError(`${place} cannot be listened on: ${error instanceof Error ? error.message : String(error)}`, {
    remedy: 'set ADMIN_ADDRESS to an address of this machine, such as 127.0.0.1',
    cause: error,
  });
};

const send = (request: IncomingMessage, response: ServerResponse, reply: AdminReply, keepAlive: boolean): void => {
  if (response.destroyed) return;
  request.resume();
  const body = typeof reply.body === 'string' ? Buffer.from(reply.body) : reply.body;
  const follows = reply.follow !== undefined && request.method !== 'HEAD';
  response.writeHead(reply.status, {
    'content-type': reply.contentType,
    ...(!follows && { 'content-length': body.length }),
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    // A connection kept alive would hold up the end of a server that is closing.
    ...(!keepAlive && { connection: 'close' }),
    ...reply.headers,
  });
  if (follows) {
    response.write(body);
    reply.follow?.(response);
  } else response.end(body);
};
