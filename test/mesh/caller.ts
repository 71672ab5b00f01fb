import http2 from 'node:http2';
import type net from 'node:net';
import type { TestContext } from 'node:test';
import type { SecureContextOptions } from 'node:tls';
import { decodeGrpcMessage } from '../../src/grpc/index.ts';
import { atEnd } from './at-end.ts';
import { message } from './upstream.ts';

/** How a call ended, as a client on the wire sees it. */
export interface Answer {
  readonly http: number;
  /** `grpc-status`; -1 where there was none. */
  readonly status: number;
  readonly message: string;
  /** `x-outrider-reason`. */
  readonly reason: string | undefined;
  /** The status came in one block with the headers. */
  readonly trailersOnly: boolean;
  readonly headers: http2.IncomingHttpHeaders;
  readonly trailers: http2.IncomingHttpHeaders;
  readonly body: Buffer;
  /** Code of the RST_STREAM that ended it, 0 where there was none, or NO_ERROR. */
  readonly resetCode: number;
}

export interface CallOptions {
  readonly path?: string;
  readonly authority?: string;
  readonly method?: string;
  /** Further request headers; `undefined` removes one of ours. */
  readonly headers?: Readonly<Record<string, string | readonly string[] | undefined>>;
  /** What is sent at once; a gRPC message unless it is `bytes`. */
  readonly body?: string | Uint8Array;
  readonly bytes?: Uint8Array;
  /** Leave the request open. */
  readonly open?: boolean;
  /** Do not read the answer until told to. */
  readonly paused?: boolean;
}

/** One call under way. */
export class WireCall {
  readonly stream: http2.ClientHttp2Stream;
  /** Response headers, as soon as they are there. */
  readonly headers: Promise<http2.IncomingHttpHeaders>;
  readonly answer: Promise<Answer>;
  receivedBytes = 0;
  #settled = false;

  constructor(stream: http2.ClientHttp2Stream, paused: boolean) {
    this.stream = stream;
    const headers = Promise.withResolvers<http2.IncomingHttpHeaders>();
    const answer = Promise.withResolvers<Answer>();
    this.headers = headers.promise;
    this.answer = answer.promise;
    let responseHeaders: http2.IncomingHttpHeaders = {};
    let trailers: http2.IncomingHttpHeaders = {};
    let trailersOnly = false;
    const chunks: Buffer[] = [];
    stream.on('response', (received, flags) => {
      responseHeaders = received;
      trailersOnly = (flags & 1) === 1;
      headers.resolve(received);
    });
    stream.on('trailers', (received) => {
      trailers = received;
    });
    stream.on('error', () => {});
    stream.on('close', () => {
      this.#settled = true;
      const said = responseHeaders['grpc-status'] === undefined ? trailers : responseHeaders;
      answer.resolve({
        http: Number(responseHeaders[':status'] ?? 0),
        status: said['grpc-status'] === undefined ? -1 : Number(said['grpc-status']),
        message: decodeGrpcMessage(String(said['grpc-message'] ?? '')),
        reason: said['x-outrider-reason'] as string | undefined,
        trailersOnly,
        headers: responseHeaders,
        trailers,
        body: Buffer.concat(chunks),
        resetCode: stream.rstCode ?? 0,
      });
    });
    if (!paused) this.read(chunks);
    this.#chunks = chunks;
  }

  readonly #chunks: Buffer[];

  /** Starts reading where it was paused. */
  read(chunks: Buffer[] = this.#chunks): void {
    this.stream.on('data', (chunk: Buffer) => {
      this.receivedBytes += chunk.length;
      chunks.push(chunk);
    });
  }

  get settled(): boolean {
    return this.#settled;
  }

  write(contents: string | Uint8Array): void {
    this.stream.write(message(contents));
  }

  end(): void {
    this.stream.end();
  }

  cancel(): void {
    this.stream.close(http2.constants.NGHTTP2_CANCEL);
  }
}

/** A client of `node:http2` on one connection, which ends with the test. */
export class Caller {
  readonly session: http2.ClientHttp2Session;
  readonly goAways: { readonly code: number; readonly lastStreamId: number; readonly debug: string }[] = [];
  readonly closed: Promise<void>;
  /** Calls begun. */
  calls = 0;

  constructor(t: TestContext, port: number, tls?: SecureContextOptions & { readonly servername: string }, settings?: http2.Settings) {
    const extra = settings === undefined ? {} : { settings };
    this.session =
      tls === undefined
        ? http2.connect(`http://127.0.0.1:${port}`, extra)
        : http2.connect(`https://127.0.0.1:${port}`, { ...tls, ...extra, rejectUnauthorized: false });
    this.session.on('error', () => {});
    this.session.on('goaway', (code, lastStreamId, data) => this.goAways.push({ code, lastStreamId, debug: data?.toString() ?? '' }));
    this.closed = new Promise((resolve) => this.session.once('close', () => resolve()));
    atEnd(t, async () => {
      this.session.destroy();
      await this.closed;
    });
  }

  get socket(): net.Socket | undefined {
    return this.session.socket;
  }

  start(options: CallOptions = {}): WireCall {
    this.calls++;
    const { path = '/acme.Echo/Call', authority = 'echo', method = 'POST', headers = {}, body = 'ping', bytes, open = false } = options;
    const sent: http2.OutgoingHttpHeaders = {
      ':method': method,
      ':path': path,
      ':authority': authority,
      te: 'trailers',
      'content-type': 'application/grpc',
    };
    for (const [name, value] of Object.entries(headers)) {
      if (value === undefined) delete sent[name];
      else sent[name] = typeof value === 'string' ? value : [...value];
    }
    const stream = this.session.request(sent, { endStream: false });
    const call = new WireCall(stream, options.paused ?? false);
    const first = bytes ?? message(body);
    if (open) {
      if (options.body !== undefined || bytes !== undefined) stream.write(first);
    } else stream.end(first);
    return call;
  }

  /** One call from its beginning to its end. */
  call(options: CallOptions = {}): Promise<Answer> {
    return this.start(options).answer;
  }
}
