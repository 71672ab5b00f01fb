import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort, untilAnswering } from '../harness/ports.ts';
import { type Program, spawnProgram } from '../harness/program.ts';
import { type TemporaryFolder, temporaryFolder } from '../harness/temporary-folder.ts';

export interface ConsulProcessOptions {
  /** The binary, from `peerProgram('consul')`. */
  readonly path: string;
  /** Goes into the agent's configuration, beside and above what is there. */
  readonly configuration?: Readonly<Record<string, unknown>>;
  /** Keeps its state on disk, so that a restart finds it again; without it the agent is one of `-dev`, in memory. */
  readonly persistent?: boolean;
  /** Where it answers by HTTPS, with the certificates that `configuration` names; nowhere unless given. */
  readonly httpsPort?: number;
  /** Sent with every question of `ask`. */
  readonly token?: string;
}

export interface InstanceRegistration {
  readonly Name: string;
  readonly ID: string;
  readonly Address: string;
  readonly Port: number;
  readonly Tags?: readonly string[];
  readonly Meta?: Readonly<Record<string, string>>;
  readonly Weights?: { readonly Passing: number; readonly Warning: number };
  readonly Check?: Readonly<Record<string, unknown>>;
}

interface ConsulPorts {
  readonly http: number;
  readonly dns: number;
  readonly server: number;
  readonly serf_lan: number;
  readonly serf_wan: number;
}

const mostAttempts = 3;

const choosePorts = async (): Promise<ConsulPorts> => {
  const [http = 0, dns = 0, server = 0, serf_lan = 0, serf_wan = 0] = await Promise.all(Array.from({ length: 5 }, freePort));
  return { http, dns, server, serf_lan, serf_wan };
};

/**
 * A real agent of Consul on free ports of 127.0.0.1, which can be killed and started again on the same ones:
 *
 *     await using consul = await ConsulProcess.start({ path: program.path });
 *     await consul.register({ Name: 'auth-svc', ID: 'auth-1', Address: '127.0.0.1', Port: 50051 });
 */
export class ConsulProcess implements AsyncDisposable {
  readonly ports: ConsulPorts;
  /** For `CONSUL_HTTP_ADDR`. */
  readonly address: string;
  /** Its own, for a Unix socket and certificates; gone with the process. */
  readonly folder: string;
  readonly #options: ConsulProcessOptions;
  readonly #temporary: TemporaryFolder;
  #program: Program | undefined;

  private constructor(options: ConsulProcessOptions, ports: ConsulPorts, folder: TemporaryFolder) {
    this.#options = options;
    this.ports = ports;
    this.address = `127.0.0.1:${ports.http}`;
    this.#temporary = folder;
    this.folder = folder.path;
  }

  /** Not started yet: for several that have to know of each other's ports first. */
  static async prepare(options: ConsulProcessOptions): Promise<ConsulProcess> {
    return new ConsulProcess(options, await choosePorts(), temporaryFolder());
  }

  /** One agent that is its own server, and answers. Ports that were free may be somebody else's a moment later: then it is tried with others. */
  static async start(options: ConsulProcessOptions): Promise<ConsulProcess> {
    for (let attempt = 1; ; attempt++) {
      const consul = await ConsulProcess.prepare(options);
      try {
        await consul.begin();
        await consul.ready();
        return consul;
      } catch (error) {
        const taken = consul.log.includes('address already in use');
        await consul[Symbol.asyncDispose]();
        if (!taken || attempt === mostAttempts) throw error;
      }
    }
  }

  /** Starts the process, on the same ports each time. In memory it begins empty. */
  async begin(configuration: Readonly<Record<string, unknown>> = {}): Promise<void> {
    const { path, persistent = false, httpsPort = -1 } = this.#options;
    const file = join(this.folder, 'consul.json');
    writeFileSync(
      file,
      JSON.stringify({
        bind_addr: '127.0.0.1',
        client_addr: '127.0.0.1',
        ports: { ...this.ports, https: httpsPort, grpc: -1, grpc_tls: -1 },
        node_name: `node-${this.ports.http}`,
        log_level: 'warn',
        disable_update_check: true,
        leave_on_terminate: false,
        performance: { raft_multiplier: 1 },
        ...(persistent ? { server: true, bootstrap_expect: 1, data_dir: join(this.folder, 'data') } : {}),
        ...this.#options.configuration,
        ...configuration,
      }),
    );
    this.#program = spawnProgram(path, ['agent', ...(persistent ? [] : ['-dev']), '-config-file', file]);
  }

  /** Resolves when there is a leader and the catalogue can be read. */
  async ready(): Promise<void> {
    if (this.#program === undefined) throw new Error('not started');
    await untilAnswering(this.#program, async () => {
      try {
        const [leader, nodes] = await Promise.all([this.ask('GET', '/status/leader'), this.ask('GET', '/catalog/nodes')]);
        return leader !== '' && Array.isArray(nodes) && nodes.length > 0;
      } catch {
        return false;
      }
    });
  }

  /** SIGKILL where nothing else is said. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    await this.#program?.stop(signal);
    this.#program = undefined;
  }

  get pid(): number {
    return this.#program?.pid ?? -1;
  }

  get log(): string {
    return `${this.#program?.stdout ?? ''}${this.#program?.stderr ?? ''}`;
  }

  /** One question to its HTTP API, `path` below `/v1`; rejects for a status other than 2xx. */
  async ask(method: string, path: string, body?: unknown): Promise<unknown> {
    const { token } = this.#options;
    const answer = await fetch(`http://${this.address}/v1${path}`, {
      method,
      headers: { connection: 'close', ...(token === undefined ? {} : { 'x-consul-token': token }) },
      signal: AbortSignal.timeout(10_000),
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
    return text === '' ? undefined : JSON.parse(text);
  }

  async register(instance: InstanceRegistration): Promise<void> {
    await this.ask('PUT', '/agent/service/register', instance);
  }

  async deregister(id: string): Promise<void> {
    await this.ask('PUT', `/agent/service/deregister/${encodeURIComponent(id)}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#program?.[Symbol.asyncDispose]();
    this.#program = undefined;
    this.#temporary[Symbol.dispose]();
  }
}

/** Several servers of one datacenter, with a leader, each on ports of its own. */
export class ConsulCluster implements AsyncDisposable {
  readonly servers: readonly ConsulProcess[];

  private constructor(servers: readonly ConsulProcess[]) {
    this.servers = servers;
  }

  static async start(options: ConsulProcessOptions, size = 3): Promise<ConsulCluster> {
    const servers: ConsulProcess[] = [];
    for (let i = 0; i < size; i++) servers.push(await ConsulProcess.prepare({ ...options, persistent: true }));
    const cluster = new ConsulCluster(servers);
    const retry_join = servers.map(({ ports }) => `127.0.0.1:${ports.serf_lan}`);
    try {
      for (const server of servers) await server.begin({ bootstrap_expect: size, retry_join, retry_interval: '500ms' });
      for (const server of servers) await server.ready();
    } catch (error) {
      await cluster[Symbol.asyncDispose]();
      throw error;
    }
    return cluster;
  }

  /** The one that leads now. */
  async leader(): Promise<ConsulProcess> {
    for (const server of this.servers) {
      try {
        const leader = String(await server.ask('GET', '/status/leader'));
        const found = this.servers.find(({ ports, pid }) => pid !== -1 && leader.endsWith(`:${ports.server}`));
        if (found !== undefined) return found;
      } catch {
        // Another one knows.
      }
    }
    throw new Error('no server knows a leader');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const server of this.servers) await server[Symbol.asyncDispose]();
  }
}
