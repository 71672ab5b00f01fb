import { readFileSync } from 'node:fs';
import type { Clock, Logger, Timer } from '../core/index.ts';
import type { KubernetesEndpointsPolicy } from '../policy/index.ts';
import { type EndpointSlice, endpointsOf, readSlice } from './endpoint-slices.ts';
import { KeptSource } from './kept-source.ts';
import { PollPace } from './poll-pace.ts';
import { SourceClient } from './source-client.ts';

export interface KubernetesEndpointSourceOptions {
  readonly clock: Clock;
  readonly log: Logger;
  /** From 0 to 1, for jitter. */
  readonly random: () => number;
  /** Of the time limits of requests; the real one unless given. */
  readonly requestClock?: Clock;
}

/** A watch that the server does not end by then is one whose connection is gone. */
const watchSeconds = 300;
const watchSilenceMs = (watchSeconds + 30) * 1_000;
const listTimeoutMs = 30_000;
const pageSize = 500;
const mostListBytes = 64 * 1_048_576;
const longestEventBytes = 4 * 1_048_576;
const ownNamespaceFile = '/var/run/secrets/kubernetes.io/serviceaccount/namespace';
const goneStatus = 410;

/**
 * The EndpointSlices of a Service: listed, then watched from the version of the list on. A version that the server does not know any
 * more (410 Gone) means listing again; anything else goes on where it was, so that an API server that restarts is not asked for
 * everything by everybody. Bookmarks move the version while nothing happens.
 */
export class KubernetesEndpointSource extends KeptSource {
  readonly #policy: KubernetesEndpointsPolicy;
  readonly #clock: Clock;
  readonly #lists: SourceClient;
  readonly #watches: SourceClient;
  readonly #pace: PollPace;
  readonly #where: string;
  readonly #slices = new Map<string, EndpointSlice>();
  /** To watch from; `undefined`: list first. */
  #version: string | undefined;
  /** Cheap for the server, but perhaps old: good enough until a version was too old. */
  #mayBeCached = true;
  #watching = false;
  #timer: Timer | undefined;
  #closed = false;

  constructor(policy: KubernetesEndpointsPolicy, { clock, log, random, requestClock }: KubernetesEndpointSourceOptions) {
    const namespace = policy.namespace === undefined ? '' : `${policy.namespace}/`;
    super({ clock, log, source: `kubernetes:${namespace}${policy.service}`, keepLastMs: policy.keepLastMs });
    this.#policy = policy;
    this.#clock = clock;
    this.#where = `EndpointSlices of ${policy.service}`;
    const common = {
      ...policy,
      url: policy.apiServer,
      maxBodyBytes: mostListBytes,
      ...(requestClock !== undefined && { clock: requestClock }),
    };
    this.#lists = new SourceClient({ ...common, timeoutMs: listTimeoutMs });
    this.#watches = new SourceClient({ ...common, timeoutMs: watchSilenceMs });
    this.#pace = new PollPace(1_000, random);
    void this.#run();
  }

