/**
 * A service of `node:http2` that does with each call what its header `x-behaviour` asks for. What it does "once" it does to the first
 * attempt of a call, known by `x-call`; the next attempt is answered.
 *
 *     node fickle-service.ts        prints the port that it listens on; ends by a signal
 */
import http2 from 'node:http2';
import type { AddressInfo, Socket } from 'node:net';

const grpcHeaders = { ':status': 200, 'content-type': 'application/grpc' };
const message = Buffer.from([0, 0, 0, 0, 4, 0x70, 0x6f, 0x6e, 0x67]);

const answer = (stream: http2.ServerHttp2Stream): void => {
  if (stream.destroyed) return;
  stream.respond(grpcHeaders, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
  stream.end(message);
};

const answerStatus = (stream: http2.ServerHttp2Stream, status: number): void =>
  stream.respond({ ...grpcHeaders, 'grpc-status': String(status) }, { endStream: true });

const behaviours: Readonly<Record<string, (stream: http2.ServerHttp2Stream) => void>> = {
  late: (stream) => void setTimeout(answer, 30, stream),
  'unavailable-once': (stream) => answerStatus(stream, 14),
  // The status comes in trailers, after headers that had promised better.
  'trailers-once': (stream) => {
    stream.respond(grpcHeaders, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '14' }));
    stream.end();
  },
  'refuse-once': (stream) => stream.close(http2.constants.NGHTTP2_REFUSED_STREAM),
  // Not by the session, which would first reset every stream with NO_ERROR.
  'cut-once': ({ session }) => void (session === undefined ? undefined : sockets.get(session)?.destroy()),
  'go-away': (stream) => {
    stream.session?.goaway(0, stream.id ?? 0);
    answer(stream);
  },
  unavailable: (stream) => answerStatus(stream, 14),
  'no-such-thing': (stream) => answerStatus(stream, 5),
  'half-then-reset': (stream) => {
    stream.respond(grpcHeaders, { waitForTrailers: true });
    stream.write(message);
    setTimeout(() => stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR), 5);
  },
};

/** Calls whose first attempt was here, oldest first. */
const known = new Set<string>();
const mostKnown = 1_000;

const sockets = new WeakMap<http2.Http2Session, Socket>();
let accepted: Socket | undefined;

const server = http2.createServer();
// The session is made, and said, within the very same event.
server.prependListener('connection', (socket: Socket) => {
  accepted = socket;
});
server.on('session', (session) => {
  session.on('error', () => {});
  if (accepted !== undefined) sockets.set(session, accepted);
});
server.on('sessionError', () => {});
server.on('stream', (stream: http2.ServerHttp2Stream, headers) => {
  stream.on('error', () => {});
  stream.resume();
  const behaviour = String(headers['x-behaviour']);
  const act = behaviours[behaviour];
  if (act === undefined) return answerStatus(stream, 3);
  if (behaviour.endsWith('-once')) {
    const call = String(headers['x-call']);
    if (known.has(call)) return answer(stream);
    known.add(call);
    if (known.size > mostKnown) known.delete(known.values().next().value ?? '');
  }
  act(stream);
});
server.listen(0, '127.0.0.1', () => console.log((server.address() as AddressInfo).port));
