import { formatHostPort, LimitedLog, type Timer } from '../../core/index.ts';
import type { ConsulEndpointsPolicy } from '../../policy/index.ts';
import { compareAddresses, type Departure, type EndpointAddress } from '../endpoints.ts';
import type { ConsulShared } from './consul-shared.ts';

/** How long others may follow before somebody asks: the instances of a node go together. */
const gatherMs = 50;
/** Of one service. What leaves meanwhile is asked for later, or not at all. */
const pauseMs = 5_000;
const askedAtOnce = 10;
const mostWaiting = 50;
const mostKept = 20;
const answerTimeMs = 5_000;
/** Ten instances, written at great length. */
const longestAnswerBytes = 512 * 2 ** 10;
const longestOutput = 200;
/** An id that means the same to a filter whatever is in it. */
const plainId = /^[\w.:/@+-]{1,256}$/;

type Json = { readonly [key: string]: unknown };

const isObject = (value: unknown): value is Json => typeof value === 'object' && value !== null && !Array.isArray(value);
const textOf = (value: unknown): string => (typeof value === 'string' ? value : '');

/** Of strangers, for a line of the log: printable, on one line, not too long. */
const shown = (text: string): string => {
  const line = text.replace(/[^\x21-\x7e]+/g, ' ').trim();
  return line.length > longestOutput ? `${line.slice(0, longestOutput)}...` : line;
};

/**
 * Why instances of one service are not listed any more. `?passing` leaves out whoever is not well without a word, so that Consul is asked for
 * those alone that have gone: once for some of them, and not again for a while, whatever goes on.
 */
export class Departures {
  readonly #policy: ConsulEndpointsPolicy;
  readonly #datacenter: string;
  readonly #shared: ConsulShared;
  readonly #log: LimitedLog;
  readonly #known = new Map<string, Departure>();
  readonly #waiting = new Map<string, EndpointAddress>();
  #timer: Timer | undefined;
  #asking: AbortController | undefined;
  #askedAtMs = Number.NEGATIVE_INFINITY;
  #closed = false;
  /** Of a question that has to wait for others. */
  #giveUp: () => void = () => {};

  constructor(policy: ConsulEndpointsPolicy, datacenter: string, shared: ConsulShared) {
    this.#policy = policy;
    this.#datacenter = datacenter;
    this.#shared = shared;
    this.#log = new LimitedLog(shared.log, shared.clock);
  }

  /** The latest, the newest last. */
  get list(): readonly Departure[] {
    return [...this.#known.values()];
  }

  /** Consul lists others now. Both are sorted by host and port. */
  compare(former: readonly EndpointAddress[], next: readonly EndpointAddress[]): void {
    let at = 0;
    for (const endpoint of former) {
      while (at < next.length && compareAddresses(next[at] as EndpointAddress, endpoint) < 0) at++;
      if (at < next.length && compareAddresses(next[at] as EndpointAddress, endpoint) === 0) at++;
      else this.#left(endpoint);
    }
    if (this.#waiting.size > 0 || this.#known.size > 0) for (const endpoint of next) this.#isThere(endpoint);
    if (this.#waiting.size > 0) this.#askSoon();
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#giveUp();
    this.#asking?.abort();
  }

  /** It has come back, or is somewhere else now. */
  #isThere({ instance = '' }: EndpointAddress): void {
    this.#known.delete(instance);
    this.#waiting.delete(instance);
  }

  #left(endpoint: EndpointAddress): void {
    const { instance = '' } = endpoint;
    if (plainId.test(instance) && this.#waiting.size < mostWaiting) this.#waiting.set(instance, endpoint);
  }

  #askSoon(): void {
    if (this.#closed || this.#timer !== undefined || this.#asking !== undefined) return;
    const { clock } = this.#shared;
    const afterMs = Math.max(gatherMs, this.#askedAtMs + pauseMs - clock.now());
    this.#timer = clock.setTimer(() => {
      this.#giveUp = this.#shared.pace.enter(() => {
        this.#timer = undefined;
        void this.#ask();
      });
    }, afterMs);
  }

  /** Never rejects: who does not answer has told nothing, and the question after it has other names. */
  async #ask(): Promise<void> {
    const gone = [...this.#waiting.values()].slice(0, askedAtOnce);
    if (gone.length === 0 || this.#closed) return;
    for (const { instance = '' } of gone) this.#waiting.delete(instance);
    const { client, clock, counts } = this.#shared;
    counts.questions++;
    const { namespace, partition, service } = this.#policy;
    this.#askedAtMs = clock.now();
    this.#asking = new AbortController();
    try {
      const { body } = await client.callRaw((api, ctx) => api.health.service({ service, ctx }), {
        timeoutMs: answerTimeMs,
        signal: this.#asking.signal,
        query: {
          filter: gone.map(({ instance }) => `Service.ID == "${instance}"`).join(' or '),
          ...(this.#datacenter === '' ? {} : { dc: this.#datacenter }),
          ...(namespace === '' ? {} : { ns: namespace }),
          ...(partition === '' ? {} : { partition }),
        },
      });
      if (this.#closed || body.length > longestAnswerBytes) return;
      const listed: unknown = JSON.parse(body.toString('utf8'));
      if (Array.isArray(listed)) for (const endpoint of gone) this.#tell(endpoint, listed as readonly unknown[]);
    } catch {
      // The next question of the watch says what is wrong with Consul.
    } finally {
      this.#asking = undefined;
      if (this.#waiting.size > 0) this.#askSoon();
    }
  }

  #tell({ instance = '', host, port }: EndpointAddress, listed: readonly unknown[]): void {
    const why = this.#whyOf(listed.find((entry) => isObject(entry) && isObject(entry['Service']) && entry['Service']['ID'] === instance));
    const address = formatHostPort({ host, port });
    this.#known.delete(instance);
    this.#known.set(instance, { instance, address, why, atMs: this.#shared.clock.wallNow() });
    const [oldest] = this.#known.keys();
    if (this.#known.size > mostKept && oldest !== undefined) this.#known.delete(oldest);
    this.#log.info('Consul does not list an instance any more', () => ({
      service: this.#policy.service,
      instance,
      endpoint: address,
      why,
    }));
  }

  #whyOf(entry: unknown): string {
    if (!isObject(entry)) return 'deregistered';
    const checks = Array.isArray(entry['Checks']) ? (entry['Checks'] as readonly unknown[]).filter(isObject) : [];
    const notPassing = (status: string) => checks.filter((check) => check['Status'] === status);
    const critical = notPassing('critical');
    const maintenance = critical.find((check) => /^_(service|node)_maintenance/.test(textOf(check['CheckID'])));
    if (maintenance !== undefined) {
      const whose = textOf(maintenance['CheckID']).startsWith('_node') ? 'its node is in maintenance' : 'in maintenance';
      const notes = shown(textOf(maintenance['Notes']));
      return notes === '' ? whose : `${whose}: ${notes}`;
    }
    const [worst] = critical.length > 0 ? critical : this.#policy.passingOnly ? notPassing('warning') : [];
    if (worst === undefined) return 'still registered, and left out by what the policy asks for';
    const output = shown(textOf(worst['Output']));
    const check = `${textOf(worst['Status'])}: check "${shown(textOf(worst['Name']) || textOf(worst['CheckID']))}"`;
    return output === '' ? check : `${check} says: ${output}`;
  }
}
