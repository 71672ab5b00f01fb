import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { type Clock, formatHostPort, type Logger } from '../core/index.ts';
import { Catalogue } from './catalogue.ts';
import { ChangeIndex } from './change-index.ts';
import { CheckRunner } from './check-runner.ts';
import { KeyValues } from './key-values.ts';
import { defaultLimits, type RegistryLimits } from './limits.ts';
import { RegistryServer } from './server.ts';
import { readState, restoreState, StateFile } from './state-file.ts';
import { WaitingQueries } from './waiting-queries.ts';

export interface RegistryOptions {
  readonly host: string;
  /** 0: the system chooses. */
  readonly port: number;
  /** Where to keep what was registered; without it everything is gone with the process. */
  readonly dataPath?: string;
  /** Names which it may be asked under, beside the loopback's, the own host name, and the address that it was reached at. */
  readonly allowedHosts?: readonly string[];
  readonly datacenter?: string;
  readonly nodeName?: string;
  readonly limits?: Partial<RegistryLimits>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly random: () => number;
}

/** Consul calls a node by letters, digits and dashes. */
const ownNodeName = (): string => hostname().replace(/[^A-Za-z0-9-]/g, '-') || 'outrider';

/** The address of the node, for services that were registered without one: where it listens, unless that is everywhere. */
const nodeAddressOf = (host: string): string => (host === '0.0.0.0' || host === '::' || !/^[0-9a-f.:]+$/i.test(host) ? '127.0.0.1' : host);

/**
 * The part of Consul's HTTP API that sidecars use, in one process and in memory: what laptops, demos and tests need of a Consul.
 * One node, no cluster, no access control.
 */
export class Registry {
  readonly #server: RegistryServer;
  readonly #runner: CheckRunner;
  readonly #waiting: WaitingQueries;
  readonly #file: StateFile | undefined;
  #address = '';

  /** Reads the file; throws a `ConfigurationError` where it cannot be used. Nothing listens yet. */
  constructor(options: RegistryOptions) {
    const { clock, log, random, host, port, dataPath } = options;
    const limits = { ...defaultLimits, ...options.limits };
    const saved = dataPath === undefined ? undefined : readState(dataPath);
    const index = new ChangeIndex();
    const catalogue = new Catalogue(clock, index, limits);
    const keyValues = new KeyValues(index, limits);
    const node = {
      id: saved?.nodeId ?? randomUUID(),
      name: options.nodeName ?? ownNodeName(),
      address: nodeAddressOf(host),
      datacenter: options.datacenter ?? 'dc1',
    };
    this.#runner = new CheckRunner(catalogue, { clock, log, random });
    catalogue.listener = this.#runner;
    this.#waiting = new WaitingQueries({ clock, index, atMost: limits.waiting, random });
    try {
      const state = { index, catalogue, keyValues };
      if (saved !== undefined) restoreState(saved, state);
      this.#file = dataPath === undefined ? undefined : new StateFile(dataPath, node.id, state, { clock, log });
    } catch (error) {
      this.#runner.close();
      throw error;
    }
    const parts = { node, address: () => this.#address, catalogue, runner: this.#runner, keyValues, waiting: this.#waiting };
    this.#server = new RegistryServer(parts, {
      host,
      port,
      allowedHosts: [hostname(), ...(options.allowedHosts ?? [])],
      connectionsAtMost: limits.connections,
      clock,
      log,
    });
  }

  /** Resolves with what is really bound; rejects with a `ConfigurationError` where it cannot be had, and leaves nothing open then. */
  async start(): Promise<{ readonly host: string; readonly port: number }> {
    try {
      const bound = await this.#server.start();
      this.#address = formatHostPort(bound);
      return bound;
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  /** Answers those who wait, stops listening, saves what has changed. Idempotent. */
  async close(): Promise<void> {
    this.#waiting.close();
    await this.#server.close();
    this.#runner.close();
    this.#file?.close();
  }
}
