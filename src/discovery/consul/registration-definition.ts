import { formatHostPort } from '../../core/index.ts';

/** The service as it stands in the catalogue. */
export interface RegisteredService {
  /** The same after each restart, and no other instance's. */
  readonly id: string;
  readonly name: string;
  readonly address: string;
  readonly port: number;
  readonly tags: readonly string[];
  readonly meta: Readonly<Record<string, string>>;
  /** Share of the calls while its checks pass; 1 while one warns. */
  readonly weight: number;
}

/**
 * How Consul learns whether the service is well: `ttl` by what the sidecar says again and again; `grpc`, `tcp` and `http` by looking
 * for itself, beside which it looks whether the sidecar's own port answers; `none` not at all.
 */
export type RegistrationCheck =
  | { readonly kind: 'ttl'; readonly ttlMs: number }
  | {
      readonly kind: 'grpc' | 'tcp';
      /** `host:port`. */
      readonly target: string;
      readonly tls: boolean;
      readonly intervalMs: number;
    }
  | { readonly kind: 'http'; readonly url: string; readonly intervalMs: number }
  | { readonly kind: 'none' };

export type ReportedStatus = 'passing' | 'warning' | 'critical';

/** What the sidecar knows of the service beside it. */
export interface ServiceReport {
  readonly status: ReportedStatus;
  /** For people; stands in the catalogue beside the status. */
  readonly output: string;
}

const longestCheckMs = 5_000;

const duration = (ms: number): string => `${ms}ms`;

/** The id under which the check of the service stands, whichever kind it is: another kind takes its place. */
export const checkIdOf = ({ id }: RegisteredService): string => `service:${id}`;

const ownChecks = (service: RegisteredService, check: RegistrationCheck): readonly object[] => {
  const CheckID = checkIdOf(service);
  switch (check.kind) {
    case 'ttl':
      return [{ CheckID, Name: `${service.name}, as its sidecar sees it`, TTL: duration(check.ttlMs) }];
    case 'grpc':
    case 'tcp': {
      const asked =
        check.kind === 'grpc'
          ? { GRPC: check.target, GRPCUseTLS: check.tls }
          : { TCP: check.target, ...(check.tls ? { TCPUseTLS: true } : {}) };
      const TLSServerName = check.tls ? { TLSServerName: service.name } : {};
      return [{ CheckID, Name: `${service.name} by ${check.kind}`, ...asked, ...TLSServerName, ...timesOf(check.intervalMs) }];
    }
    case 'http':
      return [{ CheckID, Name: `${service.name} by http`, HTTP: check.url, ...timesOf(check.intervalMs) }];
    case 'none':
      return [];
  }
};

const timesOf = (intervalMs: number): object => ({
  Interval: duration(intervalMs),
  Timeout: duration(Math.min(intervalMs, longestCheckMs)),
});

/** Where Consul asks the service itself, nobody would say that the sidecar before it has died. */
const sidecarCheck = (service: RegisteredService, check: RegistrationCheck): readonly object[] => {
  if (check.kind === 'ttl' || check.kind === 'none') return [];
  const TCP = formatHostPort({ host: service.address, port: service.port });
  const CheckID = `${checkIdOf(service)}:sidecar`;
  return [{ CheckID, Name: `sidecar of ${service.name}`, TCP, ...timesOf(check.intervalMs) }];
};

/** The body of `/v1/agent/service/register`. @param report the status from which a TTL check begins: no gap between the two requests. */
export const registrationBody = (
  service: RegisteredService,
  check: RegistrationCheck,
  report: ServiceReport,
  deregisterAfterMs: number,
): object => {
  const after = deregisterAfterMs > 0 ? { DeregisterCriticalServiceAfter: duration(deregisterAfterMs) } : {};
  const status = check.kind === 'ttl' ? { Status: report.status } : {};
  return {
    ID: service.id,
    Name: service.name,
    Address: service.address,
    Port: service.port,
    Tags: service.tags,
    Meta: service.meta,
    Weights: { Passing: service.weight, Warning: 1 },
    Checks: [...ownChecks(service, check), ...sidecarCheck(service, check)].map((one) => ({ ...one, ...after, ...status })),
  };
};
