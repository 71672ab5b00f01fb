import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { TestContext } from 'node:test';
import { JsonLogger, SystemClock } from '../../../src/core/index.ts';
import type { EndedCall } from '../../../src/telemetry/index.ts';
import { CallSpan } from '../../../src/telemetry/tracing/call-span.ts';
import { CallTrace } from '../../../src/telemetry/tracing/call-trace.ts';
import { FinishedCall } from '../../../src/telemetry/tracing/finished-call.ts';
import { SpanExport } from '../../../src/telemetry/tracing/span-export.ts';
import type {
  JaegerDestination,
  OtlpDestination,
  SpanDestination,
  SpanQueueOptions,
} from '../../../src/telemetry/tracing/tracing-options.ts';

export const otlp = (url: string, more: Partial<OtlpDestination> = {}): OtlpDestination => ({
  kind: 'otlp',
  protocol: 'http/protobuf',
  url,
  headers: { 'x-tenant': 'shop' },
  timeoutMs: 300,
  compression: 'none',
  caPath: undefined,
  certPath: undefined,
  keyPath: undefined,
  ...more,
});
export const jaeger = (more: Partial<JaegerDestination>): JaegerDestination => ({
  kind: 'jaeger',
  host: '127.0.0.1',
  port: 6832,
  endpoint: undefined,
  username: undefined,
  password: undefined,
  ...more,
});

const call: Partial<EndedCall> = {
  direction: 'outbound',
  fate: 'ok',
  grpcStatus: 0,
  path: '/acme.Echo/Call',
  authority: 'echo',
  routeName: 'echo-route',
  attempts: 1,
  peerAddress: '127.0.0.1:5',
};

export interface Exporting {
  readonly spans: SpanExport;
  readonly log: readonly Readonly<Record<string, unknown>>[];
  add(count: number): void;
  stat(name: string): number;
}

/** @param described what is said of the process beside its name. */
export const exporting = async (
  t: TestContext,
  destination: SpanDestination,
  queue: Partial<SpanQueueOptions> = {},
  described: Readonly<Record<string, string>> = {},
): Promise<Exporting> => {
  const clock = new SystemClock();
  const log: Record<string, unknown>[] = [];
  const options = { maxQueueSize: 100, maxExportBatchSize: 10, scheduledDelayMs: 1, exportTimeoutMs: 1_000, ...queue };
  const spans = new SpanExport(
    { ...described, 'service.name': 'auth-svc' },
    { destinations: [destination], queue: options },
    { clock, log: new JsonLogger(clock, (line) => void log.push(JSON.parse(line)), 'debug') },
  );
  t.after(() => spans.close(0));
  await spans.load();
  return {
    spans,
    log,
    add: (count) => {
      for (let i = 0; i < count; i++) {
        const finished = new FinishedCall(call as EndedCall, new CallTrace().begin(1, 2, 3, i + 1, 0, 0, 4, 5, 8), 0, 1, Date.now());
        spans.add(new CallSpan(finished, spans.resource));
      }
    },
    stat: (name) => {
      let found = Number.NaN;
      const take = (each: string, value: number): void => {
        if (each === `tracing.${name}`) found = value;
      };
      spans.collectStats({ counter: take, gauge: take });
      return found;
    },
  };
};

export interface Collector {
  readonly url: string;
  readonly received: { readonly request: IncomingMessage; readonly body: Buffer }[];
  readonly connections: number;
}

/** A collector that does as it is told, which need not be right. */
export const collecting = async (t: TestContext, answer: (response: ServerResponse, index: number) => void): Promise<Collector> => {
  const received: Collector['received'] = [];
  const sockets = new Set<Socket>();
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      received.push({ request, body: Buffer.concat(chunks) });
      answer(response, received.length - 1);
    });
  }).listen(0, '127.0.0.1');
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  await new Promise((resolve) => server.once('listening', resolve));
  t.after(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/traces`,
    received,
    get connections() {
      return sockets.size;
    },
  };
};
