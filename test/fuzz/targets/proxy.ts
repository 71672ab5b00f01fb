import assert from 'node:assert/strict';
import net from 'node:net';
import type { TestContext } from 'node:test';
import { fates, type VirtualClock } from '../../../src/core/index.ts';
import type { Caller } from '../../mesh/caller.ts';
import { startSidecar, type TestSidecar, virtualClock } from '../../mesh/mesh.ts';
import { answerOk, startUpstream, until } from '../../mesh/upstream.ts';
import { FuzzUpstream } from '../fuzz-upstream.ts';
import { mutateBytes } from '../mutators/bytes.ts';
import { mutateFrames } from '../mutators/frames.ts';
import type { Random } from '../random.ts';
import type { FuzzTarget } from '../target.ts';
import { Act, actFrame, actFrameType, readFrames, type WireFrame, wireFrame, writeFrame, writeFrames } from '../wire-frames.ts';
import { WireObserver } from '../wire-observer.ts';
import { setUpBytes } from './connection.ts';

const SetUp = { inbound: 1, rawPreface: 8, upstreamIsHasty: 16 } as const;
const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
const settings = 4;
/** Turns of the event loop without any news, after which both sides have said what they had to say. */
const quietTurns = 6;
const mostTurns = 200;
/** Past every back-off, hold and grace of a sidecar, so that one input leaves nothing to the next. */
const restMs = 70_000;
const restSteps = 14;
const longestWaitMs = 10_000;

const idleGauges = /^server\.(buffered_bytes|replay_bytes)$|\.upstream_rq_(active|pending_active)$|http2\.streams_active$/;

const policies = (fuzzed: number, good: number): string => `routes:
  - match: { prefix: /good. }
    route: { cluster: good, timeout: 60s }
  - match: { prefix: /acme. }
    route:
      cluster: fuzzed
      timeout: 30s
      idempotent: true
      retry_policy: { retry_on: "5xx,reset,cancelled,unavailable,connect-failure,refused-stream", num_retries: 2 }
default: { action: use_cluster, use_cluster: fuzzed }
clusters:
  good: { endpoints: ["127.0.0.1:${good}"], tls: { mode: disable } }
  fuzzed: { endpoints: ["127.0.0.1:${fuzzed}"], tls: { mode: disable }, circuit_breakers: { consecutive_failures: 1000000 } }
`;

/** A whole sidecar between a hostile client and a hostile service, and a neighbour who must not notice. */
export class ProxyTarget implements FuzzTarget {
  readonly name = 'proxy';
  readonly longestInputBytes = 30_000;
  readonly #clock: VirtualClock;
  readonly #sidecar: TestSidecar;
  readonly #upstream: FuzzUpstream;
  readonly #neighbour: Caller;
  readonly #end: () => Promise<void>;

  private constructor(clock: VirtualClock, sidecar: TestSidecar, upstream: FuzzUpstream, neighbour: Caller, end: () => Promise<void>) {
    this.#clock = clock;
    this.#sidecar = sidecar;
    this.#upstream = upstream;
    this.#neighbour = neighbour;
    this.#end = end;
  }

  static async start(): Promise<ProxyTarget> {
    const endings: (() => unknown)[] = [];
    const scope = { after: (end: () => unknown) => endings.push(end) } as unknown as TestContext;
    const clock = virtualClock();
    const upstream = await FuzzUpstream.start();
    const good = await startUpstream(scope, (call) => answerOk(call));
    const sidecar = await startSidecar(scope, { clock, policies: policies(upstream.port, good.port), localService: upstream.port });
    const neighbour = sidecar.caller();
    // A connection that never asks for anything is closed after a while.
    await neighbour.call({ path: '/good.Echo/Call', authority: 'good' });
    return new ProxyTarget(clock, sidecar, upstream, neighbour, async () => {
      await upstream.close();
      // What ends in its own time needs time to pass.
      const time = setInterval(() => clock.advance(1_000), 20);
      try {
        for (const end of endings) await end();
      } finally {
        clearInterval(time);
      }
    });
  }

  close(): Promise<void> {
    return this.#end();
  }

