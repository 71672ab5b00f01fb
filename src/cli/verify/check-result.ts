/** `warning`: works, and will not for long, or surprises somebody. `skipped`: could not be looked at, for the reason that `detail` has. */
export const outcomes = ['ok', 'warning', 'failed', 'skipped'] as const;
export type Outcome = (typeof outcomes)[number];

/** One thing that was looked at, in words for people. */
export interface CheckResult {
  /** Stable, such as `certificate.dates`: scripts rely on it. */
  readonly check: string;
  readonly outcome: Outcome;
  readonly detail: string;
  /** A command for a shell, with what else there is to say as its comment. Always there with `failed` and `warning`. */
  readonly remedy?: string;
}

/** What was found out about the mesh as a whole, or about one instance of a service. */
export interface CheckGroup {
  /** `undefined`: the mesh. */
  readonly service: string | undefined;
  /** The id in the catalogue; `undefined` where there is none. */
  readonly instance: string | undefined;
  /** `host:port` of the inbound listener, where it is known. */
  readonly address: string | undefined;
  readonly results: readonly CheckResult[];
}

export const ok = (check: string, detail: string): CheckResult => ({ check, outcome: 'ok', detail });
export const skipped = (check: string, detail: string): CheckResult => ({ check, outcome: 'skipped', detail });
export const failed = (check: string, detail: string, remedy: string): CheckResult => ({ check, outcome: 'failed', detail, remedy });
export const warning = (check: string, detail: string, remedy: string): CheckResult => ({ check, outcome: 'warning', detail, remedy });
