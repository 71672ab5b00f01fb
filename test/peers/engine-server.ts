import assert from 'node:assert/strict';
import net from 'node:net';
import type { TestContext } from 'node:test';
import { SystemClock, TimerWheel } from '../../src/core/index.ts';
import {
  Connection,
  type ConnectionHandler,
  defaultHttp2Options,
  Engine,
  HeaderBlock,
  Http2Counters,
  type Http2Options,
  type Stream,
} from '../../src/http2/index.ts';

export type EngineService = (stream: Stream, block: HeaderBlock, endStream: boolean) => void;

/** A port of this machine that is served by the engine alone. */
export interface EngineServer {
  readonly port: number;
  readonly counters: Http2Counters;
  readonly engine: Engine;
  /** Connections that live now, and all there have been. */
  readonly connections: ReadonlySet<Connection>;
}

/** Listens for h2c until the test is over, and then asserts that the engine's account is even. */
export const engineServer = async (t: TestContext, serve: EngineService, options: Partial<Http2Options> = {}): Promise<EngineServer> => {
  const clock = new SystemClock();
  const wheel = new TimerWheel(clock);
  const engine = new Engine(clock, wheel);
  const counters = new Http2Counters();
  const connections = new Set<Connection>();
  const handler: ConnectionHandler = {
    onReady() {},
    onRequest: (_connection, stream, block, endStream) => serve(stream, block, endStream),
    onCapacity() {},
    onGoAway() {},
    onClose: (connection) => connections.delete(connection),
  };
  const server = net.createServer({ noDelay: true }, (socket) => {
    connections.add(new Connection(engine, socket, 'server', { ...defaultHttp2Options, ...options }, counters, handler));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(async () => {
    const closed = new Promise((resolve) => server.close(resolve));
    for (const connection of connections) connection.destroy();
    await closed;
    assert.equal(engine.bufferedBytes, 0, 'bytes held');
    assert.equal(counters.streamsActive, 0, 'streams');
    assert.equal(counters.connectionsActive, 0, 'connections');
    assert.equal(wheel.armed, 0, 'deadlines');
    wheel.stop();
  });
  return { port: (server.address() as net.AddressInfo).port, counters, engine, connections };
};

const text = Buffer.from('This port proxies gRPC: content-type must begin with application/grpc.\n');

/** Answers everything as a gRPC port answers a browser, once the request has ended: 415 and a text. */
export const refuseAll: EngineService = (stream, _block, endStream) => {
  const answer = (): void => {
    const block = new HeaderBlock();
    block.addNamed(':status', '415');
    block.addNamed('content-type', 'text/plain');
    block.addNamed('content-length', String(text.length));
    stream.sendHeaders(block, false);
    stream.sendData(text, 0, text.length, true);
  };
  stream.handler = {
    onHeaders() {},
    onData: (_stream, _bytes, start, end, last) => {
      stream.consume(end - start);
      if (last) answer();
    },
    onTrailers: answer,
    onReset() {},
    onSent() {},
  };
  if (endStream) answer();
};

/** Sends back what comes in: the request's DATA as the answer's, and a trailer behind it. */
export const echo: EngineService = (stream, _block, endStream) => {
  const answer = new HeaderBlock();
  answer.addNamed(':status', '200');
  answer.addNamed('content-type', 'application/grpc');
  const end = (): void => {
    const trailers = new HeaderBlock();
    trailers.addNamed('grpc-status', '0');
    stream.sendTrailers(trailers);
  };
  stream.handler = {
    onHeaders() {},
    onData: (_stream, bytes, start, stop, last) => {
      stream.consume(stream.sendData(bytes, start, stop, false));
      if (last) end();
    },
    onTrailers: end,
    onReset: () => stream.release(),
    onSent: (_stream, bytes) => stream.consume(bytes),
  };
  stream.sendHeaders(answer, false);
  if (endStream) end();
};
