import { readFileSync } from 'node:fs';
import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import type { SpanExporter } from '@opentelemetry/sdk-trace';
import { ConfigurationError } from '../../core/index.ts';
import { otlpRequestWriter, type WrittenSpan } from './otlp-spans.ts';
import type { SpanResource } from './span-resource.ts';
import type { JaegerDestination, OtlpDestination, SpanDestination } from './tracing-options.ts';

export interface LoadedExporter {
  readonly exporter: SpanExporter;
  /** Ends requests under way, as far as the library lets anybody. */
  abort(): void;
  /** It takes spans that are written already (`WrittenSpan`). */
  readonly takesWritten: boolean;
}

const nothing = (): void => {};

/** Libraries are loaded when somebody has asked for what they do: they are tens of megabytes, and most sidecars need none or one of them. */
export const loadExporter = (destination: SpanDestination, resource: SpanResource): Promise<LoadedExporter> => {
  if (destination.kind === 'jaeger') return loadJaeger(destination, resource);
  return destination.protocol === 'grpc' ? loadOtlpGrpc(destination) : loadOtlpHttp(destination);
};

const loadJaeger = async (
  { endpoint, host, password, port, username }: JaegerDestination,
  resource: SpanResource,
): Promise<LoadedExporter> => {
  const { JaegerExporter } = await import('@opentelemetry/exporter-jaeger');
  const tags = Object.entries(resource.attributes).flatMap(([key, value]) =>
    key === 'service.name' ? [] : [{ key, value: String(value) }],
  );
  const exporter = new JaegerExporter({
    // Of the process, once in a packet.
    tags,
    host,
    port,
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
  });
  // Its own end closes what it has open.
  return { exporter, abort: nothing, takesWritten: false };
};

const loadOtlpHttp = async (destination: OtlpDestination): Promise<LoadedExporter> => {
  const { OTLPTraceExporter } = await import('@opentelemetry/exporter-trace-otlp-proto');
  const { ca, cert, key } = readPems(destination);
  const options = {
    keepAlive: true,
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  };
  // Ours, since the library waits for requests under way before it ends.
  const agent = destination.url.startsWith('https:') ? new HttpsAgent(options) : new HttpAgent({ keepAlive: true });
  const exporter = new OTLPTraceExporter({
    url: destination.url,
    headers: destination.headers,
    timeoutMillis: destination.timeoutMs,
    compression: destination.compression as never,
    httpAgentOptions: () => agent,
  });
  const takesWritten = serialiseBy(exporter, otlpRequestWriter());
  return { exporter, abort: () => endAgent(agent), takesWritten };
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
  const [{ OTLPTraceExporter }, { credentials, Metadata }] = await Promise.all([
    import('@opentelemetry/exporter-trace-otlp-grpc'),
    import('@grpc/grpc-js'),
  ]);
  const { ca, cert, key } = readPems(destination);
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(destination.headers)) metadata.set(name, value);
  const exporter = new OTLPTraceExporter({
    url: destination.url,
    metadata,
    timeoutMillis: destination.timeoutMs,
    compression: destination.compression as never,
    credentials: destination.url.startsWith('https:')
      ? credentials.createSsl(ca ?? null, key ?? null, cert ?? null)
      : credentials.createInsecure(),
  });
  const takesWritten = serialiseBy(exporter, otlpRequestWriter());
  return { exporter, abort: nothing, takesWritten };
};

export const readPems = ({ caPath, certPath, keyPath }: OtlpDestination) => ({
  ca: readPem(caPath),
  cert: readPem(certPath),
  key: readPem(keyPath),
});

const readPem = (path: string | undefined): Buffer | undefined => {
  if (path === undefined) return undefined;
  try {
    return readFileSync(path);
  } catch (error) {
    throw new ConfigurationError(`cannot read ${path} of the OTLP exporter: ${(error as Error).message}`, {
      remedy:
        'Write the path of a PEM file that this user may read into OTEL_EXPORTER_OTLP_CERTIFICATE, _CLIENT_CERTIFICATE and _CLIENT_KEY',
      cause: error,
    });
  }
};
