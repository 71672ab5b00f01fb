import { EventEmitter } from 'node:events';
import type { IncomingHttpHeaders } from 'node:http';
import type Consul from 'consul';
import { type Clock, formatHostPort, type Logger } from '../../core/index.ts';
import { type ConsulAddress, formatConsulAddress } from './consul-address.ts';
import { type ConsulCredentialPaths, ConsulCredentials } from './consul-credentials.ts';
import { ConsulError } from './consul-error.ts';
import { ConsulTransport } from './consul-transport.ts';

// Every method of the package takes it, and none of its types says so.
declare module 'consul/lib/consul.js' {
  interface CommonOptions {
    ctx?: ConsulCallContext;
  }
}

/** How to reach the agent; everything but the address may be left out. */
export interface ConsulConnection extends ConsulCredentialPaths {
  readonly address: ConsulAddress;
  /** Name in the agent's certificate, where it is not the host of the address. */
  readonly tlsServerName?: string;
}

export interface ConsulClientOptions extends ConsulConnection {
  readonly clock: Clock;
  readonly log: Logger;
  /** How long an answer may take unless the call says otherwise; 10 s where left out. */
  readonly timeoutMs?: number;
  /** How long a connection may take; 5 s where left out. */
  readonly connectTimeoutMs?: number;
  /** Larger answers are refused while they arrive; 32 MiB where left out. */
  readonly answerLimitBytes?: number;
}

export interface ConsulCallOptions {
  /** How long until there has to be an answer. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  /** Goes into the query beside what the package puts there: `ns`, `cached` and others that it does not know. */
  readonly query?: Readonly<Record<string, string | readonly string[]>>;
  /** Sent as JSON in the place of what the package makes, which drops the fields that it does not know, such as weights. */
  readonly body?: object;
}

export interface ConsulAnswer<T> {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: T;
}

/** What the package hands on to its HTTP client as `ctx`: emits `cancel` to give up, and takes along what the package has no option for. */
export class ConsulCallContext extends EventEmitter {
  readonly includeResponse = true;
  readonly raw: boolean;
  readonly query: Readonly<Record<string, string | readonly string[]>>;
  readonly body: object | undefined;

  constructor(raw: boolean, { query = {}, body }: Pick<ConsulCallOptions, 'query' | 'body'>) {
    super();
    this.raw = raw;
    this.query = query;
    this.body = body;
  }
}

/** The parts of a request that our extension of the package's client touches. */
interface PackageRequest {
  readonly ctx?: ConsulCallContext;
  readonly opts: { buffer?: boolean; body?: object; readonly query: Record<string, unknown>; readonly headers: Record<string, string> };
  transport: { readonly request: ConsulTransport['request'] };
}

/** The extension points of the package's HTTP client (papi), which its types leave out. */
interface Extensible {
  _ext(event: 'onCreate' | 'onRequest', extension: (request: PackageRequest, next: () => void) => void): void;
}

interface PackageResponse {
  readonly statusCode: number;
  readonly headers: IncomingHttpHeaders;
}

const defaultTimeoutMs = 10_000;
const defaultConnectTimeoutMs = 5_000;
/** Ten thousand instances, written at length, are half of it. */
const defaultAnswerLimitBytes = 32 * 2 ** 20;
const longestReason = 200;

/**
 * The consul package, with what a mesh needs beside it: the token from a file, TLS with files that rotate, limits of time and of size, and
 * errors that say what was wrong with whom. One for a process.
 *
 *     const { body } = await client.call((api, ctx) => api.agent.service.register({ name: 'auth-svc', ctx }));
 *
 * The package is loaded by `prepare` or by the first call: a sidecar without Consul does not pay for it.
 */
export class ConsulClient {
  /** As people write it. */
  readonly address: string;
  readonly credentials: ConsulCredentials;
  readonly clock: Clock;
  readonly log: Logger;
  readonly #options: ConsulClientOptions;
  readonly #transport: ConsulTransport;
  #api: Promise<Consul> | undefined;
  readonly #underWay = new Set<ConsulCallContext>();
  #closed = false;

