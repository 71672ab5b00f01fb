import { readFileSync } from 'node:fs';
import { ConfigurationError } from '../core/index.ts';
import type { OtlpDestination } from './tracing/tracing-options.ts';

/** What the library's exporters want to know of a collector, whatever they send there. Its types name compressions by an enumeration. */
const common = ({ compression, timeoutMs, url }: OtlpDestination) => ({
  url,
  timeoutMillis: timeoutMs,
  compression: compression as never,
});

export const httpOptions = (destination: OtlpDestination) => ({ ...common(destination), headers: { ...destination.headers } });

/** Rejects with a ConfigurationError for files that cannot be read. */
export const grpcOptions = async (destination: OtlpDestination) => {
  const { credentials, Metadata } = await import('@grpc/grpc-js');
  const { ca, cert, key } = tlsOptions(destination);
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(destination.headers)) metadata.set(name, value);
  const secured = destination.url.startsWith('https:');
  return {
    ...common(destination),
    metadata,
    credentials: secured ? credentials.createSsl(ca ?? null, key ?? null, cert ?? null) : credentials.createInsecure(),
  };
};

/** The PEM files that are named, and nothing for the others. Throws a ConfigurationError for one that cannot be read. */
export const tlsOptions = ({ caPath, certPath, keyPath }: OtlpDestination): { ca?: Buffer; cert?: Buffer; key?: Buffer } => ({
  ...(caPath === undefined ? {} : { ca: readPem(caPath) }),
  ...(certPath === undefined ? {} : { cert: readPem(certPath) }),
  ...(keyPath === undefined ? {} : { key: readPem(keyPath) }),
});

const readPem = (path: string): Buffer => {
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
