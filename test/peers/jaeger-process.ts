import { freePort, untilAnswering } from '../harness/ports.ts';
import { type Program, spawnProgram } from '../harness/program.ts';

/** A span as Jaeger's query API has it. */
export interface JaegerSpan {
  readonly traceID: string;
  readonly spanID: string;
  readonly operationName: string;
  readonly references: readonly { readonly refType: string; readonly traceID: string; readonly spanID: string }[];
  /** Microseconds since the Unix epoch. */
  readonly startTime: number;
  readonly duration: number;
  readonly tags: readonly { readonly key: string; readonly value: unknown }[];
  readonly logs: readonly { readonly timestamp: number; readonly fields: readonly { readonly key: string; readonly value: unknown }[] }[];
  readonly processID: string;
}

export interface JaegerTrace {
  readonly traceID: string;
  readonly spans: readonly JaegerSpan[];
  readonly processes: Readonly<
    Record<string, { readonly serviceName: string; readonly tags?: readonly { readonly key: string; readonly value: unknown }[] }>
  >;
}

const portNames = [
  'admin',
  'collectorGrpc',
  'collectorHttp',
  'otlpGrpc',
  'otlpHttp',
  'sampling',
  'binary',
  'compact',
  'zipkin',
  'queryGrpc',
  'query',
] as const;
type Ports = Record<(typeof portNames)[number], number>;

const argumentsFor = (ports: Ports): readonly string[] => {
  const at = (port: number): string => `127.0.0.1:${port}`;
  return [
    `--admin.http.host-port=${at(ports.admin)}`,
    `--collector.grpc-server.host-port=${at(ports.collectorGrpc)}`,
    `--collector.http-server.host-port=${at(ports.collectorHttp)}`,
    `--collector.otlp.grpc.host-port=${at(ports.otlpGrpc)}`,
    `--collector.otlp.http.host-port=${at(ports.otlpHttp)}`,
    `--http-server.host-port=${at(ports.sampling)}`,
    `--processor.jaeger-binary.server-host-port=${at(ports.binary)}`,
    `--processor.jaeger-compact.server-host-port=${at(ports.compact)}`,
    `--processor.zipkin-compact.server-host-port=${at(ports.zipkin)}`,
    `--query.grpc-server.host-port=${at(ports.queryGrpc)}`,
    `--query.http-server.host-port=${at(ports.query)}`,
    `--reporter.grpc.host-port=${at(ports.collectorGrpc)}`,
  ];
};

const mostAttempts = 3;
const patienceMs = 20_000;

/** A real Jaeger, all of it in one process and its memory, on free ports of 127.0.0.1. */
export class JaegerProcess implements AsyncDisposable {
  readonly ports: Ports;
  readonly #program: Program;

  private constructor(ports: Ports, program: Program) {
    this.ports = ports;
    this.#program = program;
  }

  /** @param path of the binary, from `peerProgram('jaeger')`. */
  static async start(path: string): Promise<JaegerProcess> {
    for (let attempt = 1; ; attempt++) {
      const free = await Promise.all(portNames.map(async (name) => [name, await freePort()] as const));
      const ports = Object.fromEntries(free) as Ports;
      const program = spawnProgram(path, argumentsFor(ports), { env: { PATH: process.env['PATH'], SPAN_STORAGE_TYPE: 'memory' } });
      const jaeger = new JaegerProcess(ports, program);
      try {
        await untilAnswering(program, async () => (await jaeger.#status()) === 200);
        return jaeger;
      } catch (error) {
        const taken = program.stderr.includes('address already in use');
        await program[Symbol.asyncDispose]();
        if (!taken || attempt === mostAttempts) throw error;
      }
    }
  }

  async #status(): Promise<number> {
    try {
      const { status } = await fetch(`http://127.0.0.1:${this.ports.admin}/`, { headers: { connection: 'close' } });
      return status;
    } catch {
      return 0;
    }
  }

  /** The trace of that id, as soon as it has so many spans. */
  async trace(traceId: string, spans: number): Promise<JaegerTrace> {
    const deadline = performance.now() + patienceMs;
    for (;;) {
      const found = await this.find(traceId);
      if (found !== undefined && found.spans.length >= spans) return found;
      if (performance.now() > deadline)
        throw new Error(`Jaeger has ${found?.spans.length ?? 0} spans of trace ${traceId} after ${patienceMs} ms, and not ${spans}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** What it has of the trace of that id now; `undefined`: nothing. */
  async find(traceId: string): Promise<JaegerTrace | undefined> {
    const answer = await fetch(`http://127.0.0.1:${this.ports.query}/api/traces/${traceId}`, { headers: { connection: 'close' } });
    const { data } = (await answer.json()) as { readonly data: readonly JaegerTrace[] | null };
    return data?.[0];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#program[Symbol.asyncDispose]();
  }
}
