// Above 500 lines: the one place that knows all connections of an endpoint, and who waits for them; ages, queues and health checks have files of their own.
import { formatHostPort, type MeshError } from '../core/index.ts';
import type { EndpointAddress } from '../discovery/index.ts';
import { type Connection, type Engine, ErrorCode, type Http2Counters, type Stream, TokenBucket } from '../http2/index.ts';
import type { PeerIdentity } from '../identity/index.ts';
import type { ClusterPolicy } from '../policy/index.ts';
import type {
  Breaker,
  ConcurrencyLimit,
  ConcurrencyLimits,
  EndpointMetadata,
  OutlierHost,
  PeakLatency,
  PooledEndpoint,
  ReportedLoad,
} from '../resilience/index.ts';
import { AgedConnections } from './aged-connections.ts';
import { type ClusterStats, EndpointStats } from './cluster-stats.ts';
import { type ConnectTarget, endpointClosed, endpointRemoved, pendingTooLong, settingsFailure, tooManyPending } from './connect-failure.ts';
import type { EndpointChecker } from './health/endpoint-checker.ts';
import type { KeepaliveOptions } from './keepalive.ts';
import { PendingCalls } from './pending-calls.ts';
import type { StreamWaiter } from './stream-waiter.ts';
import { UpstreamConnection, type UpstreamConnectionOwner } from './upstream-connection.ts';
import type { UpstreamContext } from './upstream-context.ts';

/** How an attempt ended, for the endpoint's statistics. */
export type EndpointOutcome = 'success' | 'error' | 'timeout' | 'cancelled';

/** What an endpoint needs of its cluster. */
export interface EndpointOwner {
  readonly name: string;
  readonly policy: ClusterPolicy;
  readonly stats: ClusterStats;
  readonly limits: ConcurrencyLimits;
  readonly http2Counters: Http2Counters;
  readonly context: UpstreamContext;
  /** A connection has ended: whoever was held back by `max_connections` may connect. */
  onConnectionGone(): void;
  /** It was removed, and its last connection has ended. */
  onEndpointGone(endpoint: Endpoint): void;
  /** A connection could be made, or the endpoint did not take one. */
  onConnectResult(endpoint: Endpoint, connected: boolean): void;
}

/** Why no call is to go to an endpoint; each is one bit of `Endpoint.unhealthyFor`. */
export const Unhealthy = {
  /** Outlier detection has ejected it. */
  ejected: 1,
  /** It fails its health checks. */
  failedCheck: 2,
  /** It has not passed its first health check yet. */
  uncheckedYet: 4,
} as const;

/** Of an endpoint that was never called; nothing is ever put in. */
const nobody: Set<UpstreamConnection> = new Set();
const longestKeepaliveMs = 7_200_000;
/**
 * Connections that may be replaced for their resets at once, and per second: whoever cancels without end gets no more of them, unless
 * half of what a connection carries is dead already.
 */
const replacementBurst = 16;
const replacementsPerSecond = 2;

/**
 * One place where a cluster can be reached, with its connections. There is one connection as long as one is enough, since
 * calls that share a connection share its writes and TLS records; another one is made only while the peer's
 * MAX_CONCURRENT_STREAMS (or the cluster's own) is used up.
 */
export class Endpoint implements PooledEndpoint, UpstreamConnectionOwner {
  readonly key: string;
  readonly stats = new EndpointStats();
  /** Its own breaker, where the cluster's scope is `endpoint`. Belongs to the cluster. */
  breaker: Breaker | undefined = undefined;
  /** Attempts that go on; for the balancer. */
  activeRequests = 0;
  weight: number;
  latency: PeakLatency | undefined = undefined;
  reportedLoad: ReportedLoad | undefined = undefined;
  priority: number;
  locality: string;
  localityWeight: number | undefined;
  metadata: EndpointMetadata | undefined;
  /** No call is to go to it: see `unhealthyFor`. */
  healthy = true;
  /** Belongs to the cluster. */
  outlier: OutlierHost | undefined = undefined;
  readonly sinceMs: number;

