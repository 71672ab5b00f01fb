import { hostname } from 'node:os';
import type { SettingReader } from './configuration.ts';

/** What traces and metrics say of where they are from; `service.name` where it is another than SERVICE_NAME. */
export const readResource = (
  reader: SettingReader,
  serviceVersion: string | undefined,
  version: string,
): Readonly<Record<string, string>> => {
  const grpcPort = reader.get('grpcPort');
  const serviceName = reader.get('otelServiceName');
  return {
    ...(serviceVersion === undefined ? {} : { 'service.version': serviceVersion }),
    // Two sidecars of one machine differ in their ports; where the system chooses them, in their processes.
    'service.instance.id': `${hostname()}:${grpcPort || process.pid}`,
    'host.name': hostname(),
    'telemetry.sdk.name': 'outrider',
    'telemetry.sdk.language': 'nodejs',
    'telemetry.sdk.version': version,
    ...reader.get('resourceAttributes'),
    ...(serviceName === undefined ? {} : { 'service.name': serviceName }),
  };
};
