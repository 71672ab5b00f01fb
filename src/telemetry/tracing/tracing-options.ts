import type { CallTracerOptions } from './call-tracer.ts';

/** Where spans go. */
export type SpanDestination = JaegerDestination | OtlpDestination;

/** Jaeger's own thrift: by UDP to an agent, or with `endpoint` by HTTP to a collector. */
export interface JaegerDestination {
  readonly kind: 'jaeger';
  readonly host: string;
  readonly port: number;
  /** A URL, in the place of host and port; `undefined`: UDP. */
  readonly endpoint: string | undefined;
  readonly username: string | undefined;
  readonly password: string | undefined;
}

export interface OtlpDestination {
  readonly kind: 'otlp';
  readonly protocol: 'grpc' | 'http/protobuf';
  /** A URL; with HTTP that of the traces. */
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  readonly compression: 'none' | 'gzip';
  /** Paths of PEM files; `undefined`: those of the system, and none. */
  readonly caPath: string | undefined;
  readonly certPath: string | undefined;
  readonly keyPath: string | undefined;
}

/** Of the queue between calls and exporters. */
export interface SpanQueueOptions {
  /** Spans that wait, at most; what comes then is dropped. */
  readonly maxQueueSize: number;
  readonly maxExportBatchSize: number;
  readonly scheduledDelayMs: number;
  readonly exportTimeoutMs: number;
}

export interface TracingOptions extends CallTracerOptions {
  readonly destinations: readonly SpanDestination[];
  readonly queue: SpanQueueOptions;
  /** Beside `service.name`, which is the service's unless this has another. */
  readonly resource: Readonly<Record<string, string>>;
}

const userOfUrl = /(?<=\/\/)[^/?#\s@]*(?=@)/;

/** For people: a URL without its user and password. */
export const describeDestination = (destination: SpanDestination): string => {
  const udp = destination.kind === 'jaeger' && destination.endpoint === undefined;
  return udp ? `udp://${destination.host}:${destination.port}` : String(urlOf(destination)).replace(userOfUrl, '(hidden)');
};

/** What else helps where a collector is reached by TLS. */
export const tlsRemedy = ({ url }: OtlpDestination): string =>
  url.startsWith('https:')
    ? '; by TLS its certificate has to be of an authority in OTEL_EXPORTER_OTLP_CERTIFICATE, and it may want OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE'
    : '';

const urlOf = (destination: SpanDestination): string | undefined => (destination.kind === 'otlp' ? destination.url : destination.endpoint);

/** Name or address of whoever gets the spans. */
export const hostOfDestination = (destination: SpanDestination): string => {
  const url = urlOf(destination);
  if (url !== undefined && URL.canParse(url)) return new URL(url).hostname.replace(/^\[|\]$/g, '');
  return destination.kind === 'jaeger' ? destination.host : '';
};