  constructor(options: ConsulClientOptions) {
    const { clock, log, address } = options;
    this.#options = options;
    this.clock = clock;
    this.log = log;
    this.address = formatConsulAddress(address);
    this.credentials = new ConsulCredentials(options, { clock, log });
    this.#transport = new ConsulTransport(
      {
        clock,
        secure: address.secure,
        answerLimitBytes: options.answerLimitBytes ?? defaultAnswerLimitBytes,
        connectTimeoutMs: options.connectTimeoutMs ?? defaultConnectTimeoutMs,
        serverName: options.tlsServerName,
      },
      this.credentials.tls,
    );
    let { tls } = this.credentials;
    this.credentials.onChange(() => {
      if (this.credentials.tls === tls) return;
      tls = this.credentials.tls;
      this.#transport.replaceTls(tls);
    });
  }

  /** Loads the package, which takes longer than a call may be held up by: for the time before there are calls. */
  prepare(): void {
    // Whoever calls hears of it.
    this.#load().catch(() => {});
  }

  /** Runs one method of the package, which has to be given `ctx`. Rejects with a `ConsulError`; what the body is depends on the method. */
  call<T>(method: (api: Consul, ctx: ConsulCallContext) => Promise<T>, options: ConsulCallOptions = {}): Promise<ConsulAnswer<Awaited<T>>> {
    return this.#run<Awaited<T>>(method, new ConsulCallContext(false, options), options);
  }

  /** The same, with the bytes of the body as they came. */
  callRaw(
    method: (api: Consul, ctx: ConsulCallContext) => Promise<unknown>,
    options: ConsulCallOptions = {},
  ): Promise<ConsulAnswer<Buffer>> {
    return this.#run<Buffer>(method, new ConsulCallContext(true, options), options);
  }

  /** Gives up what is under way, and ends connections and watches of files. Idempotent. */
  close(): void {
    this.#closed = true;
    for (const context of [...this.#underWay]) context.emit('cancel');
    this.credentials.close();
    this.#transport.close();
  }

  async #run<T>(
    method: (api: Consul, ctx: ConsulCallContext) => Promise<unknown>,
    context: ConsulCallContext,
    { timeoutMs = this.#options.timeoutMs ?? defaultTimeoutMs, signal }: ConsulCallOptions,
  ): Promise<ConsulAnswer<T>> {
    const api = await this.#load();
    if (this.#closed || signal?.aborted === true) throw this.#aborted();
    let timedOut = false;
    const timer = this.clock.setTimer(() => {
      timedOut = true;
      context.emit('cancel');
    }, timeoutMs);
    const cancel = (): void => {
      timer.cancel();
      context.emit('cancel');
    };
    signal?.addEventListener('abort', cancel);
    this.#underWay.add(context);
    try {
      // With `includeResponse` the package answers with a pair, which its types do not know.
      const [response, body] = (await method(api, context)) as readonly [PackageResponse, T];
      return { status: response.statusCode, headers: response.headers, body };
    } catch (error) {
      if (timedOut) throw new ConsulError('timeout', `Consul at ${this.address} did not answer within ${timeoutMs} ms`);
      throw this.#explain(error);
    } finally {
      timer.cancel();
      signal?.removeEventListener('abort', cancel);
      this.#underWay.delete(context);
    }
  }

  #load(): Promise<Consul> {
    this.#api ??= import('consul').then(({ default: Package }) => {
      const { host, port, socketPath, pathPrefix, secure } = this.#options.address;
      const options = {
        baseUrl: `${secure ? 'https' : 'http'}://${formatHostPort({ host, port })}${pathPrefix}/v1`,
        ...(socketPath === undefined ? {} : { socketPath }),
      };
      const api = new Package(options as ConstructorParameters<typeof Package>[0]);
      // Ours carries the connections.
      api.destroy();
      const extensible = api as unknown as Extensible;
      extensible._ext('onCreate', (request, next) => {
        const { opts, ctx } = request;
        Object.assign(opts.query, ctx?.query);
        if (ctx?.raw === true) opts.buffer = true;
        if (ctx?.body !== undefined) opts.body = ctx.body;
        if (this.credentials.token !== undefined) opts.headers['x-consul-token'] = this.credentials.token;
        next();
      });
      extensible._ext('onRequest', (request, next) => {
        request.transport = this.#transport;
        next();
      });
      return api;
    });
    return this.#api;
  }

  #explain(error: unknown): ConsulError {
    if (error instanceof ConsulError) return new ConsulError(error.kind, `Consul at ${this.address}: ${error.message}`);
    const { response, isResponse, isAbort, isCodec, message } = error as {
      readonly response?: PackageResponse & { readonly body?: unknown };
      readonly isResponse?: boolean;
      readonly isAbort?: boolean;
      readonly isCodec?: boolean;
      readonly message: string;
    };
    if (isAbort === true) return this.#aborted();
    if (isCodec === true) return new ConsulError('malformed', `Consul at ${this.address} answered what is no JSON`, { cause: error });
    if (response === undefined || isResponse !== true) {
      return new ConsulError(
        'unreachable',
        `Consul at ${this.address} cannot be reached: ${message.replace(/^(consul: )?([a-zA-Z.]+: )?/, '')}`,
        {
          cause: error,
        },
      );
    }
    const said = reasonOf(response.body);
    return new ConsulError('status', `Consul at ${this.address} answered ${response.statusCode}${said === '' ? '' : ` (${said})`}`, {
      status: response.statusCode,
    });
  }

  #aborted(): ConsulError {
    return new ConsulError('aborted', `the question to Consul at ${this.address} was given up`);
  }
}

/** The first line of what an agent says about an error: printable, and not too long for a log. */
const reasonOf = (body: unknown): string => {
  const text = Buffer.isBuffer(body) ? body.toString('utf8', 0, 2 * longestReason) : typeof body === 'string' ? body : '';
  return (text.split('\n')[0] ?? '')
    .replace(/[^\x20-\x7e]/g, '')
    .trim()
    .slice(0, longestReason);
};
