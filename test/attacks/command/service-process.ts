/** The service behind the listeners under attack, in a process of its own; says its port and serves until it is ended. */
import net from 'node:net';
import { SystemClock, TimerWheel } from '../../../src/core/index.ts';
import { Connection, type ConnectionHandler, defaultHttp2Options, Engine, Http2Counters } from '../../../src/http2/index.ts';
import { serveMethod } from '../catalogue/service.ts';

const clock = new SystemClock();
const engine = new Engine(clock, new TimerWheel(clock));
const counters = new Http2Counters();
const handler: ConnectionHandler = {
  onReady() {},
  onRequest: (_connection, stream, block, endStream) => serveMethod(stream, block, endStream),
  onCapacity() {},
  onGoAway() {},
  onClose: (_connection, { kind, message }) => console.error(`connection ended: ${kind}, ${message}`),
};
// It hears of every stream that an attacker resets, and of every one that is opened: what it thinks of that is not the question.
const options = { ...defaultHttp2Options, resetBurst: 1e9, resetsPerSecond: 1e9, maxConcurrentStreams: 100_000 };
const server = net.createServer({ noDelay: true }, (socket) => {
  new Connection(engine, socket, 'server', options, counters, handler);
});
server.listen(0, '127.0.0.1', () => console.log(`port ${(server.address() as net.AddressInfo).port}`));
