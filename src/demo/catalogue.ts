import { accessSync, constants, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { delimiter, join } from 'node:path';
import { type Clock, silentLogger } from '../core/index.ts';
import { ConsulClient, parseConsulAddress } from '../discovery/index.ts';
import type { Child } from './child.ts';
import { demoServices } from './protocol.ts';

/** How the catalogue sees a service; `absent`: it does not. */
export type CatalogueStatus = 'passing' | 'critical' | 'absent';
export type CatalogueReading = ReadonlyMap<string, CatalogueStatus>;

export interface CatalogueOptions {
  readonly clock: Clock;
  /** The variables of Consul in the demo's own environment; `CONSUL_HTTP_ADDR` among them says whose catalogue is used. */
  readonly consulEnvironment: Readonly<Record<string, string>>;
  /** `PATH`, where a `consul` may be. */
  readonly path: string;
  /** `outrider registry`, as a child that says on which port it listens. */
  readonly startRegistry: () => Child;
  /** An agent of Consul, which says nothing: it is there when its API answers. */
  readonly startConsul: (command: readonly string[], isReady: () => Promise<boolean>) => Child;
  readonly say: (text: string) => void;
}

const answerWithinMs = 2_000;

const freePort = async (): Promise<number> => {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address !== null ? address.port : 0;
};

const findOnPath = (name: string, path: string): string | undefined =>
  path
    .split(delimiter)
    .map((folder) => join(folder, name))
    .find((file) => {
      try {
        accessSync(file, constants.X_OK);
        return statSync(file).isFile();
      } catch {
        return false;
      }
    });

const connect = (address: string, clock: Clock, environment: Readonly<Record<string, string>> = {}): ConsulClient => {
  const parsed = parseConsulAddress(address, /^(1|t|true)$/i.test(environment['CONSUL_HTTP_SSL'] ?? ''));
  if (parsed === undefined) throw new Error(`CONSUL_HTTP_ADDR: ${address} is no address; write 127.0.0.1:8500`);
  const file = (name: string, variable: string): object => (environment[variable] ? { [name]: environment[variable] } : {});
  return new ConsulClient({
    address: parsed,
    clock,
    log: silentLogger,
    timeoutMs: answerWithinMs,
    ...file('tokenFile', 'CONSUL_HTTP_TOKEN_FILE'),
    ...file('caCertPath', 'CONSUL_CACERT'),
    ...file('clientCertPath', 'CONSUL_CLIENT_CERT'),
    ...file('clientKeyPath', 'CONSUL_CLIENT_KEY'),
    ...file('tlsServerName', 'CONSUL_TLS_SERVER_NAME'),
  });
};

const answers = async (client: ConsulClient): Promise<boolean> => {
  try {
    const { body } = await client.call((api, ctx) => api.status.leader({ ctx }));
    // Before there is a leader nobody can register.
    return typeof body === 'string' && body !== '';
  } catch {
    return false;
  }
};

/**
 * Where the services of the demo find each other: the Consul of `CONSUL_HTTP_ADDR`, else a `consul` of `PATH` that is started for the
 * demo, else `outrider registry`. Whatever was started belongs to the demo, and ends with it.
 */
export class Catalogue {
  /** For people: `outrider registry at http://127.0.0.1:8500`. */
  readonly description: string;
  /** What a sidecar needs to reach it. */
  readonly environment: Readonly<Record<string, string>>;
  readonly #client: ConsulClient;

  private constructor(what: string, client: ConsulClient, environment: Readonly<Record<string, string>>) {
    this.description = `${what} at ${client.address}`;
    this.environment = environment;
    this.#client = client;
  }

  /** Rejects with a message for people where there is none to be had. */
  static async start(options: CatalogueOptions): Promise<Catalogue> {
    const { clock, consulEnvironment, path, startRegistry, say } = options;
    const given = consulEnvironment['CONSUL_HTTP_ADDR'];
    if (given !== undefined) {
      const client = connect(given, clock, consulEnvironment);
      if (await answers(client)) return new Catalogue('Consul', client, consulEnvironment);
      client.close();
      throw new Error(`Consul at ${client.address} does not answer; unset CONSUL_HTTP_ADDR, and the demo brings a registry of its own`);
    }
    const program = findOnPath('consul', path);
    if (program !== undefined) {
      const own = await startOwnConsul(program, options);
      if (own !== undefined) return own;
    }
    const ready = await startRegistry().ready();
    const address = `127.0.0.1:${Number(ready['port'])}`;
    if (program !== undefined) say('using "outrider registry" in its place\n');
    return new Catalogue('outrider registry', connect(address, clock), { CONSUL_HTTP_ADDR: address });
  }

  static of(what: string, client: ConsulClient, address: string): Catalogue {
    return new Catalogue(what, client, { CONSUL_HTTP_ADDR: address });
  }

  /** How it sees the services of the demo; empty where it does not answer. */
  async read(): Promise<CatalogueReading> {
    const found = new Map<string, CatalogueStatus>();
    try {
      await Promise.all(demoServices.map(async (name) => found.set(name, await this.#statusOf(name))));
    } catch {
      return new Map();
    }
    return new Map(demoServices.map((name) => [name, found.get(name) ?? 'absent']));
  }

  /** Consul's maintenance mode: the instance stays in the catalogue, and gets no calls. */
  async setMaintenance(id: string, enable: boolean): Promise<void> {
    await this.#client.call((api, ctx) => api.agent.service.maintenance({ id, enable, reason: 'a fault of the demo', ctx }));
  }

  close(): void {
    this.#client.close();
  }

  async #statusOf(service: string): Promise<CatalogueStatus> {
    const { body } = await this.#client.call((api, ctx) => api.health.service({ service, ctx }));
    const instances = body as unknown as readonly { readonly Checks: readonly { readonly Status: string }[] }[];
    if (instances.length === 0) return 'absent';
    return instances.some(({ Checks }) => Checks.every(({ Status }) => Status === 'passing')) ? 'passing' : 'critical';
  }
}

/** An agent in memory, on ports of the system's choice; `undefined` where it does not come up. */
const startOwnConsul = async (program: string, { clock, startConsul, say }: CatalogueOptions): Promise<Catalogue | undefined> => {
  const [http, server, serf] = await Promise.all([freePort(), freePort(), freePort()]);
  const address = `127.0.0.1:${http}`;
  const client = connect(address, clock);
  const ports = [`-http-port=${http}`, `-server-port=${server}`, `-serf-lan-port=${serf}`];
  const off = ['-serf-wan-port=-1', '-dns-port=-1', '-grpc-port=-1', '-grpc-tls-port=-1'];
  const where = ['-dev', '-node=outrider-demo', '-bind=127.0.0.1', '-client=127.0.0.1', '-log-level=error'];
  try {
    await startConsul([program, 'agent', ...where, ...ports, ...off], () => answers(client)).ready();
    return Catalogue.of('consul of PATH', client, address);
  } catch (error) {
    client.close();
    say(`${error instanceof Error ? error.message : String(error)}\n`);
    return undefined;
  }
};
