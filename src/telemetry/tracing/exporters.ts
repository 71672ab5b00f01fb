import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import type { SpanExporter } from '@opentelemetry/sdk-trace';
import { grpcOptions, httpOptions, tlsOptions } from '../otlp-connection.ts';
import { sendWritten } from './jaeger-sender.ts';
import { JaegerOutput } from './jaeger-spans.ts';
import { OtlpOutput, otlpRequestWriter } from './otlp-spans.ts';
import type { SpanResource } from './span-resource.ts';
import { SpanWriter, type WrittenSpan } from './span-writer.ts';
import type { JaegerDestination, OtlpDestination, SpanDestination } from './tracing-options.ts';

export interface LoadedExporter {
  readonly exporter: SpanExporter;
  /** Ends requests under way, as far as the library lets anybody. */
  abort(): void;
  /** Writes spans as the exporter sends them; `undefined`: it takes them as they are. */
  readonly writer: SpanWriter | undefined;
}

const nothing = (): void => {};

/**
 * Libraries are loaded when somebody has asked for what they do: they are tens of megabytes, and most sidecars need none or one of them.
 * @param timeoutMs how long an export may take.
 */
export const loadExporter = (destination: SpanDestination, resource: SpanResource, timeoutMs: number): Promise<LoadedExporter> => {
  if (destination.kind === 'jaeger') return loadJaeger(destination, resource, timeoutMs);
  // What has been given up must not go on by itself.
  const bounded = { ...destination, timeoutMs: Math.min(destination.timeoutMs, timeoutMs) };
  return destination.protocol === 'grpc' ? loadOtlpGrpc(bounded) : loadOtlpHttp(bounded);
};

const loadJaeger = async (
  { endpoint, host, password, port, username }: JaegerDestination,
  resource: SpanResource,
  timeoutMs: number,
): Promise<LoadedExporter> => {
  const { JaegerExporter } = await import('@opentelemetry/exporter-jaeger');
  const { 'service.name': serviceName, ...described } = resource.attributes;
  const options = {
    // Of the process, once in a packet.
    tags: Object.entries(described).map(([key, value]) => ({ key, value: String(value) })),
    host,
    port,
    timeoutMs,
    // Each export sends what it got: at the end nothing is left to send, and the timer for that would outlive it by two seconds.
    flushTimeout: 0,
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
  };
  const exporter = new JaegerExporter(options);
  const sender = sendWritten(exporter, String(serviceName));
  if (sender === undefined) return { exporter, abort: nothing, writer: undefined };
  const { _httpAgent: agent, _maxSpanBytes: mostBytes } = sender;
  if (agent !== undefined) endSilentSockets(agent);
  return { exporter, abort: agent === undefined ? nothing : () => endAgent(agent), writer: new SpanWriter(new JaegerOutput(), mostBytes) };
};

/** The library says when a socket has been silent for too long, and leaves it open. */
const endSilentSockets = (agent: HttpAgent): void => {
  const connect = agent.createConnection.bind(agent);
  agent.createConnection = (...options) => {
    const socket = connect(...options);
    socket?.on('timeout', () => socket.destroy(new Error('no answer')));
    return socket;
  };
};

const loadOtlpHttp = async (destination: OtlpDestination): Promise<LoadedExporter> => {
  const { OTLPTraceExporter } = await import('@opentelemetry/exporter-trace-otlp-proto');
  const tls = tlsOptions(destination);
  // Ours, since the library waits for requests under way before it ends.
  const agent = destination.url.startsWith('https:') ? new HttpsAgent({ keepAlive: true, ...tls }) : new HttpAgent({ keepAlive: true });
  const exporter = new OTLPTraceExporter({ ...httpOptions(destination), httpAgentOptions: () => agent });
  const writer = serialiseBy(exporter, otlpRequestWriter()) ? new SpanWriter(new OtlpOutput()) : undefined;
  return { exporter, abort: () => endAgent(agent), writer };
};

interface OtlpInternals {
  readonly _delegate?: { _serializer?: { serializeRequest(spans: readonly WrittenSpan[]): Uint8Array | undefined } };
}

/** Has the library send what `serialise` writes. It offers no place for that: where there is none, it writes spans by itself, and this is false. */
const serialiseBy = (exporter: unknown, serialise: (spans: readonly WrittenSpan[]) => Uint8Array): boolean => {
  const delegate = (exporter as OtlpInternals)._delegate;
  const own = delegate?._serializer;
  if (delegate === undefined || own === undefined || !('deserializeResponse' in own)) return false;
  delegate._serializer = { ...own, serializeRequest: serialise };
  return true;
};

/** The library tries again what is cut off: there is nothing to connect with any more. */
const endAgent = (agent: HttpAgent): void => {
  agent.createConnection = () => {
    throw new Error('the sidecar ends');
  };
  agent.destroy();
};

const loadOtlpGrpc = async (destination: OtlpDestination): Promise<LoadedExporter> => {
  const { OTLPTraceExporter } = await import('@opentelemetry/exporter-trace-otlp-grpc');
  const exporter = new OTLPTraceExporter(await grpcOptions(destination));
  const writer = serialiseBy(exporter, otlpRequestWriter()) ? new SpanWriter(new OtlpOutput()) : undefined;
  return { exporter, abort: nothing, writer };
};
