/** What one registry takes at most, so that neither a mistake nor a stranger makes it grow without end. */
export interface RegistryLimits {
  readonly services: number;
  readonly checks: number;
  readonly keys: number;
  /** Of all values together. */
  readonly valueBytes: number;
  readonly connections: number;
  /** Blocking queries that wait at one time. */
  readonly waiting: number;
}

export const defaultLimits: RegistryLimits = {
  services: 10_000,
  checks: 20_000,
  keys: 10_000,
  valueBytes: 64 * 2 ** 20,
  connections: 4_096,
  waiting: 4_000,
};

/** Consul's own limit for a value. */
export const longestValueBytes = 512 * 1_024;
export const longestDefinitionBytes = 128 * 1_024;
/** Consul's `check_output_max_size`. */
export const longestOutput = 4_096;
export const longestName = 512;
/** Consul's own limits for the metadata of a service. */
export const metaPairs = 64;
export const longestMetaKey = 128;
export const longestMetaValue = 512;
/** Consul's: whoever names no `wait` waits 5 minutes, and nobody more than 10. */
export const usualWaitMs = 300_000;
export const longestWaitMs = 600_000;
/** Consul takes nobody out earlier, whatever `DeregisterCriticalServiceAfter` says. */
export const shortestDeregisterMs = 60_000;
