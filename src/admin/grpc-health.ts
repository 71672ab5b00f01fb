import {
  type ServerUnaryCall,
  type ServerWritableStream,
  type sendUnaryData,
  status,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import type { ServingStatus } from '../grpc/index.ts';

interface HealthCheckRequest {
  readonly service: string;
}
interface HealthCheckResponse {
  readonly status: ServingStatus;
}
type Watcher = ServerWritableStream<HealthCheckRequest, HealthCheckResponse>;

/** Streams of `Watch` at once: each is memory that a client holds here. */
const mostWatchers = 1_000;

/** `grpc.health.v1.Health` over states that somebody else keeps; those who watch are told of changes alone. */
export class GrpcHealth {
  readonly #watchers = new Map<Watcher, ServingStatus>();
  #statuses: ReadonlyMap<string, ServingStatus> = new Map();

  /** The services that there are, each with its state. */
  update(statuses: ReadonlyMap<string, ServingStatus>): void {
    this.#statuses = statuses;
    for (const [watcher, told] of this.#watchers) {
      const now = this.#of(watcher.request.service);
      if (now === told) continue;
      this.#watchers.set(watcher, now);
      watcher.write({ status: now });
    }
  }

  /** Ends what is watched, so that the server can end in order. */
  close(): void {
    for (const watcher of this.#watchers.keys()) watcher.end();
    this.#watchers.clear();
  }

  get watchers(): number {
    return this.#watchers.size;
  }

  readonly implementation: UntypedServiceImplementation = {
    Check: (call: ServerUnaryCall<HealthCheckRequest, HealthCheckResponse>, reply: sendUnaryData<HealthCheckResponse>): void => {
      const { service } = call.request;
      const found = this.#statuses.get(service);
      if (found !== undefined) reply(null, { status: found });
      else reply({ code: status.NOT_FOUND, details: `no service of that name here; there are ${this.#names()}` });
    },
    Watch: (call: Watcher): void => {
      if (this.#watchers.size >= mostWatchers) {
        call.emit('error', { code: status.RESOURCE_EXHAUSTED, details: `${mostWatchers} calls watch already` });
        return;
      }
      const now = this.#of(call.request.service);
      this.#watchers.set(call, now);
      call.on('cancelled', () => {
        this.#watchers.delete(call);
        call.end();
      });
      call.write({ status: now });
    },
    List: (_call: ServerUnaryCall<object, object>, reply: sendUnaryData<object>): void => {
      reply(null, { statuses: Array.from(this.#statuses, ([key, now]) => ({ key, value: { status: now } })) });
    },
  };

  #of(service: string): ServingStatus {
    return this.#statuses.get(service) ?? 'SERVICE_UNKNOWN';
  }

  #names(): string {
    return Array.from(this.#statuses.keys(), (name) => `"${name}"`).join(', ');
  }
}