  seeds(): readonly Buffer[] {
    const answer = [
      wireFrame(settings, 0, 0, Buffer.alloc(0)),
      wireFrame(1, 4, 1, Buffer.from('885f10', 'hex').subarray(0, 1)),
      wireFrame(0, 0, 1, Buffer.from('0000000001aa', 'hex')),
      wireFrame(1, 5, 1, Buffer.from('000b677270632d7374617475730130', 'hex')),
    ];
    const ask = [
      wireFrame(settings, 0, 0, Buffer.alloc(0)),
      wireFrame(
        1,
        4,
        1,
        Buffer.concat([
          Buffer.from([0x83, 0x86, 0x04, 15]),
          Buffer.from('/acme.Echo/Call'),
          Buffer.from([0x01, 4]),
          Buffer.from('echo'),
          Buffer.from([0x0f, 0x10, 16]),
          Buffer.from('application/grpc'),
        ]),
      ),
      wireFrame(0, 1, 1, Buffer.from('0000000001aa', 'hex')),
    ];
    const conversation = (flags: number, client: readonly WireFrame[], server: readonly WireFrame[]) =>
      Buffer.concat([Buffer.from([flags, 0, 0, 0]), writeFrames([...client, actFrame(Act.switchSide), ...server])]);
    const failure = wireFrame(1, 5, 1, Buffer.from('88000b677270632d737461747573023134', 'hex'));
    return [
      conversation(0, ask, answer),
      conversation(SetUp.inbound, ask, answer),
      conversation(0, ask, [answer[0] as WireFrame, failure]),
      conversation(0, ask, [answer[0] as WireFrame, wireFrame(3, 0, 1, Buffer.from('00000007', 'hex'))]),
      conversation(0, [...ask, actFrame(Act.turn), wireFrame(3, 0, 1, Buffer.from('00000008', 'hex'))], answer.slice(0, 2)),
      conversation(0, ask, [answer[0] as WireFrame, wireFrame(7, 0, 0, Buffer.alloc(8))]),
    ];
  }

  mutate(random: Random, input: Buffer, other: Buffer): Buffer {
    if (random.oneIn(15)) {
      const copy = Buffer.from(input);
      if (copy.length >= setUpBytes) copy[random.below(setUpBytes)] = random.pick([0, 1, 8, 16, 17, random.below(256)]);
      return copy;
    }
    if (random.oneIn(8)) return mutateBytes(random, input, other);
    return mutateFrames(random, input, other, setUpBytes);
  }

