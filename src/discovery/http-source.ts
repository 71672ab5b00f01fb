import type { Clock, Logger, Timer } from '../core/index.ts';
import type { HttpEndpointsPolicy } from '../policy/index.ts';
import { DeadInstances } from './dead-instances.ts';
import type { EndpointAddress, EndpointUpdateCounts } from './endpoints.ts';
import { type InstanceList, readInstancesInTurns } from './instance-list.ts';
import { KeptSource } from './kept-source.ts';
import { PollPace } from './poll-pace.ts';
import { SourceClient } from './source-client.ts';

export interface HttpEndpointSourceOptions {
  readonly clock: Clock;
  readonly log: Logger;
  /** From 0 to 1, for jitter. */
  readonly random: () => number;
  /** Of the time limits of requests; the real one unless given. */
  readonly requestClock?: Clock;
}

/** A list that takes longer than a millisecond or two lets calls through in between. */
const longestReadAtOnceBytes = 65_536;

/**
 * An HTTP discoverer: `GET /v1/instances` at each interval, and `POST /v1/unregister/<id>` where an instance of its list cannot be
 * connected to any more, so that the others need not find out by themselves. A discoverer lists the instances that take calls: an
 * empty list is "all instances are busy".
 */
export class HttpEndpointSource extends KeptSource {
  readonly #client: SourceClient;
  readonly #clock: Clock;
  readonly #pace: PollPace;
  readonly #dead: DeadInstances;
  readonly #url: string;
  /** The list as it came, and what it says: most answers say what the one before did. */
  #latest: { readonly body: Buffer; readonly list: InstanceList } | undefined;
  #timer: Timer | undefined;
  #closed = false;

  constructor(policy: HttpEndpointsPolicy, { clock, log, random, requestClock }: HttpEndpointSourceOptions) {
    const source = `http:${policy.url.replace(/^https?:\/\//, '')}`;
    super({ clock, log, source, keepLastMs: policy.keepLastMs, emptyIsBusy: true });
    this.#clock = clock;
    this.#url = policy.url;
    this.#client = new SourceClient({ ...policy, ...(requestClock !== undefined && { clock: requestClock }) });
    this.#pace = new PollPace(policy.intervalMs, random);
    this.#dead = new DeadInstances({
      after: policy.unregisterAfter,
      intervalMs: policy.intervalMs,
      clock,
      log,
      source,
      unregister: async (id) => {
        const { status } = await this.#client.ask('POST', `/v1/unregister/${encodeURIComponent(id)}`);
        // Somebody else has told already.
        if (status !== 404 && (status < 200 || status > 299)) throw new Error(`status ${status}`);
      },
    });
    void this.#look();
  }

  override get updates(): EndpointUpdateCounts {
    return { ...this.kept.counts, ...this.#dead.counts };
  }

  connectResult(endpoint: EndpointAddress, connected: boolean): void {
    if (!this.#closed) this.#dead.connectResult(endpoint, connected);
  }

  override close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    super.close();
    this.#client.close();
  }

  /** Never rejects: what goes wrong becomes the error of the set. */
  async #look(): Promise<void> {
    const where = `GET ${this.#url}/v1/instances`;
    this.kept.counts.update_attempt++;
    let delayMs: number;
    try {
      const { status, body } = await this.#client.ask('GET', '/v1/instances');
      if (this.#closed) return;
      if (status !== 200) throw new Error(`status ${status}`);
      const { endpoints, ids, wrong } = await this.#read(body);
      if (this.#closed) return;
      this.#dead.update(ids);
      this.kept.found(endpoints, `${where}: lists no instance`, wrong === undefined ? undefined : `${where}: ${wrong}`);
      delayMs = this.#pace.afterSuccess();
    } catch (error) {
      if (this.#closed) return;
      this.kept.failed(`${where}: ${error instanceof Error ? error.message : String(error)}`);
      delayMs = this.#pace.afterFailure();
    }
    if (!this.#closed) this.#timer = this.#clock.setTimer(() => void this.#look(), delayMs);
  }

  /** Rejects where the answer is no list. */
  async #read(body: Buffer): Promise<InstanceList> {
    if (this.#latest?.body.equals(body) === true) return this.#latest.list;
    const turns = readInstancesInTurns(body, this.#latest?.list.endpoints);
    for (;;) {
      const turn = turns.next();
      if (turn.done === true) {
        this.#latest = { body, list: turn.value };
        return turn.value;
      }
      // A short list is read at once.
      if (body.length > longestReadAtOnceBytes) await new Promise((resolve) => setImmediate(resolve));
    }
  }
}
