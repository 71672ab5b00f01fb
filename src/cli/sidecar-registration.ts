import { type Clock, formatHostPort, type Logger, type Watch, WatchSource } from '../core/index.ts';
import { type ConsulDiscovery, findOwnAddress, Registration, type RegistrationCheck, type ServiceReport } from '../discovery/index.ts';
import type { LocalHealth } from '../upstream/index.ts';
import type { SidecarConfiguration } from './configuration.ts';
import type { RegistrationConfiguration } from './registration-configuration.ts';

export interface RegistrationContext {
  readonly consul: ConsulDiscovery;
  readonly clock: Clock;
  readonly log: Logger;
  readonly random: () => number;
  /** What is really bound. */
  readonly inboundPort: number;
  readonly adminPort: number;
  readonly health: Watch<LocalHealth>;
}

const consulIntervalMs = 5_000;

/** How the catalogue is told of the service: what nobody has looked at yet gets no calls, what nobody is to look at does. */
const reportOf = ({ state, why }: LocalHealth, isChecked: boolean): ServiceReport => {
  const status = state === 'serving' || (state === 'unknown' && !isChecked) ? 'passing' : 'critical';
  return { status, output: why };
};

const checkOf = (
  { check, target, ttlMs }: RegistrationConfiguration,
  { localServiceHost, localServicePort, adminAddress }: SidecarConfiguration,
  adminPort: number,
): RegistrationCheck => {
  switch (check) {
    case 'ttl':
      return { kind: 'ttl', ttlMs };
    case 'http': {
      const url =
        target ?? `http://${formatHostPort({ host: adminAddress === '0.0.0.0' ? '127.0.0.1' : adminAddress, port: adminPort })}/ready`;
      return { kind: 'http', url, intervalMs: consulIntervalMs };
    }
    case 'grpc':
    case 'tcp': {
      const tls = target?.startsWith('tls://') ?? false;
      const plain = (target ?? formatHostPort({ host: localServiceHost, port: localServicePort })).replace(/^tls:\/\//, '');
      return { kind: check, target: plain, tls, intervalMs: consulIntervalMs };
    }
    case 'none':
      return { kind: 'none' };
  }
};

/** `region/zone/sub_zone` as metadata; what is empty is left out. */
const localityMeta = (locality: string | undefined): Readonly<Record<string, string>> => {
  const [region = '', zone = '', subZone = ''] = (locality ?? '').split('/');
  return Object.fromEntries(Object.entries({ region, zone, sub_zone: subZone }).filter(([, value]) => value !== ''));
};

const scopeOf = ({ consul }: SidecarConfiguration): Readonly<Record<string, string>> => ({
  ...(consul?.namespace ? { ns: consul.namespace } : {}),
  ...(consul?.partition ? { partition: consul.partition } : {}),
});

/** The registration of the service beside a sidecar that listens; it has not begun yet. */
export const createRegistration = async (
  settings: RegistrationConfiguration,
  configuration: SidecarConfiguration,
  { consul, clock, log, random, inboundPort, adminPort, health }: RegistrationContext,
): Promise<Registration> => {
  const { serviceName, serviceVersion, trustDomain, localServiceHealthIntervalMs } = configuration;
  const address = settings.address ?? (await findOwnAddress());
  const isChecked = localServiceHealthIntervalMs > 0;
  const report = new WatchSource(reportOf(health.value, isChecked));
  // Both live as long as the sidecar.
  health.subscribe((value) => report.set(reportOf(value, isChecked)));
  return new Registration({
    client: consul.client,
    clock,
    log,
    random,
    service: {
      id: `${serviceName}-${address}-${inboundPort}`,
      name: serviceName,
      address,
      port: inboundPort,
      tags: ['protocol=grpc', ...(serviceVersion === undefined ? [] : [`version=${serviceVersion}`]), ...settings.tags],
      meta: {
        protocol: 'grpc',
        trust_domain: trustDomain,
        admin_port: String(adminPort),
        ...(serviceVersion === undefined ? {} : { version: serviceVersion }),
        ...localityMeta(settings.locality),
      },
      weight: settings.weight,
    },
    scope: scopeOf(configuration),
    check: checkOf(settings, configuration, adminPort),
    health: report,
    deregisterAfterMs: settings.deregisterAfterMs,
  });
};
