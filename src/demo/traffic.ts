import {
  type CallOptions,
  Client,
  type ClientDuplexStream,
  type ClientReadableStream,
  type ClientUnaryCall,
  type ClientWritableStream,
  credentials,
  Metadata,
  type ServiceError,
  type StatusObject,
  status,
} from '@grpc/grpc-js';
import type { PackageDefinition } from '@grpc/proto-loader';
import type { Clock, Timer } from '../core/index.ts';
import type { CallOutcome } from './ledger.ts';
import {
  type AuthenticateReply,
  type AuthenticateRequest,
  type CollectReply,
  type DemoServiceName,
  demoServices,
  type Event,
  type GetProfileRequest,
  type Lesson,
  loadDemoProtocol,
  methodIn,
  type Profile,
  type Receipt,
  type WatchLessonsRequest,
} from './protocol.ts';

export interface TrafficOptions {
  readonly clock: Clock;
  readonly callsPerSecond: number;
  /** Where to reach a service: `host:port` of an outbound port, or in a test of the service itself. */
  readonly addressOf: (service: DemoServiceName) => string;
  readonly onOutcome: (outcome: CallOutcome) => void;
}

type Answered = { readonly degraded: string } | undefined;
type Done = (error: Partial<ServiceError> | null, answered?: Answered) => void;
type AnyCall = ClientUnaryCall | ClientReadableStream<Lesson> | ClientWritableStream<Event> | ClientDuplexStream<Event, Receipt>;

interface Kind {
  readonly method: string;
  readonly service: DemoServiceName;
  readonly passes: number;
  start(client: Client, options: CallOptions, done: Done): AnyCall;
}

// Beyond every route's timeout, so that it is the mesh's deadline that one sees.
const callerDeadlineMs = 15_000;
const mostInFlight = 500;
const itemsPerStream = 5;

/** Truth about streamed answers: a stream that ends OK with a part missing is a failure that no status tells of. */
const incomplete = (got: number): Partial<ServiceError> => ({
  code: status.DATA_LOSS,
  details: `${got} of ${itemsPerStream} messages came, and the call ended with OK`,
  metadata: new Metadata(),
});

/** One kind of call for each of the four shapes that gRPC has, and one that goes on to a second service. */
const kindsOf = (protocol: PackageDefinition): readonly Kind[] => {
  const authenticate = methodIn<AuthenticateRequest, AuthenticateReply>(protocol, 'auth.AuthService', 'Authenticate');
  const getProfile = methodIn<GetProfileRequest, Profile>(protocol, 'learner.LearnerService', 'GetProfile');
  const watchLessons = methodIn<WatchLessonsRequest, Lesson>(protocol, 'learner.LearnerService', 'WatchLessons');
  const collect = methodIn<Event, CollectReply>(protocol, 'events.EventCollectorService', 'Collect');
  const exchange = methodIn<Event, Receipt>(protocol, 'events.EventCollectorService', 'Exchange');
  const user = 'ada';
  return [
    {
      method: 'Authenticate',
      service: 'auth-svc',
      passes: 4,
      start: (client, options, done) =>
        client.makeUnaryRequest(
          authenticate.path,
          authenticate.requestSerialize,
          authenticate.responseDeserialize,
          { user },
          new Metadata(),
          options,
          (error, reply) => done(error, reply?.withoutProfile ? { degraded: reply.reason } : undefined),
        ),
    },
    {
      method: 'GetProfile',
      service: 'learner-svc',
      passes: 2,
      start: (client, options, done) =>
        client.makeUnaryRequest(
          getProfile.path,
          getProfile.requestSerialize,
          getProfile.responseDeserialize,
          { user },
          new Metadata(),
          options,
          (error) => done(error),
        ),
    },
    {
      method: 'WatchLessons',
      service: 'learner-svc',
      passes: 2,
      start: (client, options, done) => {
        const { path, requestSerialize, responseDeserialize } = watchLessons;
        const call = client.makeServerStreamRequest(
          path,
          requestSerialize,
          responseDeserialize,
          { user, count: itemsPerStream },
          new Metadata(),
          options,
        );
        return countAnswers(call, done);
      },
    },
    {
      method: 'Collect',
      service: 'event-collector-svc',
      passes: 2,
      start: (client, options, done) => {
        const { path, requestSerialize, responseDeserialize } = collect;
        const call = client.makeClientStreamRequest(path, requestSerialize, responseDeserialize, new Metadata(), options, (error, reply) =>
          done(error ?? (reply?.received === itemsPerStream ? null : incomplete(reply?.received ?? 0))),
        );
        return writeEvents(call);
      },
    },
    {
      method: 'Exchange',
      service: 'event-collector-svc',
      passes: 2,
      start: (client, options, done) => {
        const { path, requestSerialize, responseDeserialize } = exchange;
        const call = client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, new Metadata(), options);
        countAnswers(call, done);
        return writeEvents(call);
      },
    },
  ];
};