  override close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    super.close();
    this.#lists.close();
    this.#watches.close();
  }

  /** One list, if one is needed, and one watch; then again. Never rejects: what goes wrong becomes the error of the set. */
  async #run(): Promise<void> {
    let delayMs: number;
    try {
      this.kept.counts.update_attempt++;
      if (this.#version === undefined) await this.#list();
      if (this.#closed) return;
      await this.#watch();
      delayMs = this.#pace.afterSuccess();
    } catch (error) {
      if (error instanceof Gone) {
        this.#version = undefined;
        this.#mayBeCached = false;
      } else {
        // A watch that was open told of each change: until now what is known was right.
        if (this.#watching) this.kept.confirmed();
        this.kept.failed(`${this.#where}: ${error instanceof Error ? error.message : String(error)}`);
      }
      this.#watching = false;
      delayMs = this.#pace.afterFailure();
    }
    if (!this.#closed) this.#timer = this.#clock.setTimer(() => void this.#run(), delayMs);
  }

  async #list(): Promise<void> {
    const slices: EndpointSlice[] = [];
    let version = '';
    let next = '';
    do {
      const page = this.#mayBeCached
        ? '&resourceVersion=0'
        : `&limit=${pageSize}${next === '' ? '' : `&continue=${encodeURIComponent(next)}`}`;
      const { status, body } = await this.#lists.ask('GET', `${this.#path()}${page}`);
      refuseStatus(status);
      const answer = JSON.parse(body.toString('utf8')) as { items?: unknown; metadata?: { resourceVersion?: unknown; continue?: unknown } };
      if (!Array.isArray(answer.items)) throw new Error('the answer has no list "items"');
      slices.push(...answer.items.map(readSlice));
      version = String(answer.metadata?.resourceVersion ?? '');
      next = typeof answer.metadata?.continue === 'string' ? answer.metadata.continue : '';
    } while (next !== '' && !this.#closed);
    if (version === '') throw new Error('the list has no resourceVersion');
    if (this.#closed) return;
    this.#slices.clear();
    for (const slice of slices) this.#slices.set(slice.name, slice);
    this.#version = version;
    this.#mayBeCached = true;
    this.#publish();
  }

  async #watch(): Promise<void> {
    let rest: Buffer = Buffer.alloc(0);
    let status = 0;
    const path = `${this.#path()}&watch=1&allowWatchBookmarks=true&timeoutSeconds=${watchSeconds}&resourceVersion=${this.#version}`;
    await this.#watches.stream(
      path,
      (started) => {
        status = started;
        refuseStatus(status);
        this.#pace.afterSuccess();
        this.#watching = true;
        // It answers again: what was an outage is over, also where nothing has changed meanwhile.
        if (this.kept.value.error !== undefined) this.#publish();
      },
      (part) => {
        if (this.#closed) return;
        const bytes = rest.length === 0 ? part : Buffer.concat([rest, part]);
        const end = bytes.lastIndexOf(0x0a);
        rest = bytes.subarray(end + 1);
        if (rest.length > longestEventBytes) throw new Error(`an event of more than ${longestEventBytes} bytes`);
        if (end < 0) return;
        let changed = false;
        for (const line of bytes.toString('utf8', 0, end).split('\n'))
          if (line.trim() !== '') changed = this.#apply(JSON.parse(line)) || changed;
        // Once for all events that came together: a rollout of a large service is hundreds of them.
        if (changed) this.#publish();
      },
    );
  }

  /** Returns whether the endpoints may have changed. */
  #apply(event: { readonly type?: unknown; readonly object?: unknown }): boolean {
    const object = event.object as {
      readonly code?: unknown;
      readonly message?: unknown;
      readonly metadata?: { readonly resourceVersion?: unknown };
    };
    switch (event.type) {
      case 'BOOKMARK':
        this.#version = String(object?.metadata?.resourceVersion ?? this.#version);
        return false;
      case 'ERROR':
        if (object?.code === goneStatus) throw new Gone();
        throw new Error(`the watch ended: ${String(object?.message ?? 'no reason given').slice(0, 500)}`);
      case 'ADDED':
      case 'MODIFIED':
      case 'DELETED': {
        const slice = readSlice(object);
        if (event.type === 'DELETED') this.#slices.delete(slice.name);
        else this.#slices.set(slice.name, slice);
        if (slice.resourceVersion !== '') this.#version = slice.resourceVersion;
        return true;
      }
      default:
        return false;
    }
  }

  #publish(): void {
    const { endpoints, wrong } = endpointsOf(this.#slices.values(), this.#policy.port);
    this.kept.found(endpoints, `${this.#where}: none is ready`, wrong);
  }

  #path(): string {
    const namespace = this.#policy.namespace ?? readFileSync(ownNamespaceFile, 'utf8').trim();
    const selector = encodeURIComponent(`kubernetes.io/service-name=${this.#policy.service}`);
    return `/apis/discovery.k8s.io/v1/namespaces/${encodeURIComponent(namespace)}/endpointslices?labelSelector=${selector}`;
  }
}

/** The version that was asked for is too old. */
class Gone extends Error {}

const refuseStatus = (status: number): void => {
  if (status === 200) return;
  if (status === goneStatus) throw new Gone();
  if (status === 401) throw new Error('status 401: the API server does not accept the token; check token_file');
  if (status === 403)
    throw new Error('status 403: the service account may not list and watch endpointslices; give it a Role with these verbs');
  throw new Error(`status ${status}`);
};
