import type { Timer } from '../../core/index.ts';
import type { ConsulEndpointsPolicy } from '../../policy/index.ts';
import type { EndpointAddress } from '../endpoints.ts';
import { decodeEndpoints } from '../reading/decode-endpoints.ts';
import type { ConsulAnswer } from './consul-client.ts';
import { ConsulError } from './consul-error.ts';
import type { ConsulShared } from './consul-shared.ts';
import { Departures } from './departures.ts';
import { QueryPace } from './query-pace.ts';

/** Which of the places of a source a watch looks at. */
export interface ConsulPlace {
  /** `''`: the agent's own. */
  readonly datacenter: string;
  /** Of several, in messages; `''`: there is no other. */
  readonly label: string;
  readonly priority: number;
  /** The name in certificates, where the cluster has another one. */
  readonly service?: string;
}

export interface ConsulWatchListener {
  /** Consul is asked. */
  onQuestion(): void;
  /** There was an answer: the endpoints may have changed, or the error. */
  onAnswer(): void;
  /** There was none. `wasRight`: what was known held until now. */
  onFailure(wasRight: boolean): void;
}

/** As long as Consul's own default; it adds up to a sixteenth. */
const longWaitMs = 300_000;
const longestExtraShare = 1 / 16;
/** While more questions than places wait. */
const shortWaitMs = 2_000;
/** For the answer itself, beside the time that it waits for a change. */
const answerTimeMs = 10_000;
/** Of one service: a change is heard at once, and an instance that flaps costs no more than so many questions. */
const questionsAtOnce = 10;
const questionsPerSecond = 10;
const shortestBackOffMs = 250;
const longestBackOffMs = 3_000;
/** Answers at once that say nothing new, after which the next question is held back: somebody between us and Consul does not wait. */
const newsless = 10;
const newslessPauseMs = 200;
/** A prepared query cannot wait for a change. */
const pollMs = 5_000;
const jitterShare = 0.1;
/** How long services may take to be registered again with an agent that was away, and with one that has forgotten everything. */
const graceAfterOutageMs = 15_000;
const graceAfterLossMs = 75_000;

/**
 * The instances of one service in one datacenter, as Consul knows them: a blocking query after another, by the rules of
 * https://developer.hashicorp.com/consul/api-docs/features/blocking
 */
export class ConsulWatch {
  /** Sorted. */
  endpoints: readonly EndpointAddress[] = [];
  /** Why the last question had no answer that could be used. */
  error: string | undefined;
  /** What of the last answer could not be used, or is not believed yet. */
  partly: string | undefined;
  /** There was an answer, ever. */
  answered = false;
  /** `''`: the agent's own. */
  readonly datacenter: string;
  /** Of several watches of one source, in messages. */
  readonly label: string;
  /** Why instances are not listed any more; `undefined`: none has left. */
  departures: Departures | undefined = undefined;
  readonly #policy: ConsulEndpointsPolicy;
  readonly #place: ConsulPlace;
  readonly #shared: ConsulShared;
  readonly #listener: ConsulWatchListener;
  readonly #pace: QueryPace;
  /** `X-Consul-Index` of the last answer, at least 1; 0 before the first one. */
  #index = 0n;
  /** It went backwards: the next question asks for everything. */
  #lost = false;
  #digest = '';
  #byLine: ReadonlyMap<string, EndpointAddress> = new Map();
  /** What the last answer lists; `endpoints` has more while a grace lasts. */
  #listed: readonly EndpointAddress[] = [];
  #refused: string | undefined;
  #graceEndsMs = 0;
  /** Who was listed since the grace began, as `host port`: whoever of them is listed no longer has really left. */
  readonly #listedInGrace = new Set<string>();
  #graceTimer: Timer | undefined;
  #failures = 0;
  #outage = false;
  #newsless = 0;
  /** The leader is asked next, since another server was too far behind. */
  #askLeader = false;
  #closed = false;
  /** Ends whatever is waited for. */
  #interrupt: () => void = () => {};