  async run(input: Buffer): Promise<void> {
    const [flags = 0, piece = 0] = input;
    const { frames, rest } = readFrames(input.subarray(setUpBytes));
    const at = frames.findIndex(({ type, payload }) => type === actFrameType && payload[0] === Act.switchSide);
    const ofServer = (at < 0 ? [] : frames.slice(at + 1)).filter(({ type }) => type !== actFrameType);
    const hasty = (flags & SetUp.upstreamIsHasty) !== 0;
    this.#upstream.begin(withSettings(ofServer, flags), at < 0 ? Buffer.alloc(0) : rest, !hasty);
    const found = await this.#talk(
      at < 0 ? frames : frames.slice(0, at),
      at < 0 ? rest : Buffer.alloc(0),
      flags,
      piece === 0 ? 65_536 : piece,
    );
    if (found !== undefined) throw found;
    if (this.#upstream.found !== undefined) throw this.#upstream.found;
    await this.#checkAccounts();
    await within('the end of upstream connections', this.#upstream.clear());
    // In steps, so that keepalive's questions are answered on the way.
    for (let step = 0; step < restSteps; step++) {
      this.#clock.advance(restMs / restSteps);
      await new Promise((resolve) => setImmediate(resolve));
    }
    const { status, message, reason } = await within(
      "a neighbour's call",
      this.#neighbour.call({ path: '/good.Echo/Call', authority: 'good' }),
    );
    assert.equal(status, 0, `a neighbour's call failed: ${message} (${reason})`);
    (this.#sidecar.log as unknown[]).length = 0;
  }

  /** The client's side, from its preface to the loss of its connection. Returns what the sidecar wrote that it may not write. */
  async #talk(frames: readonly WireFrame[], rest: Buffer, flags: number, pieceBytes: number): Promise<unknown> {
    const observer = new WireObserver('server');
    let found: unknown;
    let activity = 0;
    const socket = net.connect((flags & SetUp.inbound) === 0 ? this.#sidecar.outboundPort : this.#sidecar.inboundPort, '127.0.0.1');
    socket.setNoDelay(true);
    socket.on('error', () => {});
    socket.on('data', (bytes: Buffer) => {
      activity++;
      try {
        observer.wrote(bytes);
      } catch (error) {
        found ??= error;
      }
    });
    await within('a connection to the sidecar', new Promise((resolve) => socket.once('connect', resolve).once('close', resolve)));
    const give = async (bytes: Buffer): Promise<void> => {
      for (let from = 0; from < bytes.length && socket.writable; from += pieceBytes) {
        const part = bytes.subarray(from, from + pieceBytes);
        observer.heard(Buffer.from(part));
        socket.write(part);
        if (pieceBytes < 1_000 && (from / pieceBytes) % 8 === 7) await quiet(1, 1, () => activity);
      }
    };
    const news = () => activity + this.#upstream.activity + socket.bytesWritten;
    if ((flags & SetUp.rawPreface) === 0) await give(preface);
    for (const frame of withSettings(frames, flags)) {
      if (frame.type !== actFrameType) await give(writeFrame(frame));
      else if (frame.payload[0] === Act.turn || frame.payload[0] === Act.sendData) await quiet(quietTurns, mostTurns, news);
      else if (frame.payload[0] === Act.advance) this.#clock.advance((frame.payload[2] ?? 0) * 256 + (frame.payload[3] ?? 0));
      else if (frame.payload[0] === Act.endSocket) socket.end();
      else if (frame.payload[0] === Act.failSocket) socket.resetAndDestroy();
      else if (frame.payload[0] === Act.holdSocket) socket.pause();
      else if (frame.payload[0] === Act.unholdSocket) socket.resume();
    }
    await give(rest);
    socket.resume();
    await quiet(quietTurns, mostTurns, news);
    if (!socket.destroyed) {
      const closed = new Promise((resolve) => socket.once('close', resolve));
      socket.destroy();
      await within('the end of the client', closed);
    }
    return found;
  }

  /** Every call has had its one fate and nothing is kept of it. */
  async #checkAccounts(): Promise<void> {
    const { sidecar } = this.#sidecar;
    const busy = (): string[] => {
      const names: string[] = [];
      const sink = {
        counter: () => {},
        gauge: (name: string, value: number) => {
          if (value !== 0 && idleGauges.test(name)) names.push(`${name}: ${value}`);
        },
      };
      sidecar.proxy.collectStats(sink);
      return names;
    };
    await until(() => busy().length === 0, 'an idle sidecar').catch(() => assert.fail(`the sidecar still has ${busy().join(', ')}`));
    for (const listener of [sidecar.proxy.inbound, sidecar.proxy.outbound]) {
      const counted = fates.reduce((sum, fate) => sum + sidecar.telemetry.callMetrics.fateCount(listener.name, fate), 0);
      assert.equal(counted, listener.stats.requestsTotal, `every ${listener.name} call has exactly one fate`);
    }
  }
}

/** A limit for a failure, not a pause: it says what never came. */
const within = async <T>(what: string, work: Promise<T>): Promise<T> => {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`never came: ${what}`)), longestWaitMs);
  try {
    return await Promise.race([work, late.promise]);
  } finally {
    clearTimeout(timer);
  }
};

/** Most inputs are to get past the first frame. */
const withSettings = (frames: readonly WireFrame[], flags: number): readonly WireFrame[] =>
  (flags & SetUp.rawPreface) !== 0 || frames.find(({ type }) => type !== actFrameType)?.type === settings
    ? frames
    : [wireFrame(settings, 0, 0, Buffer.alloc(0)), ...frames];

/** Turns of the event loop until nothing has happened in `turns` of them, or `most` are over. */
const quiet = async (turns: number, most: number, news: () => number): Promise<void> => {
  for (let i = 0, still = 0, before = news(); i < most && still < turns; i++) {
    await new Promise((resolve) => setImmediate(resolve));
    const now = news();
    still = now === before ? still + 1 : 0;
    before = now;
  }
};
