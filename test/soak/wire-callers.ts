import { readFileSync } from 'node:fs';
import { type Socket, connect as tcpConnect } from 'node:net';
import { connect as tlsConnect } from 'node:tls';
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import { ACK, END_HEADERS, END_STREAM, frame, literals, Type, uint32 } from '../http2/raw-peer.ts';
import type { Ledger } from './ledger.ts';
import type { SoakMesh } from './soak-mesh.ts';

const patienceMs = 20_000;
const cancel = 8;
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** A caller that writes frames by itself, so that it knows to the byte what the sidecar was sent. */
class WireCaller {
  readonly #socket: Socket;
  readonly #watchers = new Set<() => void>();
  #rest = Buffer.alloc(0);
  #acknowledged = 0;
  #pings = 0;
  closed = false;
  /** Bytes of DATA so far, and streams that the other side has ended or reset. */
  dataBytes = 0;
  ended = 0;
  /** What the other side said in GOAWAY or RST_STREAM. */
  #said = '';

  constructor(port: number, settings: Uint8Array = Buffer.alloc(0)) {
    this.#socket = tcpConnect(port, '127.0.0.1');
    this.#socket.setNoDelay(true);
    this.#socket.on('data', (bytes: Buffer) => this.#read(bytes));
    this.#socket.on('error', () => {});
    this.#socket.on('close', () => {
      this.closed = true;
      for (const watcher of this.#watchers) watcher();
    });
    this.#socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
    this.#socket.write(frame(Type.SETTINGS, 0, 0, settings));
  }

  /** A request with one message, or none. */
  call(id: number, path: string, message: string): void {
    const fields = literals([
      [':method', 'POST'],
      [':scheme', 'http'],
      [':path', path],
      [':authority', 'steady-svc'],
      ['content-type', 'application/grpc'],
      ['te', 'trailers'],
    ]);
    const prefix = Buffer.alloc(5);
    prefix.writeUInt32BE(Buffer.byteLength(message), 1);
    this.#socket.write(
      Buffer.concat([
        frame(Type.HEADERS, END_HEADERS, id, fields),
        frame(Type.DATA, END_STREAM, id, Buffer.concat([prefix, Buffer.from(message)])),
      ]),
    );
  }

  reset(id: number): void {
    this.#socket.write(frame(Type.RST_STREAM, 0, id, uint32(cancel)));
  }

  credit(id: number, bytes: number): void {
    this.#socket.write(frame(Type.WINDOW_UPDATE, 0, id, uint32(bytes)));
  }

  write(bytes: Uint8Array): void {
    this.#socket.write(bytes);
  }

  /** All that was sent has been read: false where the connection went first. */
  async roundTrip(): Promise<boolean> {
    const wanted = ++this.#pings;
    this.#socket.write(frame(Type.PING, 0, 0, Buffer.from('soaksoak')));
    return this.until(() => this.#acknowledged >= wanted);
  }

  /** Looks when something has come; false where it never does. */
  async until(condition: () => boolean): Promise<boolean> {
    if (condition() || this.closed) return condition();
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, patienceMs);
    const watcher = (): void => {
      if (this.closed || condition()) resolve();
    };
    this.#watchers.add(watcher);
    await promise;
    clearTimeout(timer);
    this.#watchers.delete(watcher);
    return condition();
  }

  /** How the connection stands, for a failure's message. */
  get state(): string {
    return `${this.closed ? 'closed' : 'open'}, sent ${this.#socket.bytesWritten} bytes, received ${this.#socket.bytesRead}${this.#said}`;
  }

  destroy(): void {
    this.#socket.destroy();
  }

  #read(bytes: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, bytes]);
    while (this.#rest.length >= 9) {
      const length = this.#rest.readUIntBE(0, 3);
      if (this.#rest.length < 9 + length) break;
      const [type, flags] = [this.#rest[3] as number, this.#rest[4] as number];
      if (type === Type.PING && (flags & ACK) !== 0) this.#acknowledged++;
      if (type === Type.SETTINGS && (flags & ACK) === 0) this.#socket.write(frame(Type.SETTINGS, ACK, 0));
      if (type === Type.DATA) this.dataBytes += length;
      if (type === Type.GOAWAY) this.#said += ` GOAWAY ${this.#rest.readUInt32BE(13)} ${this.#rest.subarray(17, 9 + length)}`;
      if (type === Type.RST_STREAM) this.#said += ` RST_STREAM ${this.#rest.readUInt32BE(9)}`;
      if (type === Type.RST_STREAM || ((type === Type.HEADERS || type === Type.DATA) && (flags & END_STREAM) !== 0)) this.ended++;
      this.#rest = this.#rest.subarray(9 + length);
    }
    for (const watcher of this.#watchers) watcher();
  }
}

type Scenario = (mesh: SoakMesh, ledger: Ledger) => Promise<void>;

/** Twenty calls that are reset at once, soon, or after their first answer. */
const resets: Scenario = async ({ caller }, ledger) => {
  const wire = new WireCaller(caller.outboundPort);
  const ends = [];
  for (let id = 1; id < 40; id += 2) {
    ends.push(ledger.begin('wire reset'));
    wire.call(id, '/echo.Echo/Hang', '');
    if (id % 3 !== 0) await pause(id % 7);
    wire.reset(id);
  }
  const read = await wire.roundTrip();
  for (const end of ends) end({ expected: read, what: read ? 'reset' : 'connection lost', reached: true });
  wire.destroy();
};

/** Ten calls, and the socket is gone: after all were read, in the middle of an answer. */
const aborts: Scenario = async ({ caller }, ledger) => {
  const wire = new WireCaller(caller.outboundPort);
  const ends = [];
  for (let id = 1; id < 20; id += 2) {
    ends.push(ledger.begin('wire abort'));
    wire.call(id, id % 4 === 1 ? '/echo.Echo/Hang' : '/echo.Echo/Pour', '60 16384');
  }
  const read = await wire.roundTrip();
  await pause(Math.random() * 30);
  wire.destroy();
  for (const end of ends) end({ expected: read, what: read ? 'aborted' : 'connection lost', reached: true });
};

const settingInitialWindow = 4;

/** An answer read through a window of a few hundred bytes. */
const narrow: Scenario = async ({ caller }, ledger) => {
  const wire = new WireCaller(caller.outboundPort, Buffer.concat([Buffer.from([0, settingInitialWindow]), uint32(400)]));
  const end = ledger.begin('wire narrow window');
  const wanted = 4 * (5 + 8_192);
  wire.call(1, '/echo.Echo/Pour', '4 8192');
  // Credit for what has come: who gives it ahead, again and again, is taken for a flood.
  for (let credited = 400; credited < wanted && (await wire.until(() => wire.dataBytes >= credited)); credited += 700) {
    await pause(2);
    wire.credit(1, 700);
  }
  const ended = await wire.until(() => wire.ended > 0);
  const whole = ended && wire.dataBytes === wanted;
  end({
    expected: whole,
    what: whole ? 'OK' : `${wire.dataBytes} of ${wanted} bytes: ${ended ? 'ended' : 'never ended'}, connection ${wire.state}`,
    reached: true,
  });
  wire.destroy();
};

/** Connections that say nothing, or nonsense, or the half of a frame. */
const halves: Scenario = async ({ caller, callee }, ledger) => {
  const inbound = callee('steady-svc').inboundPort;
  for (const [port, bytes] of [
    [caller.outboundPort, ''],
    [caller.outboundPort, 'PRI * HTTP/2.0\r\n'],
    [caller.outboundPort, 'GET / HTTP/1.1\r\n\r\n'],
    [caller.outboundPort, '\u0016\u0003\u0001'],
    [inbound, ''],
    [inbound, '\u0016\u0003\u0001\u0000'],
    [inbound, 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
  ] as const) {
    const socket = tcpConnect(port, '127.0.0.1');
    socket.on('error', () => {});
    socket.end(bytes);
    await pause(Math.random() * 10);
    socket.destroy();
    ledger.note('wire half a connection', true, 'left');
  }
  const wire = new WireCaller(caller.outboundPort);
  const read = await wire.roundTrip();
  wire.write(frame(Type.HEADERS, END_HEADERS, 1, Buffer.alloc(100)).subarray(0, 50));
  await pause(2);
  wire.destroy();
  ledger.note('wire half a connection', read, read ? 'left' : 'not served');
};

const same = (bytes: Buffer): Buffer => bytes;

/** Straight to the service's sidecar with a certificate of the mesh, as its files are now, on a connection of its own; and without one. */
const direct: Scenario = async ({ callee, identity }, ledger) => {
  const { ca, cert, key } = identity('mesh-client');
  const [root, chain, secret] = [readFileSync(ca), readFileSync(cert), readFileSync(key)];
  const port = callee('steady-svc').inboundPort;
  const client = new Client(`127.0.0.1:${port}`, credentials.createSsl(root, secret, chain), {
    'grpc.default_authority': 'steady-svc',
    'grpc.ssl_target_name_override': 'steady-svc',
    'grpc.enable_retries': 0,
    'grpc.use_local_subchannel_pool': 1,
  });
  const what = await new Promise<string>((resolve) =>
    client.makeUnaryRequest(
      '/echo.Echo/Unary',
      same,
      same,
      Buffer.from('direct'),
      new Metadata(),
      { deadline: Date.now() + patienceMs },
      (error) => resolve(error === null ? 'OK' : `${error.code} ${error.details}`),
    ),
  );
  client.close();
  ledger.note('direct over mTLS', what === 'OK', what);
  const stranger = tlsConnect({ port, host: '127.0.0.1', ca: root, servername: 'steady-svc', ALPNProtocols: ['h2'] });
  const refused = await new Promise<boolean>((resolve) => {
    stranger.on('error', () => resolve(true));
    stranger.on('close', () => resolve(true));
    stranger.on('data', () => {});
    setTimeout(() => resolve(false), patienceMs).unref();
  });
  stranger.destroy();
  ledger.note('direct without certificate', refused, refused ? 'refused' : 'served');
};

const scenarios: readonly Scenario[] = [resets, aborts, narrow, halves, direct];

/** Callers beside the well-behaved ones, one scenario after the other with a pause between, until told to stop. */
export const runWireCallers = async (mesh: SoakMesh, ledger: Ledger, pauseMs: number, stop: AbortSignal): Promise<void> => {
  for (let turn = 0; !stop.aborted; turn++) {
    await (scenarios[turn % scenarios.length] as Scenario)(mesh, ledger);
    await pause(pauseMs);
  }
};
