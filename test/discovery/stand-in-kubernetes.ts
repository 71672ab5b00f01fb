import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface StandInSlice {
  readonly metadata: { readonly name: string; readonly resourceVersion?: string };
  readonly addressType: string;
  readonly ports: readonly { readonly name?: string; readonly port: number; readonly protocol?: string }[];
  readonly endpoints: readonly Readonly<Record<string, unknown>>[];
}

interface WatchEvent {
  readonly version: number;
  readonly line: string;
}

/** Stands in for the API server of Kubernetes, as far as EndpointSlices of one Service go: lists them with pages, and tells changes to who watches. */
export class StandInKubernetes implements AsyncDisposable {
  /** 500 for everything, and every watch cut. */
  failing = false;
  /** What a request has to bring along. */
  token: string | undefined;
  lists = 0;
  /** Versions that were watched from. */
  readonly watchedFrom: number[] = [];
  readonly paths: string[] = [];
  readonly #slices = new Map<string, StandInSlice>();
  readonly #watchers = new Set<ServerResponse>();
  #events: WatchEvent[] = [];
  #version = 100;
  /** Events up to this version are forgotten. */
  #forgotten = 0;
  readonly #server = createServer((request, response) => this.#answer(request, response));

  async start(): Promise<string> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }

  put(slice: StandInSlice): void {
    const version = ++this.#version;
    const { name } = slice.metadata;
    const stored = { ...slice, metadata: { name, resourceVersion: String(version) } };
    this.#tell(this.#slices.has(name) ? 'MODIFIED' : 'ADDED', stored);
    this.#slices.set(name, stored);
  }

  remove(name: string): void {
    const slice = this.#slices.get(name);
    if (slice === undefined) return;
    this.#slices.delete(name);
    this.#tell('DELETED', { ...slice, metadata: { name, resourceVersion: String(++this.#version) } });
  }

  get names(): readonly string[] {
    return [...this.#slices.keys()];
  }

  get version(): number {
    return this.#version;
  }

  get watchers(): number {
    return this.#watchers.size;
  }

  /** Moves the version without any change, and tells who asked for bookmarks. */
  bookmark(): void {
    this.#version += 1_000;
    for (const watcher of this.#watchers)
      watcher.write(`${JSON.stringify({ type: 'BOOKMARK', object: { metadata: { resourceVersion: String(this.#version) } } })}\n`);
  }

  /** Forgets how the present came about, as etcd does every five minutes: older versions are 410 Gone. */
  compact(): void {
    this.#forgotten = this.#version;
    this.#events = [];
  }

  /** Ends every watch; with `gone` by saying that its version is too old. */
  endWatches(gone = false): void {
    for (const watcher of this.#watchers) {
      if (gone)
        watcher.write(`${JSON.stringify({ type: 'ERROR', object: { kind: 'Status', code: 410, message: 'too old resource version' } })}\n`);
      watcher.end();
    }
  }

  fail(): void {
    this.failing = true;
    for (const watcher of this.#watchers) watcher.destroy();
  }

  #tell(type: string, object: StandInSlice): void {
    const line = `${JSON.stringify({ type, object })}\n`;
    this.#events.push({ version: this.#version, line });
    // In two parts: events need not come whole.
    for (const watcher of this.#watchers) {
      watcher.write(line.slice(0, 20));
      watcher.write(line.slice(20));
    }
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? '', 'http://api');
    this.paths.push(url.pathname);
    const refuse = (status: number): void => {
      response.writeHead(status).end(JSON.stringify({ kind: 'Status', code: status }));
    };
    if (this.failing) refuse(500);
    else if (this.token !== undefined && request.headers.authorization !== `Bearer ${this.token}`) refuse(401);
    else if (url.searchParams.get('labelSelector') !== 'kubernetes.io/service-name=auth') refuse(400);
    else if (url.searchParams.has('watch')) this.#watch(url, response, refuse);
    else this.#list(url, response);
  }

  #list(url: URL, response: ServerResponse): void {
    this.lists++;
    const all = [...this.#slices.values()];
    const from = Number(url.searchParams.get('continue') ?? 0);
    const limit = url.searchParams.get('resourceVersion') === '0' ? all.length : Number(url.searchParams.get('limit') ?? all.length);
    const items = all.slice(from, from + limit);
    const more = from + limit < all.length ? { continue: String(from + limit) } : {};
    response.end(JSON.stringify({ kind: 'EndpointSliceList', metadata: { resourceVersion: String(this.#version), ...more }, items }));
  }

  #watch(url: URL, response: ServerResponse, refuse: (status: number) => void): void {
    const from = Number(url.searchParams.get('resourceVersion'));
    this.watchedFrom.push(from);
    if (from < this.#forgotten) {
      refuse(410);
      return;
    }
    response.writeHead(200);
    response.flushHeaders();
    this.#watchers.add(response);
    response.on('close', () => this.#watchers.delete(response));
    for (const { version, line } of this.#events) if (version > from) response.write(line);
  }
}
