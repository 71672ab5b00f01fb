import type { HealthCheckFailure } from '../../resilience/index.ts';

/** What a check has found. */
export type ProbeVerdict =
  | { readonly kind: 'passed'; readonly why: string }
  | {
      readonly kind: 'failed';
      readonly failure: HealthCheckFailure;
      readonly why: string;
    }
  /** Nothing was learned of the endpoint: the reason is here. */
  | { readonly kind: 'unlearned'; readonly why: string };

/** One check after another of one endpoint. */
export interface Probe {
  /** Begins a check, unless one is under way; its verdict may come before this returns. */
  begin(): void;
  /** Ends the check that is under way without a verdict. */
  cancel(): void;
}

export type OnVerdict = (verdict: ProbeVerdict) => void;
