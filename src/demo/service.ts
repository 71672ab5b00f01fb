import {
  Client,
  credentials,
  Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceError,
  type sendUnaryData,
  status,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import type { PackageDefinition } from '@grpc/proto-loader';
import { ReflectionService } from '@grpc/reflection';
import type { Clock } from '../core/index.ts';
import { HealthService } from './health.ts';
import {
  type AuthenticateReply,
  type AuthenticateRequest,
  type CollectReply,
  type DemoServiceName,
  type Event,
  type GetProfileRequest,
  grpcServiceOf,
  type Lesson,
  loadDemoProtocol,
  methodIn,
  type Profile,
  type Receipt,
  serviceIn,
  type WatchLessonsRequest,
} from './protocol.ts';

/** How a service misbehaves, changed while it runs. */
export interface Misbehaviour {
  /** Milliseconds that every call waits before it is looked at. */
  delayMs: number;
  /** Every call whose number can be divided by this fails with UNAVAILABLE; 0 for none. */
  failEvery: number;
}

export interface DemoServiceOptions {
  readonly name: DemoServiceName;
  readonly clock: Clock;
  /** 0 lets the system choose. */
  readonly port?: number;
}

// A proxied call says by these headers which trace it belongs to; a service only has to pass them on.
const traceHeaders = ['traceparent', 'tracestate'];

/** One plain grpc-js server of the demo mesh, on loopback, with health and reflection. It knows nothing of the mesh but its outbound port. */
export class DemoService {
  readonly name: DemoServiceName;
  readonly misbehaviour: Misbehaviour = { delayMs: 0, failEvery: 0 };
  readonly #clock: Clock;
  readonly #protocol: PackageDefinition = loadDemoProtocol();
  readonly #server = new Server();
  readonly #health: HealthService;
  #peers: Client | undefined;
  #calls = 0;
  #port = 0;

  private constructor({ name, clock }: DemoServiceOptions) {
    this.name = name;
    this.#clock = clock;
    this.#health = new HealthService([grpcServiceOf[name]]);
  }

  /** Resolves when the service listens. Rejects where the port is taken. */
  static async start(options: DemoServiceOptions): Promise<DemoService> {
    const service = new DemoService(options);
    await service.#listen(options.port ?? 0);
    return service;
  }

  get port(): number {
    return this.#port;
  }

  /** Where this service reaches its peers: the outbound port of its own sidecar, or in a test the peer itself. */
  connect(outboundAddress: string): void {
    this.#peers?.close();
    this.#peers = new Client(outboundAddress, credentials.createInsecure(), {
      'grpc.default_authority': 'learner-svc',
      'grpc.enable_retries': 0,
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 1_000,
    });
  }

  /** Ends what is in flight, too. Idempotent. */
  stop(): void {
    this.#health.close();
    this.#peers?.close();
    this.#server.forceShutdown();
  }

  async #listen(port: number): Promise<void> {
    this.#server.addService(serviceIn(this.#protocol, grpcServiceOf[this.name]), this.#implementation());
    this.#health.addTo(this.#server, this.#protocol);
    new ReflectionService(this.#protocol, { services: [grpcServiceOf[this.name], 'grpc.health.v1.Health'] }).addToServer(this.#server);
    this.#port = await new Promise((resolve, reject) => {
      this.#server.bindAsync(`127.0.0.1:${port}`, ServerCredentials.createInsecure(), (error, bound) =>
        error ? reject(error) : resolve(bound),
      );
    });
  }

  #implementation(): UntypedServiceImplementation {
    switch (this.name) {
      case 'auth-svc':
        return { Authenticate: this.#authenticate };
      case 'learner-svc':
        return { GetProfile: this.#getProfile, WatchLessons: this.#watchLessons };
      case 'event-collector-svc':
        return { Collect: this.#collect, Exchange: this.#exchange };
    }
  }

  /** Lets a call through at once, late, or not at all. */
  #admit(proceed: () => void, fail: (error: Partial<ServiceError>) => void): void {
    const { delayMs, failEvery } = this.misbehaviour;
    this.#calls++;
    if (failEvery > 0 && this.#calls % failEvery === 0) {
      fail({ code: status.UNAVAILABLE, details: `planted fault: every call number ${failEvery} fails` });
    } else if (delayMs > 0) this.#clock.setTimer(proceed, delayMs);
    else proceed();
  }

  readonly #authenticate = (
    call: ServerUnaryCall<AuthenticateRequest, AuthenticateReply>,
    reply: sendUnaryData<AuthenticateReply>,
  ): void => {
    const { user } = call.request;
    const answer = (displayName: string, reason?: string): void =>
      reply(null, { token: `token-of-${user}`, displayName, withoutProfile: reason !== undefined, reason: reason ?? '' });
    this.#admit(
      () => {
        if (this.#peers === undefined) return answer('guest', 'no_outbound');
        const getProfile = methodIn<GetProfileRequest, Profile>(this.#protocol, 'learner.LearnerService', 'GetProfile');
        const metadata = new Metadata();
        for (const header of traceHeaders) for (const value of call.metadata.get(header)) metadata.set(header, value);
        const { path, requestSerialize, responseDeserialize } = getProfile;
        // `parent` hands the caller's deadline and cancellation on. Without the profile somebody can still log in.
        this.#peers.makeUnaryRequest(
          path,
          requestSerialize,
          responseDeserialize,
          { user },
          metadata,
          { parent: call },
          (error, profile) => {
            if (error) answer('guest', String(error.metadata.get('x-outrider-reason')[0] ?? status[error.code]));
            else answer(profile?.displayName ?? 'guest');
          },
        );
      },
      (error) => reply(error),
    );
  };

  readonly #getProfile = (call: ServerUnaryCall<GetProfileRequest, Profile>, reply: sendUnaryData<Profile>): void => {
    const { user } = call.request;
    this.#admit(
      () => reply(null, { user, displayName: `Learner ${user}` }),
      (error) => reply(error),
    );
  };

  readonly #watchLessons = (call: ServerWritableStream<WatchLessonsRequest, Lesson>): void => {
    this.#admit(
      () => {
        for (let number = 1; number <= Math.min(call.request.count, 1_000); number++) call.write({ number, title: `Lesson ${number}` });
        call.end();
      },
      (error) => call.emit('error', error),
    );
  };

  readonly #collect = (call: ServerReadableStream<Event, CollectReply>, reply: sendUnaryData<CollectReply>): void => {
    this.#admit(
      () => {
        let received = 0;
        call.on('data', () => received++);
        call.on('end', () => reply(null, { received }));
      },
      (error) => reply(error),
    );
  };

  readonly #exchange = (call: ServerDuplexStream<Event, Receipt>): void => {
    this.#admit(
      () => {
        call.on('data', (event: Event) => call.write({ number: event.number }));
        call.on('end', () => call.end());
      },
      (error) => call.emit('error', error),
    );
  };
}