  /** Whoever checks its health. Belongs to the cluster. */
  checker: EndpointChecker | undefined = undefined;

  readonly #owner: EndpointOwner;
  readonly #target: ConnectTarget;
  /** Made for the first call that has to wait: of thousands of endpoints a sidecar calls some. */
  #waiters: PendingCalls | undefined = undefined;
  /** A health check that waits for a connection: it stands before the calls, and takes none of their room. */
  #waitingCheck: StreamWaiter | undefined = undefined;
  #unhealthyFor = 0;
  /** Those that take calls. */
  readonly #ready: UpstreamConnection[] = [];
  #connecting: Set<UpstreamConnection> = nobody;
  #retired: Set<UpstreamConnection> = nobody;
  #address: EndpointAddress;
  #removed: 'no' | 'removed' | 'closed' = 'no';
  /** Streams that a new connection of this peer allows at once; unknown (taken for enough) before the first one. */
  #capacityPerConnection = Number.POSITIVE_INFINITY;
  #keepaliveFactor = 1;
  #replacements: TokenBucket | undefined = undefined;
  #aged: AgedConnections | undefined = undefined;
  /** The last attempt to connect failed, and no call has asked since: those that wait have a connection that works, if a full one. */
  #connectingIsFutile = false;
  #loggedFailure: string | undefined = undefined;

  constructor(address: EndpointAddress, owner: EndpointOwner) {
    this.#address = address;
    this.#owner = owner;
    this.key = formatHostPort(address);
    this.weight = address.weight;
    this.priority = address.priority ?? 0;
    this.locality = address.locality ?? '';
    this.localityWeight = address.localityWeight;
    this.metadata = address.metadata;
    this.sinceMs = owner.context.engine.clock.now();
    this.#target = { cluster: owner.name, endpoint: this.key };
  }

  // ---- for an attempt ----

