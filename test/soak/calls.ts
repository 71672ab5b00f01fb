import { randomBytes } from 'node:crypto';
import { type CallOptions, type Client, Metadata, type StatusObject, status } from '@grpc/grpc-js';
import type { Outcome } from './ledger.ts';

/** The services that a call of the soak goes to, by authority; `passing-svc` comes and goes with the policies. */
export type Destination = 'steady-svc' | 'fickle-svc' | 'mortal-svc' | 'passing-svc';

/** What a call may end with beside what it is made for. */
const tolerated: Readonly<Record<Destination, readonly string[]>> = {
  'steady-svc': [],
  'fickle-svc': [],
  'mortal-svc': ['UNAVAILABLE connect_failure', 'UNAVAILABLE connection_lost', 'UNAVAILABLE circuit_open'],
  'passing-svc': ['UNIMPLEMENTED no_route', 'UNAVAILABLE no_cluster', 'UNAVAILABLE no_endpoint'],
};

/**
 * What it may end with besides once the caller has heard the beginning of its answer: a neighbour's `cut-once` ends the connection that they
 * share, and from its first bytes on an answer cannot be had a second time. Before them it is tried again, and must succeed.
 */
const toleratedOnceAnswered: Readonly<Partial<Record<Destination, readonly string[]>>> = { 'fickle-svc': ['UNAVAILABLE connection_lost'] };

export interface CallKind {
  readonly name: string;
  /** How often, in proportion to the others. */
  readonly weight: number;
  readonly destination: Destination;
  make(client: Client): Promise<Outcome>;
}

const same = (bytes: Buffer): Buffer => bytes;
const patienceMs = 30_000;
const farDeadline = (): CallOptions => ({ deadline: Date.now() + patienceMs });

interface Ending {
  readonly code: number;
  readonly details: string;
  readonly metadata: Metadata;
}

/** `OK`, or the name of the status and the reason where the mesh gave one. */
const describe = ({ code, metadata }: Ending): string => {
  const reason = metadata.get('x-outrider-reason')[0];
  return `${status[code]}${reason === undefined ? '' : ` ${reason}`}`;
};

const judge = (destination: Destination, ending: Ending, wanted: readonly string[], whole: boolean, answered: boolean): Outcome => {
  const what = describe(ending);
  if (what === 'OK' && !whole) return { expected: false, what: 'OK, but not whole', reached: true };
  const expected =
    wanted.includes(what) ||
    tolerated[destination].includes(what) ||
    (answered && toleratedOnceAnswered[destination]?.includes(what) === true);
  // What grpc-js decides by itself comes without a header of the other side.
  const reached = answered || what === 'OK' || ending.metadata.get('x-outrider-reason').length > 0;
  return { expected, what: expected ? what : `${what}: ${ending.details}`, reached };
};

const bodies = [0, 1, 100, 1_000].map((bytes) => randomBytes(bytes));
const largeBodies = [64, 256, 1_024].map((kib) => randomBytes(kib * 1_024));
const oneOf = <T>(list: readonly T[]): T => list[Math.floor(Math.random() * list.length)] as T;
let callNumber = 0;

/** One message there and one back. */
const unary =
  (destination: Destination, { path = '/echo.Echo/Unary', wanted = ['OK'], body = () => oneOf(bodies), headers = {} }: UnaryOptions = {}) =>
  (client: Client): Promise<Outcome> =>
    new Promise((resolve) => {
      const metadata = new Metadata();
      metadata.set('x-call', `${process.pid}-${callNumber++}`);
      for (const [name, value] of Object.entries(headers)) metadata.set(name, value);
      const sent = body();
      let received: Buffer | undefined;
      let answered = false;
      const call = client.makeUnaryRequest(path, same, same, sent, metadata, farDeadline(), (_error, answer) => {
        received = answer;
      });
      call.on('metadata', () => {
        answered = true;
      });
      call.on('status', (ending: StatusObject) => {
        // The answer comes with or after the status.
        setImmediate(() =>
          resolve(judge(destination, ending, wanted, received !== undefined && (path !== echoPath || received.equals(sent)), answered)),
        );
      });
    });

const echoPath = '/echo.Echo/Unary';

interface UnaryOptions {
  readonly path?: string;
  readonly wanted?: readonly string[];
  readonly body?: () => Buffer;
  readonly headers?: Readonly<Record<string, string>>;
}

const serverStream =
  (destination: Destination, messages: number, bytes: number, pauseMs: number) =>
  (client: Client): Promise<Outcome> =>
    new Promise((resolve) => {
      const asked = Buffer.from(`${messages} ${bytes}`);
      const call = client.makeServerStreamRequest('/echo.Echo/Pour', same, same, asked, new Metadata(), farDeadline());
      let received = 0;
      let answered = false;
      call.on('metadata', () => {
        answered = true;
      });
      call.on('data', (message: Buffer) => {
        received += message.length;
        if (pauseMs === 0) return;
        call.pause();
        setTimeout(() => call.resume(), pauseMs);
      });
      call.on('error', () => {});
      // The status of a reader that pauses comes before the messages that it has not read yet.
      const ended = new Promise<void>((whenRead) => call.on('end', whenRead));
      call.on('status', async (ending: StatusObject) => {
        if (ending.code === status.OK) await ended;
        resolve(judge(destination, ending, ['OK'], received === messages * bytes, answered));
      });
    });