  constructor(policy: ConsulEndpointsPolicy, place: ConsulPlace, shared: ConsulShared, listener: ConsulWatchListener) {
    this.#policy = policy;
    this.datacenter = place.datacenter;
    this.label = place.label;
    this.#place = place;
    this.#shared = shared;
    this.#listener = listener;
    this.#pace = new QueryPace({ clock: shared.clock, burst: questionsAtOnce, perSecond: questionsPerSecond });
  }

  start(): void {
    void this.#run();
  }

  /** Something that made questions fail has changed: asks again now. */
  retryNow(): void {
    if (this.#failures > 0) this.#interrupt();
  }

  close(): void {
    this.#closed = true;
    this.#graceTimer?.cancel();
    this.#pace.close();
    this.departures?.close();
    this.#interrupt();
  }

  /** Never rejects: what goes wrong becomes `error`. */
  async #run(): Promise<void> {
    // Whoever makes a cluster has taken a while for that, and many may be made at once.
    await new Promise((resolve) => setImmediate(resolve));
    while (!this.#closed) {
      try {
        await this.#waitFor((proceed) => this.#pace.enter(proceed));
        await this.#waitFor((proceed) => this.#shared.pace.enter(proceed));
        if (this.#closed) return;
        const pauseMs = await this.#ask();
        if (pauseMs > 0) await this.#sleep(pauseMs);
      } catch (error) {
        if (this.#closed) return;
        if (error instanceof ConsulError && error.kind === 'aborted') continue;
        try {
          this.#onFailure(error);
        } catch (problem) {
          // Whoever listens has a fault of its own: questions go on.
          this.#shared.log.error('a change of endpoints could not be taken over', { error: String(problem) });
        }
        await this.#sleep(this.#backOffMs());
      }
    }
  }

  /** One question. Returns how long to wait before the next one, in milliseconds. */
  async #ask(): Promise<number> {
    const { places, reader, counts } = this.#shared;
    // After a failure the question is one that is answered at once, so that the end of an outage is seen, and not only the next change.
    const waits = this.#index > 0n && this.#failures === 0 && !this.#lost;
    const room = waits ? places : this.#shared.atOnce;
    let owned = false;
    const take = (proceed: () => void) => () => {
      owned = true;
      proceed();
    };
    await this.#waitFor((proceed) => room.enter(take(proceed)));
    if (!owned) return 0;
    let answer: ConsulAnswer<Buffer>;
    try {
      if (this.#closed) return 0;
      this.#listener.onQuestion();
      counts.questions++;
      answer = await this.#send(waits);
    } finally {
      room.leave();
    }
    if (this.#isTooOld(answer)) {
      this.#askLeader = true;
      counts.tooOld++;
      return 0;
    }
    this.#askLeader = false;
    const { priority, service } = this.#place;
    const selection = {
      passingOnly: this.#policy.passingOnly,
      nearest: this.#policy.nearest,
      priority,
      ...(service === undefined ? {} : { service }),
    };
    const list = await reader.read(answer.body, selection, this.#digest).catch((error: unknown) => {
      throw new ConsulError(
        'malformed',
        `Consul at ${this.#shared.client.address}: ${error instanceof Error ? error.message : String(error)}`,
      );
    });
    if (this.#closed) return 0;
    counts.instancesRefused += list.refused;
    if (list.refused > 0 && list.instances === 0) throw new ConsulError('malformed', `${list.problem}; ${list.refused} in all`);
    if (list.count === 0 && answer.headers['x-consul-results-filtered-by-acls'] === 'true') {
      throw new ConsulError('status', `the token may not read service "${this.#policy.service}"`, { status: 403 });
    }
    const decoded = list.lines === undefined ? undefined : await decodeEndpoints(list.lines, this.#byLine);
    if (this.#closed) return 0;
    this.#takeIndex(answer);
    this.#refused = list.refused === 0 ? undefined : `${list.refused} instances were left out: ${list.problem}`;
    this.#digest = list.digest;
    this.#takeGrace();
    this.#failures = 0;
    this.#outage = false;
    this.error = undefined;
    this.answered = true;
    if (decoded !== undefined) {
      this.#byLine = decoded.byLine;
      this.#noticeDepartures(decoded.endpoints);
      this.#listed = decoded.endpoints;
    }
    this.#newsless = decoded === undefined && waits ? this.#newsless + 1 : 0;
    this.#publish();
    if (this.#policy.isPreparedQuery) return pollMs * (1 + jitterShare * this.#shared.random());
    return this.#newsless > newsless ? newslessPauseMs : 0;
  }

  async #send(waits: boolean): Promise<ConsulAnswer<Buffer>> {
    const { client, places } = this.#shared;
    const { isPreparedQuery, service } = this.#policy;
    const waitMs = places.crowded ? shortWaitMs : longWaitMs;
    const giving = new AbortController();
    const giveUp = () => giving.abort();
    this.#interrupt = giveUp;
    const calm = waits && waitMs === longWaitMs ? places.patient(giveUp) : () => {};
    const startMs = this.#shared.clock.now();
    try {
      const query = this.#query(waits, waitMs);
      const timeoutMs = waits ? waitMs * (1 + longestExtraShare) + answerTimeMs : answerTimeMs;
      const answer = await client.callRaw(
        (api, ctx) => (isPreparedQuery ? api.query.execute({ query: service, ctx }) : api.health.service({ service, ctx })),
        { timeoutMs, signal: giving.signal, query },
      );
      // It waited as long as it was asked to: that there is nothing new is what it has to say.
      if (this.#shared.clock.now() - startMs > waitMs / 2) this.#newsless = 0;
      return answer;
    } finally {
      calm();
      this.#interrupt = () => {};
    }
  }

  #query(waits: boolean, waitMs: number): Record<string, string | readonly string[]> {
    const { tags, filter, namespace, partition, near, stale, passingOnly, isPreparedQuery } = this.#policy;
    return {
      ...(passingOnly && !isPreparedQuery ? { passing: '1' } : {}),
      ...(tags.length > 0 ? { tag: tags } : {}),
      ...(filter === '' ? {} : { filter }),
      ...(this.datacenter === '' ? {} : { dc: this.datacenter }),
      ...(namespace === '' ? {} : { ns: namespace }),
      ...(partition === '' ? {} : { partition }),
      ...(near === '' ? {} : { near }),
      ...(stale && !this.#askLeader ? { stale: '' } : {}),
      ...(waits ? { index: String(this.#index), wait: `${waitMs}ms` } : {}),
    };
  }

  #isTooOld({ headers }: ConsulAnswer<Buffer>): boolean {
    const { stale, maxAgeMs } = this.#policy;
    if (!stale || maxAgeMs === 0 || this.#askLeader) return false;
    return Number(headers['x-consul-lastcontact'] ?? 0) > maxAgeMs || headers['x-consul-knownleader'] === 'false';
  }

  /**
   * An index that goes backwards says that Consul has lost its state, or was restored: the next question asks for everything. One of 0, or none,
   * is a fault of Consul's that would make questions spin without waiting; 1 is always safe.
   */
  #takeIndex({ headers }: ConsulAnswer<Buffer>): void {
    if (this.#policy.isPreparedQuery) return;
    const said = String(headers['x-consul-index'] ?? '');
    const index = /^\d{1,20}$/.test(said) ? BigInt(said) : 0n;
    const sane = index < 1n ? 1n : index;
    this.#lost = false;
    if (sane >= this.#index) {
      this.#index = sane;
      return;
    }
    this.#shared.counts.indexResets++;
    this.#lost = true;
    this.#index = sane;
    // Servers that need not be the leader are not all at the same index: that is no loss.
    if (this.#policy.stale) return;
    this.#beginGrace(graceAfterLossMs);
  }

  #takeGrace(): void {
    if (!this.#outage) return;
    this.#beginGrace(graceAfterOutageMs);
  }

  #beginGrace(lengthMs: number): void {
    this.#listedInGrace.clear();
    const endsMs = this.#shared.clock.now() + Math.min(lengthMs, this.#policy.keepLastMs);
    this.#graceEndsMs = Math.max(this.#graceEndsMs, endsMs);
  }

  /** A prepared query is of no one service, and the nearest of many change all the time. */
  #noticeDepartures(next: readonly EndpointAddress[]): void {
    const { isPreparedQuery, nearest } = this.#policy;
    if (this.#listed.length === 0 || isPreparedQuery || nearest > 0) return;
    this.departures ??= new Departures(this.#policy, this.datacenter, this.#shared);
    this.departures.compare(this.#listed, next);
  }

  /** An agent that was away, or has lost its state, does not know everybody yet: whom it does not list stays for a while. */
  #publish(): void {
    this.#graceTimer?.cancel();
    this.#graceTimer = undefined;
    const graceMs = this.#graceEndsMs - this.#shared.clock.now();
    const missing = graceMs > 0 ? this.#missing() : [];
    this.partly = this.#refused;
    if (missing.length === 0) {
      this.endpoints = this.#listed;
      if (graceMs > 0) this.#graceTimer = this.#shared.clock.setTimer(() => this.#endGrace(), graceMs);
    } else {
      this.endpoints = [...this.#listed, ...missing].sort(byAddress);
      const [which, are] = missing.length === 1 ? ['1 endpoint', 'is'] : [`${missing.length} endpoints`, 'are'];
      const kept = `${which} that Consul has not listed since it was away ${are} kept for a while`;
      this.partly = this.#refused === undefined ? kept : `${this.#refused}; ${kept}`;
      this.#graceTimer = this.#shared.clock.setTimer(() => this.#endGrace(), graceMs);
    }
    this.#listener.onAnswer();
  }

  /** Whom the agent does not know again yet. */
  #missing(): readonly EndpointAddress[] {
    for (const endpoint of this.#listed) this.#listedInGrace.add(keyOf(endpoint));
    if (this.#listed === this.endpoints) return [];
    return this.endpoints.filter((endpoint) => !this.#listedInGrace.has(keyOf(endpoint)));
  }

  #endGrace(): void {
    this.#graceEndsMs = 0;
    this.#listedInGrace.clear();
    if (this.partly !== this.#refused) this.#publish();
  }

  #onFailure(error: unknown): void {
    const wasRight = this.#failures === 0 && this.answered;
    this.#failures++;
    this.#shared.counts.failures++;
    // A server that is there and refuses has forgotten nobody.
    if (!(error instanceof ConsulError) || error.kind !== 'status' || error.status >= 500) this.#outage = true;
    if (error instanceof ConsulError && (error.kind === 'too_large' || error.kind === 'malformed')) this.#shared.counts.answersRefused++;
    this.error = error instanceof Error ? error.message : String(error);
    this.#listener.onFailure(wasRight);
  }

  #backOffMs(): number {
    const ceilingMs = Math.min(shortestBackOffMs * 2 ** Math.min(this.#failures - 1, 16), longestBackOffMs);
    return ceilingMs * (0.5 + this.#shared.random() / 2);
  }

  #sleep(ms: number): Promise<void> {
    return this.#waitFor((proceed) => {
      const timer = this.#shared.clock.setTimer(proceed, ms);
      return () => timer.cancel();
    });
  }

  /** Waits for what `begin` calls back, or for `close` or `retryNow`. `begin` returns what gives the wait up. */
  #waitFor(begin: (proceed: () => void) => () => void): Promise<void> {
    if (this.#closed) return Promise.resolve();
    const { promise, resolve } = Promise.withResolvers<void>();
    const giveUp = begin(resolve);
    this.#interrupt = () => {
      giveUp();
      resolve();
    };
    return promise;
  }
}

const byAddress = (a: EndpointAddress, b: EndpointAddress): number => (a.host === b.host ? a.port - b.port : a.host < b.host ? -1 : 1);

const keyOf = ({ host, port }: EndpointAddress): string => `${host} ${port}`;
