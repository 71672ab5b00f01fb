import type { Clock, Logger } from '../../core/index.ts';
import type { ConsulEndpointsPolicy } from '../../policy/index.ts';
import type { StatSink, StatSource } from '../../telemetry/index.ts';
import type { EndpointSource } from '../endpoints.ts';
import { ReadingThread } from '../reading/reading-thread.ts';
import { ConsulClient, type ConsulConnection } from './consul-client.ts';
import type { ConsulShared } from './consul-shared.ts';
import { ConsulEndpointSource } from './consul-source.ts';
import { InstanceReader } from './instance-reader.ts';
import { QueryPace } from './query-pace.ts';
import { WaitingPlaces } from './waiting-places.ts';

export interface ConsulDiscoveryOptions extends ConsulConnection {
  readonly clock: Clock;
  readonly log: Logger;
  /** From 0 to 1, for jitter. */
  readonly random: () => number;
  /** Connections on which questions wait at the agent; 160 where left out, since it allows 200 from one address. */
  readonly maxConnections?: number;
  /** What policies get that name none; `''`: that of the token, and of the agent. */
  readonly namespace?: string;
  readonly partition?: string;
  /** Reads long answers; one of its own where left out. Whoever gives it closes it. */
  readonly thread?: ReadingThread;
}

const defaultMaxConnections = 160;
/** Of the whole sidecar: enough for hundreds of services at once, and for an agent to come back without being run down. */
const questionsAtOnce = 500;
const questionsPerSecond = 200;
/** What is on its way at one moment: hundreds of answers together would need memory that is never needed again. */
const questionsAnsweredAtOnce = 32;

/** All that a sidecar asks of Consul's catalogue, within common limits. One for a process. */
export class ConsulDiscovery implements StatSource {
  /** With the token of the settings; also for whoever registers. */
  readonly client: ConsulClient;
  readonly #options: ConsulDiscoveryOptions;
  readonly #shared: ConsulShared;
  readonly #thread: ReadingThread;
  /** By token file. */
  readonly #clients = new Map<string, ConsulClient>();
  readonly #sources = new Set<ConsulEndpointSource>();
  #told = false;

  constructor(options: ConsulDiscoveryOptions) {
    const { clock, log, random } = options;
    this.#options = options;
    this.#thread = options.thread ?? new ReadingThread(clock);
    this.client = this.#createClient('');
    this.client.prepare();
    this.#shared = {
      clock,
      log,
      random,
      client: this.client,
      pace: new QueryPace({ clock, burst: questionsAtOnce, perSecond: questionsPerSecond }),
      places: new WaitingPlaces(options.maxConnections ?? defaultMaxConnections),
      atOnce: new WaitingPlaces(questionsAnsweredAtOnce),
      reader: new InstanceReader(this.#thread),
      counts: { questions: 0, failures: 0, answersRefused: 0, instancesRefused: 0, indexResets: 0, tooOld: 0 },
    };
  }

  /** Begins to watch a service. Whoever calls it owes a `close()`. */
  open(policy: ConsulEndpointsPolicy): EndpointSource {
    const { namespace = '', partition = '' } = this.#options;
    const whole = { ...policy, namespace: policy.namespace || namespace, partition: policy.partition || partition };
    const client = this.#clients.get(policy.tokenFile) ?? this.#createClient(policy.tokenFile);
    const source: ConsulEndpointSource = new ConsulEndpointSource(whole, { ...this.#shared, client }, () => this.#sources.delete(source));
    this.#sources.add(source);
    this.#tellOfTurns();
    return source;
  }

  /** Ends every source, the thread and all connections. Idempotent. */
  close(): void {
    for (const source of [...this.#sources]) source.close();
    this.#shared.pace.close();
    if (this.#options.thread === undefined) this.#thread.close();
    for (const client of this.#clients.values()) client.close();
  }

  collectStats(sink: StatSink): void {
    const { counts, pace, places, reader } = this.#shared;
    sink.counter('consul.rq_total', counts.questions);
    sink.counter('consul.rq_error', counts.failures);
    sink.counter('consul.rq_delayed', pace.delayed);
    sink.counter('consul.answers_refused', counts.answersRefused);
    sink.counter('consul.answers_too_old', counts.tooOld);
    sink.counter('consul.answers_read_in_thread', reader.threaded);
    sink.counter('consul.instances_refused', counts.instancesRefused);
    sink.counter('consul.index_resets', counts.indexResets);
    sink.gauge('consul.watches', this.#sources.size);
    sink.gauge('consul.connections_waiting', places.taken);
  }

  #createClient(tokenFile: string): ConsulClient {
    const client = new ConsulClient({ ...this.#options, ...(tokenFile === '' ? {} : { tokenFile }) });
    this.#clients.set(tokenFile, client);
    // What was refused may be allowed now, and nobody waits for the next try.
    client.credentials.onChange(() => {
      for (const source of this.#sources) source.retryNow();
    });
    return client;
  }

  #tellOfTurns(): void {
    const { places, log } = this.#shared;
    if (this.#told || this.#sources.size <= places.limit) return;
    this.#told = true;
    log.warning('more services are watched than connections to Consul are allowed, so that changes are seen some seconds later', {
      watched: this.#sources.size,
      connections: places.limit,
      remedy: 'raise CONSUL_MAX_CONNECTIONS, and limits.http_max_conns_per_client of the agent, which is 200 unless set',
    });
  }
}
