import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface StandInInstance {
  readonly host: string;
  readonly port: number;
  readonly id?: string;
  /** Replaces what there is. */
  readonly service?: Readonly<Record<string, unknown>>;
  readonly checks?: readonly unknown[];
}

/** One entry of `/v1/health/service/:name`, at about the length of a real one. */
export const healthEntry = ({ host, port, id = `${host}:${port}`, service = {}, checks }: StandInInstance): unknown => ({
  Node: {
    ID: '0e2c1a0e-1a2b-4c3d-8e4f-a1b2c3d4e5f6',
    Node: `node-${host}`,
    Address: host,
    Datacenter: 'dc1',
    Meta: { 'consul-version': '1.20.1' },
  },
  Service: {
    ID: id,
    Service: 'learner-svc',
    Tags: ['v1', 'protocol=grpc'],
    Address: host,
    TaggedAddresses: { lan_ipv4: { Address: host, Port: port }, wan_ipv4: { Address: host, Port: port } },
    Meta: { version: '1.2.3', zone: 'a' },
    Port: port,
    Weights: { Passing: 1, Warning: 1 },
    EnableTagOverride: false,
    Proxy: { Mode: '', MeshGateway: {}, Expose: {} },
    CreateIndex: 14,
    ModifyIndex: 14,
    ...service,
  },
  Checks: checks ?? [
    { Node: `node-${host}`, CheckID: 'serfHealth', Name: 'Serf Health Status', Status: 'passing', Output: 'Agent alive and reachable' },
    { Node: `node-${host}`, CheckID: `service:${id}`, Name: 'gRPC', Status: 'passing', Output: 'serving', ServiceID: id },
  ],
});

/**
 * A scripted HTTP server in the place of a Consul agent, for what a real one cannot be made to say: an index that goes backwards, garbage,
 * answers of any size. Answers `/v1/health/service/...` alone, with blocking queries.
 */
export class StandInConsul implements AsyncDisposable {
  /** Everything that was asked, as it came. */
  readonly asked: URL[] = [];
  index = 10;
  instances: readonly unknown[] = [];
  /** Answers instead, where there is one. */
  script: ((request: IncomingMessage, response: ServerResponse) => void) | undefined;
  /** Goes with each answer. */
  headers: Readonly<Record<string, string>> = {};
  /** Does not wait, whatever is asked. */
  impatient = false;
  readonly #server: Server;
  readonly #blocked = new Set<() => void>();

  private constructor(server: Server) {
    this.#server = server;
    server.on('request', (request: IncomingMessage, response: ServerResponse) => this.#answer(request, response));
  }

  static async start(): Promise<StandInConsul> {
    const server = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    return new StandInConsul(server);
  }

  get address(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Questions that wait. */
  get waiting(): number {
    return this.#blocked.size;
  }

  /** Another list, at the next index unless one is given: those that wait hear of it. */
  say(instances: readonly unknown[], index = this.index + 1): void {
    this.instances = instances;
    this.index = index;
    this.wake();
  }

  /** Answers those that wait, with what there is. */
  wake(): void {
    for (const answer of [...this.#blocked]) answer();
  }

  /** Cuts every connection. */
  cut(): void {
    this.#server.closeAllConnections();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? '/', 'http://stand-in');
    this.asked.push(url);
    if (this.script !== undefined) {
      this.script(request, response);
      return;
    }
    const send = (): void => {
      this.#blocked.delete(send);
      if (this.script !== undefined) {
        this.script(request, response);
        return;
      }
      response.writeHead(200, { 'content-type': 'application/json', 'x-consul-index': String(this.index), ...this.headers });
      response.end(JSON.stringify(this.instances));
    };
    if (!this.impatient && Number(url.searchParams.get('index') ?? 0) === this.index) {
      this.#blocked.add(send);
      response.on('close', () => this.#blocked.delete(send));
    } else send();
  }
}
