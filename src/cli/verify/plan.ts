import type { TlsVersion } from '../../identity/index.ts';
import type { Address } from './address.ts';

/** Files of a client of the mesh, read. */
export interface ClientIdentity {
  readonly caPath: string;
  readonly certPath: string;
  readonly caPem: string;
  readonly certPem: string;
  readonly keyPem: string;
}

/** What is to be verified, and against what; made of options and environment. */
export interface VerifyPlan {
  /** Empty: every service that a sidecar has registered. */
  readonly services: readonly string[];
  /** Admin ports by hand, by service. */
  readonly admins: ReadonlyMap<string, readonly Address[]>;
  /** The outbound listener of a sidecar. */
  readonly via: Address | undefined;
  readonly identity: ClientIdentity | undefined;
  readonly trustDomain: string;
  readonly tlsMinimum: TlsVersion;
  /** Base addresses without a slash at the end. */
  readonly prometheus: string | undefined;
  readonly jaeger: string | undefined;
  readonly timeoutMs: number;
  /** How long exporters may take to send a trace, and Jaeger to show it. */
  readonly traceTimeoutMs: number;
  /** How long Prometheus may take to find a sidecar, and to scrape it for the first time. */
  readonly scrapeTimeoutMs: number;
  readonly clockSkewMs: number;
  readonly expiryWarningMs: number;
  readonly expiryFailureMs: number;
  /** False: services may have policies of their own, and only instances of one are compared. */
  readonly samePoliciesEverywhere: boolean;
}
