import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server as HttpServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { Server, ServerCredentials, type UntypedServiceImplementation } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

interface KeyValue {
  readonly key: string;
  readonly value: { readonly string_value?: string };
}
interface Point {
  readonly attributes: readonly KeyValue[];
  readonly start_time_unix_nano: string;
  readonly time_unix_nano: string;
  readonly as_double?: number;
  readonly count?: string;
  readonly sum?: number;
  readonly bucket_counts?: readonly string[];
  readonly explicit_bounds?: readonly number[];
}
interface Data {
  readonly data_points: readonly Point[];
  readonly aggregation_temporality?: string;
  readonly is_monotonic?: boolean;
}
export interface ReceivedMetric {
  readonly name: string;
  readonly description: string;
  readonly unit: string;
  readonly gauge?: Data;
  readonly sum?: Data;
  readonly histogram?: Data;
}
interface Request {
  readonly resource_metrics: readonly {
    readonly resource: { readonly attributes: readonly KeyValue[] };
    readonly scope_metrics: readonly { readonly scope: { readonly name: string }; readonly metrics: readonly ReceivedMetric[] }[];
  }[];
}

const definition = loadSync(join(import.meta.dirname, 'metrics-service.proto'), {
  keepCase: true,
  longs: String,
  enums: String,
  oneofs: false,
});
const service = definition['opentelemetry.proto.collector.metrics.v1.MetricsService'] as unknown as {
  readonly Export: { requestDeserialize(bytes: Buffer): Request };
};

export const labelsOf = (attributes: readonly KeyValue[]): Record<string, string> =>
  Object.fromEntries(attributes.map(({ key, value }) => [key, value.string_value ?? '?']));

/** How it treats a request: takes it, refuses it, or never answers. */
export type Manner = 'takes' | 'refuses' | 'hangs';

/** What stands in for a collector of OpenTelemetry: the service of the published definition, which keeps what it is sent. */
export abstract class StandInCollector implements AsyncDisposable {
  readonly requests: { readonly request: Request; readonly headers: Readonly<Record<string, unknown>> }[] = [];
  manner: Manner = 'takes';
  /** Requests that it has seen, however it treats them. */
  asked = 0;

  abstract readonly port: number;
  abstract [Symbol.asyncDispose](): Promise<void>;

  protected keep(bytes: Buffer | Request, headers: Readonly<Record<string, unknown>>): void {
    this.requests.push({ request: Buffer.isBuffer(bytes) ? service.Export.requestDeserialize(bytes) : bytes, headers });
  }

  /** The newest points of a metric. */
  metric(name: string): ReceivedMetric | undefined {
    return this.requests
      .flatMap(({ request }) => request.resource_metrics.flatMap(({ scope_metrics }) => scope_metrics.flatMap(({ metrics }) => metrics)))
      .findLast((metric) => metric.name === name);
  }

  async until(condition: () => boolean, what: string, patienceMs = 10_000): Promise<void> {
    const deadline = performance.now() + patienceMs;
    while (!condition()) {
      assert.ok(performance.now() < deadline, `not after ${patienceMs} ms: ${what}`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}

export class StandInHttpCollector extends StandInCollector {
  readonly #server: HttpServer = createServer((incoming, outgoing) => {
    const chunks: Buffer[] = [];
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
    incoming.on('end', () => {
      this.asked++;
      if (this.manner === 'hangs') return;
      if (this.manner === 'refuses' || incoming.url !== '/v1/metrics') {
        outgoing.writeHead(404).end();
        return;
      }
      const body = Buffer.concat(chunks);
      this.keep(incoming.headers['content-encoding'] === 'gzip' ? gunzipSync(body) : body, incoming.headers);
      outgoing.writeHead(200, { 'content-type': 'application/x-protobuf' }).end();
    });
  });

  static async listen(): Promise<StandInHttpCollector> {
    const collector = new StandInHttpCollector();
    collector.#server.listen(0, '127.0.0.1');
    await once(collector.#server, 'listening');
    return collector;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}

export class StandInGrpcCollector extends StandInCollector {
  readonly #server = new Server();
  port = 0;

  static async listen(): Promise<StandInGrpcCollector> {
    const collector = new StandInGrpcCollector();
    collector.#server.addService(
      service as never,
      {
        Export: (
          call: { request: Request; metadata: { getMap(): Record<string, unknown> } },
          done: (error: unknown, answer?: object) => void,
        ) => {
          collector.asked++;
          if (collector.manner === 'hangs') return;
          if (collector.manner === 'refuses') {
            done({ code: 12, details: 'this collector takes traces only' });
            return;
          }
          collector.keep(call.request, call.metadata.getMap());
          done(null, {});
        },
      } as unknown as UntypedServiceImplementation,
    );
    collector.port = await new Promise<number>((resolve, reject) =>
      collector.#server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) =>
        error ? reject(error) : resolve(port),
      ),
    );
    return collector;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.forceShutdown();
  }
}