  /**
   * Returns a connection on which a stream can be opened now, or puts the waiter into the queue and returns `undefined`. A
   * refusal (queue full, no certificate) calls `waiter.onUnavailable` before this returns.
   *
   * @param limits of the call's priority; those of the cluster by default.
   */
  acquire(waiter: StreamWaiter, limits?: ConcurrencyLimits): Connection | undefined {
    const ready = this.#ready;
    for (let i = 0; i < ready.length; i++) {
      const connection = (ready[i] as UpstreamConnection).connection as Connection;
      if (this.#hasRoom(connection)) return connection;
    }
    this.#enqueue(waiter, limits ?? this.#owner.limits);
    return undefined;
  }

  /** The waiter wants nothing any more. Harmless where it does not wait. */
  cancel(waiter: StreamWaiter): void {
    const queue = waiter.waiterQueue;
    if (queue?.remove(waiter)) queue.limits?.pending.leave();
  }

  /** As `acquire`, for a health check: it takes no place in the queue of calls, and is served first. One at a time. */
  acquireForCheck(waiter: StreamWaiter): Connection | undefined {
    for (const { connection } of this.#ready) if (this.#hasRoom(connection as Connection)) return connection;
    if (this.#removed !== 'no') {
      waiter.onUnavailable(endpointClosed(this.#target));
      return undefined;
    }
    this.#waitingCheck = waiter;
    this.connectIfNeeded();
    return undefined;
  }

  /** The health check waits no longer. */
  cancelCheck(waiter: StreamWaiter): void {
    if (this.#waitingCheck === waiter) this.#waitingCheck = undefined;
  }

  /** Some connection takes calls, or would if it were not full. */
  get connected(): boolean {
    return this.#ready.length > 0;
  }

  get engine(): Engine {
    return this.#owner.context.engine;
  }

  /** Why no call is to go to it: bits of `Unhealthy`, 0 where there is no reason. */
  get unhealthyFor(): number {
    return this.#unhealthyFor;
  }

  /** Adds or takes back one reason. Whoever does tells the balancer. */
  setUnhealthy(reason: number, applies: boolean): void {
    this.#unhealthyFor = applies ? this.#unhealthyFor | reason : this.#unhealthyFor & ~reason;
    this.healthy = this.#unhealthyFor === 0;
  }

  /** An attempt has chosen this endpoint. Owes one `end`. */
  begin(): void {
    this.activeRequests++;
    this.stats.rqActive++;
    this.stats.rqTotal++;
    const { stats } = this.#owner;
    stats.upstreamRqActive++;
    stats.upstreamRqTotal++;
  }

  end(outcome: EndpointOutcome): void {
    this.activeRequests--;
    const { stats } = this;
    stats.rqActive--;
    this.#owner.stats.upstreamRqActive--;
    if (outcome === 'success') stats.rqSuccess++;
    else if (outcome === 'error') stats.rqError++;
    else if (outcome === 'timeout') {
      stats.rqTimeout++;
      stats.rqError++;
    }
  }

  /** Tells the server that nobody waits for this stream of ours any more; later, where it would look like an attack. */
  resetStream(stream: Stream, code: number = ErrorCode.cancel): void {
    const { context } = stream.connection;
    if (context instanceof UpstreamConnection) context.resetStream(stream, code);
    else stream.reset(code);
  }

  /** Who is at the other end of a stream of ours, by its certificate; `undefined` without TLS. */
  peerOf({ connection: { context } }: Stream): PeerIdentity | undefined {
    return context instanceof UpstreamConnection ? context.peer : undefined;
  }

  get address(): EndpointAddress {
    return this.#address;
  }

  /** Calls that wait for a connection. */
  get waiting(): number {
    return this.#waiters?.length ?? 0;
  }

  /** Connections of any state. */
  get connections(): number {
    return this.#ready.length + this.#connecting.size + this.#retired.size;
  }

  /** True as soon as it takes no new calls: it is no longer one of the cluster's. */
  get removed(): boolean {
    return this.#removed !== 'no';
  }

  // ---- for the cluster ----

  /** The same host and port, with another weight, place, name or metadata. */
  update(address: EndpointAddress): void {
    const isAnother = address.service !== this.#address.service;
    this.#address = address;
    if (isAnother) this.replaceConnections('service_changed');
    this.weight = address.weight;
    this.priority = address.priority ?? 0;
    this.locality = address.locality ?? '';
    this.localityWeight = address.localityWeight;
    this.metadata = address.metadata;
  }

  /** Connects where calls wait and a connection is missing; at most one attempt at a time unless more calls wait than it will carry. */
  connectIfNeeded(): void {
    while (this.#removed === 'no' && this.#wantedStreams > this.#expectedStreams) {
      // A peer that admits nothing on a fresh connection would not on the next one either.
      if (this.#ready.length > 0 && (this.#capacityPerConnection === 0 || this.#connectingIsFutile)) return;
      const { connections } = this.#connectionLimits;
      // As in Envoy an endpoint without any connection gets one beyond the limit: its calls would wait for ever.
      const alone = this.#ready.length === 0 && this.#connecting.size === 0;
      if (alone) connections.enter();
      else if (this.#isFull) {
        connections.countOverflow();
        return;
      } else if (!connections.tryEnter()) return;
      this.#connect(connections);
    }
  }

  /** New calls get new connections; what goes on goes on. For a changed way of connecting (TLS). */
  replaceConnections(debugData: string): void {
    this.#retireAll(debugData);
    this.#capacityPerConnection = Number.POSITIVE_INFINITY;
    this.connectIfNeeded();
  }

  /** The intervals of the policy have changed. */
  changeKeepalive(): void {
    for (const connection of this.#ready) connection.changeKeepalive(this.#keepalive);
  }

  /** How long calls may wait has changed. */
  changePending(): void {
    this.#waiters?.limitsChanged();
  }

  /** How old its connections may become from here on, 10 % more or less; 0: any age. */
  limitAge(ageMs: number): void {
    for (const connection of this.#ready) connection.limitAge(ageMs);
  }

  /** It is no longer one of the cluster's endpoints: waiting calls are told at once, calls under way finish, then the connections close. */
  drain(debugData: string): void {
    if (this.#removed !== 'no') return;
    this.#removed = 'removed';
    this.#failWaiters(endpointRemoved(this.#target));
    this.#retireAll(debugData);
    this.#reportWhenGone();
  }

  /** Ends everything at once. */
  close(debugData: string): void {
    this.#removed = 'closed';
    this.#failWaiters(endpointClosed(this.#target));
    for (const connection of this.#everyConnection()) {
      const wasConnecting = this.#connecting.delete(connection);
      if (wasConnecting) this.#countGone(connection);
      connection.close(ErrorCode.noError, debugData);
    }
    this.#reportWhenGone();
  }

  /** Closes the connections whose peer is not to be spoken to any more. Returns why not, or `undefined` where it may stay. */
  closePeers(judge: (peer: PeerIdentity) => string | undefined): void {
    for (const connection of this.#everyConnection()) {
      const why = connection.peer === undefined ? undefined : judge(connection.peer);
      if (why === undefined || connection.state === 'connecting') continue;
      this.#owner.context.log.warning('upstream connection closed', { ...this.#target, why });
      connection.close(ErrorCode.noError, why);
    }
  }

  // ---- for its connections ----

  onReady(connection: UpstreamConnection): void {
    this.#connecting.delete(connection);
    this.#ready.push(connection);
    this.#connectingIsFutile = false;
    this.#loggedFailure = undefined;
    this.#capacityPerConnection = Math.min(
      (connection.connection as Connection).peerMaxConcurrentStreams,
      this.#owner.policy.maxConcurrentStreams,
    );
    this.#serve(connection);
    this.#replaceAged();
  }

  onCapacity(connection: UpstreamConnection): void {
    if (this.waiting > 0 || this.#waitingCheck !== undefined) this.#serve(connection);
  }

  onConnectFailed(connection: UpstreamConnection, error: MeshError): void {
    this.#connecting.delete(connection);
    this.stats.cxConnectFail++;
    this.#connectingIsFutile = true;
    this.#aged?.postpone(this.#owner.policy.maxConnectionAgeMs, this.#owner.context.random);
    this.#countGone(connection);
    this.#logFailure(error);
    if (error.reason === 'connect_failure') this.#owner.onConnectResult(this, false);
    // Whoever waits for a connection that works, or is being made, goes on waiting.
    if (this.#connecting.size === 0 && this.#ready.length === 0) this.#failWaiters(error);
    this.#owner.onConnectionGone();
    this.#reportWhenGone();
  }

  onRetired(connection: UpstreamConnection, tooManyPings: boolean): void {
    if (tooManyPings) {
      this.#keepaliveFactor = Math.min(this.#keepaliveFactor * 2, longestKeepaliveMs / Math.max(this.#owner.policy.keepaliveIntervalMs, 1));
      this.changeKeepalive();
    }
    this.#removeReady(connection);
    this.#addRetired(connection);
    this.checker?.onConnectionRetired(connection.connection as Connection);
    this.connectIfNeeded();
  }

  onResetsUsedUp(connection: UpstreamConnection, owed: number): void {
    const nowMs = this.#owner.context.engine.clock.now();
    this.#replacements ??= new TokenBucket(replacementBurst, replacementsPerSecond, nowMs);
    if (!this.#replacements.take(1, nowMs) && owed * 2 < this.#capacityPerConnection) return;
    this.#owner.stats.upstreamCxMaxResets++;
    this.#removeReady(connection);
    this.#addRetired(connection);
    this.checker?.onConnectionRetired(connection.connection as Connection);
    connection.retire('max_resets');
    this.connectIfNeeded();
  }

  /**
   * Another one is made first: the old one goes when the new one works, and stays where none can be had. Like the first connection it may
   * be one more than `max_connections`.
   */
  onAged(connection: UpstreamConnection): void {
    this.#aged ??= new AgedConnections();
    this.#aged.add(connection);
    if (this.#aged.size <= this.#connecting.size) return;
    const { connections } = this.#owner.limits;
    connections.enter();
    this.#connect(connections);
  }

  onClosed(connection: UpstreamConnection): void {
    const wasLost = this.#removeReady(connection) && this.#ready.length === 0;
    this.#retired.delete(connection);
    this.#countGone(connection);
    // A peer that opens and closes without ever admitting a stream would be connected to again and again.
    if (this.#capacityPerConnection === 0 && this.#ready.length + this.#connecting.size === 0) {
      this.#failWaiters(settingsFailure(this.#target, 'the peer closed it before it admitted any stream'));
    }
    this.connectIfNeeded();
    if (wasLost) this.checker?.onConnectionLost();
    this.#owner.onConnectionGone();
    this.#reportWhenGone();
  }

  // ---- inside ----

  /** It has as many connections as `per_host_thresholds` allow. */
  get #isFull(): boolean {
    return this.#ready.length + this.#connecting.size >= this.#owner.policy.maxConnectionsPerEndpoint;
  }

  /** How many calls the connections that are being made will carry. */
  get #expectedStreams(): number {
    if (this.#connecting.size === 0) return 0;
    // Zero is "not now" (RFC 9113 6.5.2): one attempt shows whether it still holds.
    return this.#capacityPerConnection === 0 ? Number.POSITIVE_INFINITY : this.#connecting.size * this.#capacityPerConnection;
  }

  /** Calls that wait, and a health check where nothing would tell how the endpoint is. */
  get #wantedStreams(): number {
    return this.#waitingCheck !== undefined && this.#ready.length === 0 ? this.waiting + 1 : this.waiting;
  }

  get #keepalive(): KeepaliveOptions {
    const { keepaliveIntervalMs, keepaliveTimeoutMs } = this.#owner.policy;
    return { intervalMs: keepaliveIntervalMs * this.#keepaliveFactor, timeoutMs: keepaliveTimeoutMs };
  }

  #hasRoom(connection: Connection): boolean {
    return connection.canOpen && connection.activeStreams < this.#owner.policy.maxConcurrentStreams;
  }

  /** As in Envoy, calls of high priority have connections of their own beside those of the others; here both use them. */
  get #connectionLimits(): ConcurrencyLimits {
    const high = this.#waiters?.highLimits;
    return high?.connections.open === false ? high : this.#owner.limits;
  }

  #enqueue(waiter: StreamWaiter, limits: ConcurrencyLimits): void {
    const { stats } = this.#owner;
    if (this.#removed !== 'no') {
      waiter.onUnavailable(this.#removed === 'removed' ? endpointRemoved(this.#target) : endpointClosed(this.#target));
      return;
    }
    if (!limits.pending.tryEnter()) {
      waiter.onUnavailable(tooManyPending(this.#target, limits.pending.max));
      return;
    }
    stats.upstreamRqPendingTotal++;
    this.#waiters ??= this.#createQueue();
    this.#waiters.push(waiter, limits);
    this.#retireExhausted();
    this.#connectingIsFutile = false;
    this.connectIfNeeded();
  }

  #serve(connection: UpstreamConnection): void {
    const check = this.#waitingCheck;
    if (check !== undefined && connection.state === 'ready' && this.#hasRoom(connection.connection as Connection)) {
      this.#waitingCheck = undefined;
      check.onConnection(connection.connection as Connection);
    }
    while (connection.state === 'ready' && this.#hasRoom(connection.connection as Connection)) {
      const waiter = this.#waiters?.next();
      if (waiter === undefined) return;
      waiter.onConnection(connection.connection as Connection);
    }
    this.connectIfNeeded();
  }

  /** @param limit where the connection has taken its place. */
  #connect(limit: ConcurrencyLimit): void {
    const { context, http2Counters, policy, stats } = this.#owner;
    const { host, port, service: serviceName = policy.serviceName } = this.#address;
    const connection = new UpstreamConnection(
      { target: this.#target, host, port, serviceName, policy, keepalive: this.#keepalive, context, stats, http2Counters },
      this,
    );
    connection.countedIn = limit;
    if (this.#connecting === nobody) this.#connecting = new Set();
    this.#connecting.add(connection);
    this.stats.cxActive++;
    this.stats.cxTotal++;
    connection.start();
  }

  /** Once for each cause until it works again: under load a dead endpoint fails a thousand times a second. */
  #logFailure({ message, reason, remedy }: MeshError): void {
    const { log } = this.#owner.context;
    const fields = { ...this.#target, reason, why: message, remedy };
    if (this.#loggedFailure === message) log.debug('connect failed', fields);
    else log.warning('connect failed', fields);
    this.#loggedFailure = message;
  }

  #failWaiters(error: MeshError): void {
    const { stats } = this.#owner;
    const check = this.#waitingCheck;
    this.#waitingCheck = undefined;
    check?.onUnavailable(error);
    // Taken away first: whoever hears it may come back to the same endpoint at once, for another attempt.
    for (const failing of this.#waiters?.takeAll() ?? []) {
      for (let waiter = failing.shift(); waiter !== undefined; waiter = failing.shift()) {
        failing.limits?.pending.leave();
        stats.upstreamRqPendingFailureEject++;
        waiter.onUnavailable(error);
      }
    }
  }

  /** A connection has become ready: the oldest one of those that are too old makes room. */
  #replaceAged(): void {
    const old = this.#aged?.oldest;
    if (old === undefined) return;
    this.#owner.stats.upstreamCxMaxDurationReached++;
    this.#removeReady(old);
    this.#addRetired(old);
    this.checker?.onConnectionRetired(old.connection as Connection);
    old.retire('max_age');
  }

  #retireAll(debugData: string): void {
    for (const connection of this.#connecting) {
      this.#connecting.delete(connection);
      this.#countGone(connection);
      connection.retire(debugData);
    }
    const ready = this.#ready.splice(0);
    this.#aged?.clear();
    // All of them first: an idle connection ends at once, and whoever hears it must see those that are left.
    for (const connection of ready) this.#addRetired(connection);
    for (const connection of ready) {
      this.checker?.onConnectionRetired(connection.connection as Connection);
      connection.retire(debugData);
    }
  }

  /** Stream ids are used up after 2^30 calls (RFC 9113 5.1.1): that connection is full for good. */
  #retireExhausted(): void {
    const exhausted = this.#ready.filter(({ connection }) => {
      if (connection === undefined || connection.canOpen) return false;
      return connection.activeStreams < connection.peerMaxConcurrentStreams;
    });
    for (const connection of exhausted) {
      this.#removeReady(connection);
      this.#addRetired(connection);
      this.checker?.onConnectionRetired(connection.connection as Connection);
      connection.retire('stream_ids_used_up');
    }
  }

  #addRetired(connection: UpstreamConnection): void {
    if (this.#retired === nobody) this.#retired = new Set();
    this.#retired.add(connection);
  }

  #createQueue(): PendingCalls {
    const { context, limits, stats } = this.#owner;
    return new PendingCalls(limits, context.engine, (waiter, { pendingMs }) => {
      stats.upstreamRqPendingTimeout++;
      waiter.onUnavailable(pendingTooLong(this.#target, pendingMs));
    });
  }

  #removeReady(connection: UpstreamConnection): boolean {
    const at = this.#ready.indexOf(connection);
    if (at >= 0) this.#ready.splice(at, 1);
    this.#aged?.remove(connection);
    return at >= 0;
  }

  #everyConnection(): readonly UpstreamConnection[] {
    return [...this.#connecting, ...this.#ready, ...this.#retired];
  }

  #countGone(connection: UpstreamConnection): void {
    this.stats.cxActive--;
    connection.countedIn?.leave();
  }

  #reportWhenGone(): void {
    if (this.#removed !== 'no' && this.connections === 0) this.#owner.onEndpointGone(this);
  }
}
