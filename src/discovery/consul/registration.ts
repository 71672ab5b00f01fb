import type { Clock, Logger, Timer, Watch } from '../../core/index.ts';
import type { StatSink, StatSource } from '../../telemetry/index.ts';
import type { ConsulClient } from './consul-client.ts';
import { ConsulError } from './consul-error.ts';
import {
  checkIdOf,
  type RegisteredService,
  type RegistrationCheck,
  registrationBody,
  type ServiceReport,
} from './registration-definition.ts';

export interface RegistrationOptions {
  readonly client: ConsulClient;
  readonly clock: Clock;
  readonly log: Logger;
  /** From 0 to 1, for jitter. */
  readonly random: () => number;
  readonly service: RegisteredService;
  /** `ns` and `partition` of Consul Enterprise, where they are not those of the token and the agent. */
  readonly scope?: Readonly<Record<string, string>>;
  readonly check: RegistrationCheck;
  /** How the service beside the sidecar is; used by a TTL check. */
  readonly health: Watch<ServiceReport>;
  /** How long a critical instance stays in the catalogue; 0: for ever. */
  readonly deregisterAfterMs: number;
}

/**
 * `registering`: not in the catalogue yet. `registered`. `lost`: it was, and Consul does not answer now, or does not let us.
 * `deregistered`: taken out by ourselves, and not to come back.
 */
export type RegistrationState = 'registering' | 'registered' | 'lost' | 'deregistered';

export interface RegistrationView {
  readonly state: RegistrationState;
  readonly id: string;
  readonly address: string;
  readonly port: number;
  readonly agent: string;
  /** Wall clock: since when the state is what it is. */
  readonly sinceMs: number;
  /** Why the last attempt failed; the next is under way. */
  readonly error?: string;
  readonly remedy?: string;
}

/** Whatever the agent was told is told again this often, in case it forgot without a word. */
const syncIntervalMs = 60_000;
/** Where no TTL is to be fed, the agent is asked this often whether it still knows us: it may have been restarted empty. */
const presenceIntervalMs = 4_000;
const shortestBackOffMs = 250;
/** A restarted agent has its services back within it; agents are asked by their own machine, so that no herd is to be feared. */
const longestBackOffMs = 3_000;
/** Refused is refused: asking more often changes nothing, and a token that is replaced is noticed at once. */
const refusedBackOffMs = 15_000;
const answerWithinMs = 3_000;
const deregisterWithinMs = 2_000;
const longestOutput = 500;

/**
 * Keeps one service in the catalogue of Consul while its sidecar lives: registers it, feeds its check, puts it back when the agent
 * has lost it, takes it out once. One request at a time, so that none overtakes another. What Consul cannot do now is tried again
 * for ever, with jitter; the sidecar serves meanwhile. Maintenance mode is a check of the operator's, which nothing here touches.
 */
export class Registration implements StatSource {
  readonly #options: RegistrationOptions;
  #state: RegistrationState = 'registering';
  #sinceMs: number;
  #error: string | undefined;
  #remedy: string | undefined;
  #failuresInARow = 0;
  #refused = false;
  #syncAtMs = 0;
  #timer: Timer | undefined;
  #underWay: Promise<void> | undefined;
  /** Something changed while a request was under way. */
  #again = false;
  #closed = false;
  readonly #ended = new AbortController();
  #unsubscribe: () => void = () => {};
  readonly #counts = { attempt: 0, success: 0, failure: 0, refused: 0, lost: 0, report: 0, report_failure: 0 };

  constructor(options: RegistrationOptions) {
    this.#options = options;
    this.#sinceMs = options.clock.wallNow();
  }

