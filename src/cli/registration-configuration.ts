import type { SettingReader } from './configuration.ts';
import type { RegistrationCheckKind } from './settings.ts';

/** What of this instance is registered, beside what is only known once it listens. */
export interface RegistrationConfiguration {
  /** `undefined`: that of the default route's interface. */
  readonly address: string | undefined;
  readonly tags: readonly string[];
  readonly weight: number;
  /** `region/zone/sub_zone`. */
  readonly locality: string | undefined;
  readonly check: RegistrationCheckKind;
  /** `undefined`: the service itself, and for `http` the admin port's `/ready`. */
  readonly target: string | undefined;
  readonly ttlMs: number;
  /** 0: a critical instance stays. */
  readonly deregisterAfterMs: number;
}

const shortestTtlMs = 1_000;

export const readRegistration = (reader: SettingReader, hasConsul: boolean): RegistrationConfiguration | undefined => {
  const check = reader.get('registrationCheck') ?? 'ttl';
  const target = reader.get('registrationCheckTarget');
  const ttlMs = reader.get('registrationTtlMs') ?? 0;
  const configuration = {
    address: reader.get('serviceAddress'),
    tags: reader.get('serviceTags') ?? [],
    weight: reader.get('serviceWeight') ?? 1,
    locality: reader.get('locality'),
    check,
    target,
    ttlMs,
    deregisterAfterMs: reader.get('deregisterAfterMs') ?? 0,
  };
  const isUrl = target?.startsWith('http') ?? false;
  if (target !== undefined && (check === 'ttl' || check === 'none')) {
    reader.problems.push(`REGISTRATION_CHECK_TARGET: REGISTRATION_CHECK=${check} asks nobody; write REGISTRATION_CHECK=grpc, tcp or http`);
  } else if (target !== undefined && isUrl !== (check === 'http')) {
    const write = check === 'http' ? 'http://127.0.0.1:8080/healthz' : '127.0.0.1:8080';
    reader.problems.push(`REGISTRATION_CHECK_TARGET: "${target}" is nothing for REGISTRATION_CHECK=${check}; write ${write}`);
  }
  if (check === 'ttl' && ttlMs < shortestTtlMs) {
    reader.problems.push('REGISTRATION_TTL: less than 1s takes the service out at every hiccup; write REGISTRATION_TTL=12s');
  }
  return hasConsul && reader.get('registration') === 'on' ? configuration : undefined;
};
