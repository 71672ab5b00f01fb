import { type Server, type ServerUnaryCall, type ServerWritableStream, type sendUnaryData, status } from '@grpc/grpc-js';
import type { PackageDefinition } from '@grpc/proto-loader';
import { serviceIn } from './protocol.ts';

export type ServingStatus = 'SERVING' | 'NOT_SERVING';

interface HealthCheckRequest {
  readonly service: string;
}
interface HealthCheckResponse {
  readonly status: ServingStatus | 'SERVICE_UNKNOWN';
}
type Watcher = ServerWritableStream<HealthCheckRequest, HealthCheckResponse>;

/** The gRPC health protocol for a server of the demo; the empty name is the server as a whole. */
export class HealthService {
  readonly #statuses = new Map<string, ServingStatus>();
  readonly #watchers = new Set<Watcher>();

  constructor(services: readonly string[]) {
    for (const service of ['', ...services]) this.#statuses.set(service, 'SERVING');
  }

  addTo(server: Server, protocol: PackageDefinition): void {
    server.addService(serviceIn(protocol, 'grpc.health.v1.Health'), {
      Check: (call: ServerUnaryCall<HealthCheckRequest, HealthCheckResponse>, reply: sendUnaryData<HealthCheckResponse>) => {
        const serving = this.#statuses.get(call.request.service);
        if (serving === undefined) reply({ code: status.NOT_FOUND, details: `unknown service ${call.request.service}` });
        else reply(null, { status: serving });
      },
      Watch: (call: Watcher) => {
        this.#watchers.add(call);
        call.on('cancelled', () => {
          this.#watchers.delete(call);
          call.end();
        });
        call.write({ status: this.#statuses.get(call.request.service) ?? 'SERVICE_UNKNOWN' });
      },
    });
  }

  set(service: string, serving: ServingStatus): void {
    this.#statuses.set(service, serving);
    for (const watcher of this.#watchers) if (watcher.request.service === service) watcher.write({ status: serving });
  }

  /** Ends what is watched, so that a server can shut down in order. */
  close(): void {
    for (const watcher of this.#watchers) watcher.end();
    this.#watchers.clear();
  }
}
