import http2 from 'node:http2';
import type { AddressInfo } from 'node:net';

const message = Buffer.from([0, 0, 0, 0, 0]);

/** A gRPC service in plain text that answers with an empty message, on every address of the machine's loopback, and notes when it was called. */
export class EchoService implements AsyncDisposable {
  calls = 0;
  lastCallMs = 0;
  readonly #times: number[] = [];
  readonly #server: http2.Http2Server;

  private constructor(server: http2.Http2Server) {
    this.#server = server;
    server.on('stream', (stream: http2.ServerHttp2Stream) => {
      this.calls++;
      this.lastCallMs = performance.now();
      this.#times.push(this.lastCallMs);
      stream.on('error', () => {});
      stream.resume();
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
      stream.end(message);
    });
  }

  static async start(): Promise<EchoService> {
    const server = http2.createServer();
    server.on('session', (session) => session.on('error', () => {}));
    await new Promise<void>((resolve) => void server.listen(0, '0.0.0.0', resolve));
    return new EchoService(server);
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** When the first call after so many came. */
  firstAfter(calls: number): number {
    return this.#times[calls] ?? Number.NaN;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
  }
}

/** Calls a sidecar's outbound listener 200 times a second. */
export class OneByOne implements AsyncDisposable {
  calls = 0;
  failed = 0;
  readonly #session: http2.ClientHttp2Session;
  readonly #timer: NodeJS.Timeout;

  constructor(port: number) {
    this.#session = http2.connect(`http://127.0.0.1:${port}`);
    this.#session.on('error', () => {});
    this.#timer = setInterval(() => this.#call(), 5);
  }

  #call(): void {
    const stream = this.#session.request({
      ':method': 'POST',
      ':path': '/acme.Echo/Call',
      ':authority': 'learner-svc',
      te: 'trailers',
      'content-type': 'application/grpc',
    });
    let status = '';
    const note = (headers: http2.IncomingHttpHeaders): void => {
      status = String(headers['grpc-status'] ?? status);
    };
    stream.on('response', note);
    stream.on('trailers', note);
    stream.on('error', () => {});
    stream.on('close', () => {
      this.calls++;
      if (status !== '0') this.failed++;
    });
    stream.resume();
    stream.end(message);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    this.#session.destroy();
  }
}