const clientStream =
  (destination: Destination) =>
  (client: Client): Promise<Outcome> =>
    new Promise((resolve) => {
      const parts = Array.from({ length: 20 }, () => oneOf(bodies));
      let received: Buffer | undefined;
      let answered = false;
      const call = client.makeClientStreamRequest('/echo.Echo/Join', same, same, new Metadata(), farDeadline(), (_error, answer) => {
        received = answer;
      });
      call.on('metadata', () => {
        answered = true;
      });
      call.on('status', (ending: StatusObject) => {
        setImmediate(() => resolve(judge(destination, ending, ['OK'], received?.equals(Buffer.concat(parts)) === true, answered)));
      });
      for (const part of parts) call.write(part);
      call.end();
    });

/** The next message is only sent when the answer to the last has come; `cancelAfter` answers the caller loses interest. */
const talk =
  (destination: Destination, messages: number, cancelAfter = Number.POSITIVE_INFINITY) =>
  (client: Client): Promise<Outcome> =>
    new Promise((resolve) => {
      const call = client.makeBidiStreamRequest('/echo.Echo/Talk', same, same, new Metadata(), farDeadline());
      let received = 0;
      let answered = false;
      const next = (): void => {
        if (received === cancelAfter) call.cancel();
        else if (received === messages) call.end();
        else call.write(oneOf(bodies));
      };
      call.on('metadata', () => {
        answered = true;
      });
      call.on('data', () => {
        received++;
        next();
      });
      call.on('error', () => {});
      const wanted = cancelAfter < messages ? ['CANCELLED'] : ['OK'];
      call.on('status', (ending: StatusObject) => resolve(judge(destination, ending, wanted, received === messages, answered)));
      next();
    });

/** The service answers at once, and never again. */
const deadline =
  (destination: Destination) =>
  (client: Client): Promise<Outcome> =>
    new Promise((resolve) => {
      const options = { deadline: Date.now() + 50 + Math.random() * 300 };
      const call = client.makeServerStreamRequest('/echo.Echo/Hang', same, same, Buffer.alloc(0), new Metadata(), options);
      let answered = false;
      call.on('metadata', () => {
        answered = true;
      });
      call.on('data', () => {});
      call.on('error', () => {});
      const wanted = ['DEADLINE_EXCEEDED', 'DEADLINE_EXCEEDED caller_deadline'];
      call.on('status', (ending: StatusObject) => resolve(judge(destination, ending, wanted, false, answered)));
    });

/** Cancelled at a moment that has nothing to do with how far the call is. */
const cancelAnywhere =
  (destination: Destination) =>
  (client: Client): Promise<Outcome> =>
    new Promise((resolve) => {
      const call = client.makeServerStreamRequest('/echo.Echo/Pour', same, same, Buffer.from('50 16384'), new Metadata(), farDeadline());
      let answered = false;
      let received = 0;
      call.on('metadata', () => {
        answered = true;
      });
      call.on('data', (message: Buffer) => {
        received += message.length;
      });
      call.on('error', () => {});
      const ended = new Promise<void>((whenRead) => call.on('end', whenRead));
      call.on('status', async (ending: StatusObject) => {
        if (ending.code === status.OK) await ended;
        resolve(judge(destination, ending, ['CANCELLED', 'OK'], received === 50 * 16_384, answered));
      });
      setTimeout(() => call.cancel(), Math.random() * 20);
    });

const fickle = (behaviour: string, weight: number, wanted: readonly string[] = ['OK']): CallKind => ({
  name: `fickle ${behaviour}`,
  weight,
  destination: 'fickle-svc',
  make: unary('fickle-svc', { path: '/fickle.Fickle/Do', wanted, headers: { 'x-behaviour': behaviour } }),
});

/** All calls of grpc-js clients. What has to come of each follows from how it is made. */
export const callKinds: readonly CallKind[] = [
  { name: 'unary', weight: 30, destination: 'steady-svc', make: unary('steady-svc') },
  { name: 'unary large', weight: 6, destination: 'steady-svc', make: unary('steady-svc', { body: () => oneOf(largeBodies) }) },
  { name: 'server stream', weight: 6, destination: 'steady-svc', make: serverStream('steady-svc', 40, 4_096, 0) },
  { name: 'slow reader', weight: 2, destination: 'steady-svc', make: serverStream('steady-svc', 40, 32_768, 25) },
  { name: 'client stream', weight: 6, destination: 'steady-svc', make: clientStream('steady-svc') },
  { name: 'bidi stream', weight: 6, destination: 'steady-svc', make: talk('steady-svc', 10) },
  { name: 'cancelled mid-stream', weight: 4, destination: 'steady-svc', make: talk('steady-svc', 10, 3) },
  { name: 'cancelled anywhere', weight: 4, destination: 'steady-svc', make: cancelAnywhere('steady-svc') },
  { name: 'deadline', weight: 4, destination: 'steady-svc', make: deadline('steady-svc') },
  { name: 'mortal unary', weight: 8, destination: 'mortal-svc', make: unary('mortal-svc') },
  { name: 'mortal bidi stream', weight: 3, destination: 'mortal-svc', make: talk('mortal-svc', 10) },
  { name: 'mortal large', weight: 2, destination: 'mortal-svc', make: unary('mortal-svc', { body: () => oneOf(largeBodies) }) },
  { name: 'passing unary', weight: 5, destination: 'passing-svc', make: unary('passing-svc') },
  fickle('late', 4),
  fickle('unavailable-once', 4),
  fickle('trailers-once', 3),
  fickle('refuse-once', 3),
  fickle('cut-once', 1),
  fickle('go-away', 1),
  // Tried again until num_retries is used up; the last attempt may lose its connection to a neighbour's `cut-once`.
  fickle('unavailable', 1, ['UNAVAILABLE', 'UNAVAILABLE connection_lost']),
  fickle('no-such-thing', 2, ['NOT_FOUND']),
  fickle('half-then-reset', 2, ['INTERNAL upstream_reset']),
];
