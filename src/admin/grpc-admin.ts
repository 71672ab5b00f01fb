import { fileURLToPath } from 'node:url';
import { logVerbosity, Server, ServerCredentials, type ServiceDefinition, setLogVerbosity } from '@grpc/grpc-js';
import { loadSync, type PackageDefinition } from '@grpc/proto-loader';
import { ReflectionService } from '@grpc/reflection';
import { bracketed, ConfigurationError, type Timer } from '../core/index.ts';
import { GrpcHealth } from './grpc-health.ts';
import type { GrpcAdminHandle, GrpcAdminOptions } from './load-grpc-admin.ts';

/** Readiness depends on things that tell nobody when they change (memory, the event loop), so that it is looked at. */
const lookMs = 1_000;
/** Whoever asks here asks for a name. */
const longestMessageBytes = 4_096;
const mostStreams = 100;

/** Health and reflection of the sidecar itself, on grpc-js: no call of the mesh comes near it. */
export class GrpcAdmin implements GrpcAdminHandle {
  readonly port: number;
  readonly #options: GrpcAdminOptions;
  readonly #server: Server;
  readonly #health: GrpcHealth;
  #timer: Timer | undefined;

  private constructor(options: GrpcAdminOptions, server: Server, health: GrpcHealth, port: number) {
    this.#options = options;
    this.#server = server;
    this.#health = health;
    this.port = port;
    this.#look();
  }

  /** Listens. Rejects with a ConfigurationError where the port cannot be had. */
  static async start(options: GrpcAdminOptions): Promise<GrpcAdmin> {
    const { address, port } = options;
    // Our log is JSON, and what it has to say comes back as an error.
    setLogVerbosity(logVerbosity.NONE);
    const protocol = loadProtocol();
    const server = new Server({ 'grpc.max_receive_message_length': longestMessageBytes, 'grpc.max_concurrent_streams': mostStreams });
    const health = new GrpcHealth();
    health.update(options.statuses());
    server.addService(protocol['grpc.health.v1.Health'] as ServiceDefinition, health.implementation);
    new ReflectionService(protocol).addToServer(server);
    const host = bracketed(address);
    const bound = await new Promise<number>((resolve, reject) => {
      server.bindAsync(`${host}:${port}`, ServerCredentials.createInsecure(), (error, actual) => {
        if (error === null) resolve(actual);
        else {
          server.forceShutdown();
          const why = /EADDRINUSE/.test(error.message) ? 'is in use' : `cannot be had (${error.message})`;
          reject(new ConfigurationError(`ADMIN_GRPC_PORT: ${host}:${port} ${why}`, { remedy: 'choose another port' }));
        }
      });
    });
    return new GrpcAdmin(options, server, health, bound);
  }

  /** Something has changed: those who watch hear it now. */
  refresh(): void {
    this.#health.update(this.#options.statuses());
  }

  /** Ends everything now. Idempotent. */
  close(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#health.close();
    this.#server.forceShutdown();
  }

  #look(): void {
    this.refresh();
    this.#timer = this.#options.clock.setTimer(() => this.#look(), lookMs);
  }
}

const loadProtocol = (): PackageDefinition =>
  loadSync('grpc/health/v1/health.proto', {
    includeDirs: [fileURLToPath(new URL('../../proto/', import.meta.url))],
    keepCase: true,
    enums: String,
    defaults: true,
  });
