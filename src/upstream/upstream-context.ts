import type { Logger, SocketBudget, Watch } from '../core/index.ts';
import type { EndpointSource } from '../discovery/index.ts';
import type { Engine, Http2Options } from '../http2/index.ts';
import type { Identity, TlsVersion } from '../identity/index.ts';
import type { EndpointSourcePolicy } from '../policy/index.ts';
import type { ZoneView } from '../resilience/index.ts';

/** What all clusters of one sidecar share; handed in, so that ten sidecars in one process share nothing by accident. */
export interface UpstreamContext {
  /** Brings the clock and the timer wheel with it. */
  readonly engine: Engine;
  readonly log: Logger;
  /** From 0 to 1, for balancers. */
  readonly random: () => number;
  /** Our certificate. Each new connection uses the one of that moment. `undefined`: only clusters with `tls: { mode: disable }` can be called. */
  readonly identity: Watch<Identity> | undefined;
  readonly trustDomain: string;
  readonly tlsMinimum: TlsVersion;
  /** The endpoints of a service; usually `createEndpointSource` of the discovery room. */
  readonly createSource: (policy: EndpointSourcePolicy, serviceName: string) => EndpointSource;
  /** Whether `createSource` knows services by their names alone, so that clusters may be made on demand. */
  readonly discoversNames?: boolean;
  /** Which connections are part of; without it there is no limit. */
  readonly sockets?: SocketBudget;
  /** Where this sidecar runs, `region/zone`, and the name of the service beside it, whose instances call as we do; `''`: not known. */
  readonly locality?: string;
  readonly serviceName?: string;
  /** For balancers that prefer our own zone; made by the set of clusters. */
  readonly zones?: ZoneView;
  /** The endpoints of a cluster are others than before, or others are healthy. */
  readonly onMembersChanged?: (clusterName: string) => void;
  /** Limits of the connections that we open; the engine's defaults unless given. */
  readonly http2?: Http2Options;
}