  get view(): RegistrationView {
    const { service, client } = this.#options;
    return {
      state: this.#state,
      id: service.id,
      address: service.address,
      port: service.port,
      agent: client.address,
      sinceMs: this.#sinceMs,
      ...(this.#error === undefined ? {} : { error: this.#error }),
      ...(this.#error === undefined || this.#remedy === undefined ? {} : { remedy: this.#remedy }),
    };
  }

  /** Begins; returns at once. */
  start(): void {
    const { health, client } = this.#options;
    const endHealth = health.subscribe(() => this.#soon());
    const endCredentials = client.credentials.onChange(() => this.#soon());
    this.#unsubscribe = () => {
      endHealth();
      endCredentials();
    };
    this.#soon();
  }

  /**
   * Takes the service out of the catalogue, and lets it stay out. Resolves within seconds, whatever Consul does; never rejects: an
   * agent that is gone lets the check run out by itself. Idempotent.
   */
  async deregister(): Promise<void> {
    const wasThere = this.#state !== 'deregistered';
    await this.#end();
    const { client, service, log, scope = {} } = this.#options;
    // Also where no registration was ever confirmed: one whose answer was lost stands in the catalogue all the same.
    if (!wasThere || this.#counts.attempt === 0) return;
    try {
      await client.call((api, ctx) => api.agent.service.deregister({ id: service.id, ctx }), {
        query: scope,
        timeoutMs: deregisterWithinMs,
      });
      log.info('deregistered', { service: service.name, id: service.id });
    } catch (error) {
      if (isUnknown(error)) return;
      const remedy = 'its check runs out by itself; until then peers may still call it';
      log.warning('the service could not be taken out of the catalogue', { id: service.id, error: textOf(error), remedy });
    }
  }

  /** Ends without a word to Consul. Idempotent. */
  close(): void {
    void this.#end();
  }

  collectStats(sink: StatSink): void {
    for (const [name, value] of Object.entries(this.#counts)) sink.counter(`registration.${name}`, value);
    sink.gauge('registration.registered', this.#state === 'registered' ? 1 : 0);
  }

  async #end(): Promise<void> {
    this.#closed = true;
    this.#unsubscribe();
    this.#timer?.cancel();
    this.#move('deregistered');
    // A report is given up; a registration that is under way must not arrive after the end of it.
    this.#ended.abort();
    await this.#underWay;
  }

  /** At once, or as soon as the request under way is answered. */
  #soon(): void {
    if (this.#closed) return;
    if (this.#underWay !== undefined) {
      this.#again = true;
      return;
    }
    this.#timer?.cancel();
    this.#underWay = this.#turn().then((nextMs) => {
      this.#underWay = undefined;
      if (this.#closed) return;
      const again = this.#again;
      this.#again = false;
      // A service that changes its mind all the time must not keep an agent busy that does not answer.
      if (again && this.#failuresInARow === 0) this.#soon();
      else this.#timer = this.#options.clock.setTimer(() => this.#soon(), nextMs);
    });
  }

  /** One look after everything that is due; resolves with milliseconds until the next. */
  async #turn(): Promise<number> {
    const { clock } = this.#options;
    try {
      if (this.#state !== 'registered' || clock.now() >= this.#syncAtMs) await this.#register();
      else if (!(await this.#isKnown())) {
        this.#counts.lost++;
        this.#options.log.warning('Consul has lost the registration', {
          service: this.#options.service.name,
          id: this.#options.service.id,
        });
        await this.#register();
      }
      this.#failuresInARow = 0;
      return this.#untilNextMs();
    } catch (error) {
      if (!this.#closed) this.#onFailure(error);
      return this.#backOffMs();
    }
  }

  async #register(): Promise<void> {
    const { client, service, scope = {}, check, health, deregisterAfterMs, clock } = this.#options;
    this.#counts.attempt++;
    const report = health.value;
    const body = registrationBody(service, check, report, deregisterAfterMs);
    await client.call((api, ctx) => api.agent.service.register({ name: service.name, ctx }), {
      body,
      query: scope,
      timeoutMs: answerWithinMs,
    });
    // What was there already has kept its status: the agent takes that of the body for new checks only.
    if (check.kind === 'ttl') await this.#report(report);
    this.#counts.success++;
    this.#syncAtMs = clock.now() + syncIntervalMs * (0.9 + 0.2 * this.#options.random());
    this.#error = undefined;
    this.#refused = false;
    if (this.#closed || this.#state === 'registered') return;
    this.#move('registered');
    const { id, address, port } = service;
    // The latest word: where it is another one than was registered, it is on its way.
    const { status, output: why } = health.value;
    this.#options.log.info('registered', { service: service.name, id, address, port, agent: client.address, status, why });
  }

  /** Feeds the check, or asks where there is nothing to feed; false where the agent knows nothing of us. */
  async #isKnown(): Promise<boolean> {
    const { client, service, scope, check, health } = this.#options;
    if (check.kind === 'ttl') {
      try {
        await this.#report(health.value);
        return true;
      } catch (error) {
        if (isUnknown(error)) return false;
        this.#counts.report_failure++;
        throw error;
      }
    }
    const query = { ...scope, filter: `ID == ${JSON.stringify(service.id)}` };
    const { body } = await client.call((api, ctx) => api.agent.service.list({ ctx }), {
      query,
      timeoutMs: answerWithinMs,
      signal: this.#ended.signal,
    });
    return typeof body === 'object' && body !== null && Object.hasOwn(body, service.id);
  }

  async #report({ status, output }: ServiceReport): Promise<void> {
    const { client, service, scope = {} } = this.#options;
    const verb = { passing: 'pass', warning: 'warn', critical: 'fail' } as const;
    const told = { id: checkIdOf(service), note: output.slice(0, longestOutput) };
    this.#counts.report++;
    await client.call((api, ctx) => api.agent.check[verb[status]]({ ...told, ctx }), {
      query: scope,
      timeoutMs: answerWithinMs,
      signal: this.#ended.signal,
    });
  }

  #onFailure(error: unknown): void {
    const { log, service, client } = this.#options;
    const text = textOf(error);
    this.#failuresInARow++;
    this.#counts.failure++;
    this.#refused = isRefusal(error);
    if (this.#refused) this.#counts.refused++;
    if (this.#state === 'registered') this.#move('lost');
    // Once for each reason: an agent that is away for a day fills no disk.
    if (text === this.#error) return;
    this.#error = text;
    this.#remedy = this.#refused ? remedyOf(error, service) : 'see that an agent of Consul answers there, or correct CONSUL_HTTP_ADDR';
    const fields = { service: service.name, id: service.id, agent: client.address, error: text };
    log.warning('not registered, trying again', { ...fields, remedy: this.#remedy });
  }

  #move(state: RegistrationState): void {
    if (this.#state === state) return;
    this.#state = state;
    this.#sinceMs = this.#options.clock.wallNow();
  }

  #untilNextMs(): number {
    const { check, clock, random } = this.#options;
    // Three in the time of one TTL: two may be lost.
    const usualMs = (check.kind === 'ttl' ? Math.min(check.ttlMs / 3, presenceIntervalMs) : presenceIntervalMs) * (0.9 + 0.1 * random());
    return Math.max(0, Math.min(usualMs, this.#syncAtMs - clock.now()));
  }

  #backOffMs(): number {
    const longestMs = this.#refused ? refusedBackOffMs : longestBackOffMs;
    const ceilingMs = Math.min(shortestBackOffMs * 2 ** Math.min(this.#failuresInARow, 16), longestMs);
    return ceilingMs * (0.5 + this.#options.random() / 2);
  }
}

const textOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

const statusOf = (error: unknown): number => (error instanceof ConsulError ? error.status : 0);

/** Old agents answer 500 for a check that they do not know, new ones 404; registering again is harmless where it was something else. */
const isUnknown = (error: unknown): boolean => [404, 500].includes(statusOf(error)) && !isLeaderless(error);

/** An agent without a leader knows its own services all the same. */
const isLeaderless = (error: unknown): boolean => /no cluster leader|rpc error/i.test(textOf(error));

const isRefusal = (error: unknown): boolean => [400, 401, 403, 413, 429].includes(statusOf(error));

const remedyOf = (error: unknown, { name }: RegisteredService): string =>
  [401, 403].includes(statusOf(error))
    ? `give the token of CONSUL_HTTP_TOKEN_FILE a policy with service "${name}" { policy = "write" } and node_prefix "" { policy = "read" }`
    : 'the agent takes no such registration; see its answer';