const countAnswers = <C extends ClientReadableStream<Lesson> | ClientDuplexStream<Event, Receipt>>(call: C, done: Done): C => {
  let got = 0;
  call.on('data', () => got++);
  // The status is told by 'status'; without a listener 'error' would end the process.
  call.on('error', () => {});
  call.on('status', (end: StatusObject) => done(end.code === status.OK ? (got === itemsPerStream ? null : incomplete(got)) : end));
  return call;
};

const writeEvents = <C extends ClientWritableStream<Event>>(call: C): C => {
  for (let number = 1; number <= itemsPerStream; number++) call.write({ number, kind: 'lesson_done' });
  call.end();
  return call;
};

/** Makes calls of every kind in turn, at a steady rate, from one grpc-js client per service. */
export class Traffic {
  readonly #options: TrafficOptions;
  readonly #kinds = kindsOf(loadDemoProtocol());
  readonly #clients = new Map<DemoServiceName, Client>();
  readonly #inFlight = new Set<AnyCall>();
  #timer: Timer | undefined;
  #begun = 0;
  #startedMs = 0;
  #ending = false;
  #onIdle: (() => void) | undefined;

  constructor(options: TrafficOptions) {
    this.#options = options;
  }

  get inFlight(): number {
    return this.#inFlight.size;
  }

  start(): void {
    for (const service of demoServices) this.#clients.set(service, this.#clientOf(service));
    this.#startedMs = this.#options.clock.now();
    this.#tick();
  }

  /** One call of every kind, at once; for a look at whether everything answers. */
  callEachKindOnce(): void {
    if (this.#clients.size === 0) for (const service of demoServices) this.#clients.set(service, this.#clientOf(service));
    for (const kind of this.#kinds) this.#begin(kind);
  }

  /** Begins no more calls, gives those in flight `graceMs`, cancels the rest, closes the connections. */
  async stop(graceMs: number): Promise<void> {
    this.#timer?.cancel();
    const idle = new Promise<void>((resolve) => {
      this.#onIdle = resolve;
      if (this.#inFlight.size === 0) resolve();
    });
    const grace = this.#options.clock.setTimer(() => {
      this.#ending = true;
      for (const call of this.#inFlight) call.cancel();
    }, graceMs);
    await idle;
    grace.cancel();
    for (const client of this.#clients.values()) client.close();
    this.#clients.clear();
  }

  #clientOf(service: DemoServiceName): Client {
    return new Client(this.#options.addressOf(service), credentials.createInsecure(), {
      'grpc.default_authority': service,
      'grpc.enable_retries': 0,
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 1_000,
    });
  }

  readonly #tick = (): void => {
    const { clock, callsPerSecond } = this.#options;
    // Paced by the clock, not by the number of ticks: timers come late on a busy machine, and the rate must not sag with them.
    const due = Math.floor(((clock.now() - this.#startedMs) * callsPerSecond) / 1_000) + 1;
    for (; this.#begun < due; this.#begun++) {
      const kind = this.#kinds[this.#begun % this.#kinds.length];
      if (kind !== undefined && this.#inFlight.size < mostInFlight) this.#begin(kind);
    }
    const nextMs = this.#startedMs + (this.#begun * 1_000) / callsPerSecond;
    this.#timer = clock.setTimer(this.#tick, Math.max(1, nextMs - clock.now()));
  };

  #begin({ method, service, passes, start }: Kind): void {
    const client = this.#clients.get(service);
    if (client === undefined) return;
    const { clock, onOutcome } = this.#options;
    const startedMs = clock.now();
    const call = start(client, { deadline: clock.wallNow() + callerDeadlineMs }, (error, answered) => {
      if (!this.#inFlight.delete(call)) return;
      const result = error === null ? (answered === undefined ? 'ok' : 'degraded') : this.#ending ? 'ended' : 'failed';
      const reason = error === null ? (answered?.degraded ?? '') : reasonOf(error);
      onOutcome({ method, service, passes, startedMs, durationMs: clock.now() - startedMs, result, reason, message: error?.details ?? '' });
      if (this.#inFlight.size === 0) this.#onIdle?.();
    });
    this.#inFlight.add(call);
  }
}

const reasonOf = ({ metadata, code }: Partial<ServiceError>): string => {
  const reason = metadata?.get('x-outrider-reason')[0];
  return reason === undefined ? (status[code ?? status.UNKNOWN] ?? 'UNKNOWN') : String(reason);
};
