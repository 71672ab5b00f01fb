import { formatHostPort } from '../../core/index.ts';
import { type Json, list, object, text } from '../json.ts';
import { type Address, isLoopback } from './address.ts';
import { askHttp, askJson, type ClockReading, type HttpAnswer, type HttpQuestion } from './http-question.ts';

/** One breaker that stands in the way of calls. */
export interface StandingBreaker {
  readonly cluster: string;
  readonly state: string;
  /** An endpoint or a method, where the breaker is of one. */
  readonly of: string | undefined;
  /** Held by hand, until when. */
  readonly heldUntil: string | undefined;
}

export interface SidecarHost {
  readonly address: string;
  readonly isHealthy: boolean;
  /** What its health check says, where it has one. */
  readonly checkState: string | undefined;
  readonly checkWhy: string;
  /** For what outlier detection has it out. */
  readonly ejectedFor: string | undefined;
}

export interface SidecarCluster {
  readonly name: string;
  readonly standing: readonly StandingBreaker[];
  readonly hosts: readonly SidecarHost[];
  readonly sourceError: string | undefined;
  readonly stalenessSeconds: number;
}

export interface ServerInfo {
  readonly service: string;
  readonly version: string;
  /** `LIVE`, `DRAINING`, `PRE_INITIALIZING`. */
  readonly state: string;
  readonly overload: readonly string[];
  readonly registration: { readonly id: string; readonly state: string; readonly error: string | undefined } | undefined;
  readonly time: ClockReading | undefined;
}

export interface PolicyState {
  readonly version: string;
  readonly files: number;
  readonly warnings: number;
  /** Of the last reload, where it was refused: `file:line:column: what is wrong`. */
  readonly lastProblems: readonly string[];
}

/** What a sidecar says of itself. Every method rejects with an `UnansweredError`. */
export class AdminPort {
  readonly address: Address;
  /** As it goes behind `--admin`. */
  readonly shown: string;
  readonly #question: HttpQuestion;
  readonly #base: string;

  constructor(address: Address, service: string, question: HttpQuestion) {
    this.address = address;
    this.shown = formatHostPort(address);
    this.#base = `http://${this.shown}`;
    // Under the name of its service an admin port answers also behind a published port; on the loopback the name would hide whose it is.
    this.#question = isLoopback(address.host) ? question : { ...question, host: service };
  }

  async serverInfo(): Promise<ServerInfo> {
    const { value, answer } = await askJson(`${this.#base}/server_info`, this.#question);
    const info = object(value);
    const registration = object(info['registration']);
    return {
      service: text(object(info['node'])['id']),
      version: text(info['version']),
      state: text(info['state']),
      overload: Array.isArray(info['overload_actions']) ? info['overload_actions'].map(String) : [],
      registration:
        info['registration'] === undefined
          ? undefined
          : {
              id: text(registration['id']),
              state: text(registration['state']),
              error: registration['error'] === undefined ? undefined : text(registration['error']),
            },
      time: answer.time,
    };
  }

  ready(): Promise<HttpAnswer> {
    return askHttp(`${this.#base}/ready`, this.#question);
  }

  metrics(): Promise<HttpAnswer> {
    return askHttp(`${this.#base}/metrics`, this.#question);
  }

  async policies(): Promise<PolicyState> {
    const policies = object((await askJson(`${this.#base}/policies`, this.#question)).value);
    const last = list(policies['reloads']).at(-1);
    return {
      version: text(policies['version'], ''),
      files: Array.isArray(policies['files']) ? policies['files'].length : 0,
      warnings: list(policies['warnings']).length,
      lastProblems: last === undefined || last['ok'] !== false ? [] : problemsOf(last),
    };
  }

  async clusters(): Promise<readonly SidecarCluster[]> {
    const { value } = await askJson(`${this.#base}/clusters?format=json`, this.#question);
    return list(object(value)['cluster_statuses']).map(clusterOf);
  }

  /** The port of a listener, such as `inbound`; 0 where there is none of that name. */
  async listenerPort(name: string): Promise<number> {
    const { value } = await askJson(`${this.#base}/listeners?format=json`, this.#question);
    const found = list(object(value)['listener_statuses']).find((listener) => listener['name'] === name);
    return Number(object(object(found?.['local_address'])['socket_address'])['port_value']) || 0;
  }
}

const problemsOf = (reload: Json): readonly string[] =>
  list(reload['problems'])
    .filter((problem) => problem['severity'] === 'error')
    .map((problem) => `${problem['location'] === null ? '' : `${text(problem['location'])}: `}${text(problem['message'])}`);

const clusterOf = (cluster: Json): SidecarCluster => {
  const name = text(cluster['name']);
  const several = list(cluster['circuit_breakers']);
  const breakers = several.length > 0 ? several : [object(cluster['circuit_breaker'])];
  const source = object(cluster['endpoint_source']);
  return {
    name,
    standing: breakers.filter((breaker) => text(breaker['state'], 'CLOSED') !== 'CLOSED').map((breaker) => breakerOf(name, breaker)),
    hosts: list(cluster['host_statuses']).map(hostOf),
    sourceError: source['error'] === undefined ? undefined : text(source['error']),
    stalenessSeconds: Number(source['staleness_seconds'] ?? 0),
  };
};

const breakerOf = (cluster: string, breaker: Json): StandingBreaker => ({
  cluster,
  state: text(breaker['state']),
  of: typeof breaker['endpoint'] === 'string' ? breaker['endpoint'] : typeof breaker['method'] === 'string' ? breaker['method'] : undefined,
  heldUntil: breaker['held'] === undefined ? undefined : text(breaker['hold_until']),
});

const hostOf = (host: Json): SidecarHost => {
  const socket = object(object(host['address'])['socket_address']);
  const check = object(host['health_check']);
  const ejection = object(host['ejection']);
  return {
    address: formatHostPort({ host: text(socket['address']), port: Number(socket['port_value']) }),
    isHealthy: text(object(host['health_status'])['eds_health_status'], 'HEALTHY') === 'HEALTHY',
    checkState: host['health_check'] === undefined ? undefined : text(check['state']),
    checkWhy: text(check['why'], ''),
    ejectedFor: host['ejection'] === undefined ? undefined : text(ejection['type']),
  };
};
