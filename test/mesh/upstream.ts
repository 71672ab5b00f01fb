import http2 from 'node:http2';
import net from 'node:net';
import type { TestContext } from 'node:test';
import { atEnd } from './at-end.ts';

/** A service of `node:http2`, which nobody here wrote: it answers as the test says, right or odd. */
export interface Upstream {
  readonly port: number;
  /** Where it is, as a policy writes it. */
  readonly address: string;
  readonly received: readonly ReceivedCall[];
  readonly sessions: readonly http2.ServerHttp2Session[];
  /** Connections accepted so far. */
  readonly accepted: number;
  /** The call number `index` (from 0), as soon as it is there. */
  call(index: number): Promise<ReceivedCall>;
  /** Nobody is connected any more, and nobody can connect. */
  stop(): Promise<void>;
  /** Nobody can connect any more; who is connected stays. */
  stopListening(): void;
}

/** One call as the service sees it. */
export interface ReceivedCall {
  readonly headers: http2.IncomingHttpHeaders;
  readonly stream: http2.ServerHttp2Stream;
  /** What came of the request so far. */
  readonly bytes: () => Buffer;
  /** The whole request; never where it does not end. */
  readonly body: Promise<Buffer>;
  /** The code with which the stream was closed. */
  readonly closed: Promise<number>;
}

export type Handler = (call: ReceivedCall, index: number) => void;

export interface UpstreamOptions {
  readonly settings?: http2.Settings;
  readonly port?: number;
}

/** Answers never. */
export const hold: Handler = () => {};

const grpcHeaders = { ':status': 200, 'content-type': 'application/grpc' };

/** A gRPC message: the prefix of five bytes and the contents. */
export const message = (contents: string | Uint8Array): Buffer => {
  const bytes = Buffer.from(contents);
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([prefix, bytes]);
};

/** Headers, one message, trailers with status OK. */
export const answerOk = (
  { stream }: ReceivedCall,
  contents: string | Uint8Array = 'pong',
  metadata: http2.OutgoingHttpHeaders = {},
): void => {
  stream.respond({ ...grpcHeaders, ...metadata }, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
  stream.end(message(contents));
};

/** One block of headers, which is all: no body, no trailers. */
export const answerTrailersOnly = ({ stream }: ReceivedCall, status: number, metadata: http2.OutgoingHttpHeaders = {}): void => {
  stream.respond({ ...grpcHeaders, 'grpc-status': String(status), ...metadata }, { endStream: true });
};

/** Headers, no message, and the status in trailers. */
export const answerTrailers = ({ stream }: ReceivedCall, status: number, trailers: http2.OutgoingHttpHeaders = {}): void => {
  stream.respond(grpcHeaders, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': String(status), ...trailers }));
  stream.end();
};

/** The beginning of an answer whose end the test decides. */
export const beginAnswer = ({ stream }: ReceivedCall, contents?: string | Uint8Array): void => {
  stream.respond(grpcHeaders, { waitForTrailers: true });
  if (contents === undefined) return;
  stream.write(message(contents));
};

/** The end of an answer that was begun. */
export const endAnswer = ({ stream }: ReceivedCall, status: number): void => {
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': String(status) }));
  stream.end();
};

/** RST_STREAM without an answer. */
export const resetWith = ({ stream }: ReceivedCall, code: number): void => stream.close(code);

/** Looks again after each turn of the event loop until `condition` holds; the time is a limit for a failure, not a pause. */
export const until = async (condition: () => boolean, what: string): Promise<void> => {
  const giveUpAt = performance.now() + 10_000;
  while (!condition()) {
    if (performance.now() > giveUpAt) throw new Error(`never came: ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
};

/** Starts a service on loopback that ends with the test. */
export const startUpstream = async (t: TestContext, handler: Handler, { settings, port = 0 }: UpstreamOptions = {}): Promise<Upstream> => {
  const server = http2.createServer(settings === undefined ? {} : { settings });
  const received: ReceivedCall[] = [];
  const sessions: http2.ServerHttp2Session[] = [];
  const sockets = new Set<net.Socket>();
  let accepted = 0;
  server.on('connection', (socket: net.Socket) => {
    accepted++;
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
  });
  server.on('session', (session) => {
    sessions.push(session);
    session.on('error', () => {});
  });
  server.on('sessionError', () => {});
  server.on('stream', (stream: http2.ServerHttp2Stream, headers) => {
    const chunks: Buffer[] = [];
    const body = Promise.withResolvers<Buffer>();
    const closed = Promise.withResolvers<number>();
    stream.on('error', () => {});
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.on('end', () => body.resolve(Buffer.concat(chunks)));
    stream.on('close', () => closed.resolve(stream.rstCode ?? 0));
    const call = { headers, stream, bytes: () => Buffer.concat(chunks), body: body.promise, closed: closed.promise };
    received.push(call);
    handler(call, received.length - 1);
  });
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  const bound = (server.address() as net.AddressInfo).port;
  const stop = (): Promise<void> =>
    new Promise((resolve) => {
      // Not http2's own close, which waits for sessions.
      net.Server.prototype.close.call(server, () => resolve());
      for (const socket of sockets) socket.destroy();
    });
  atEnd(t, stop);
  return {
    port: bound,
    address: `127.0.0.1:${bound}`,
    received,
    sessions,
    get accepted() {
      return accepted;
    },
    call: async (index) => {
      await until(() => received.length > index, `call number ${index} at the service`);
      return received[index] as ReceivedCall;
    },
    stop,
    stopListening: () => void net.Server.prototype.close.call(server),
  };
};

/** A port where nobody listens. */
export const closedPort = async (): Promise<number> => {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  await new Promise<void>((resolve) => server.close(() => resolve()));
  return port;
};

/** A plain TCP server that does with each connection what the test says. */
export const startTcp = async (t: TestContext, onSocket: (socket: net.Socket) => void, allowHalfOpen = false): Promise<number> => {
  const sockets = new Set<net.Socket>();
  const server = net.createServer({ allowHalfOpen }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    onSocket(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  atEnd(
    t,
    () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  );
  return (server.address() as net.AddressInfo).port;
};
