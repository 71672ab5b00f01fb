import { request } from 'node:http';
import { ConfigurationError, formatHostPort } from '../core/index.ts';
import type { Environment } from './configuration.ts';
import { CommandFailure } from './console.ts';
import { settings } from './settings.ts';

export interface AdminAddress {
  readonly host: string;
  readonly port: number;
}

const answerWithinMs = 10_000;
const remedy = 'start a sidecar there, or name its admin port with --admin host:port or with ADMIN_ADDRESS and ADMIN_PORT';

/** `host:port`, `[v6]:port`, or a port alone. */
const parseAdminOption = (text: string): AdminAddress => {
  const parts = /^(?:(?:\[([^\]]+)\]|([^:[\]/\s]+)):)?(\d{1,5})$/.exec(text);
  const port = Number(parts?.[3]);
  if (parts === null || port < 1 || port > 65_535) {
    throw new ConfigurationError(`--admin ${text}: expected host:port`, { remedy: 'write --admin 127.0.0.1:9901' });
  }
  return { host: parts[1] ?? parts[2] ?? '127.0.0.1', port };
};

/** The admin port that a command talks to: `--admin`, else `ADMIN_ADDRESS` and `ADMIN_PORT`, else 127.0.0.1:9901. */
export const findAdminAddress = (option: string | undefined, environment: Environment): AdminAddress => {
  if (option !== undefined) return parseAdminOption(option);
  const { adminAddress, adminPort } = settings;
  const host = adminAddress.parse(environment[adminAddress.variable]?.trim() || '127.0.0.1');
  if (!host.ok) {
    const value = JSON.stringify(environment[adminAddress.variable]);
    throw new ConfigurationError(`ADMIN_ADDRESS: ${value} is not allowed: expected ${host.allowed}`, {
      remedy: `write ADMIN_ADDRESS=${host.write}`,
    });
  }
  const port = adminPort.parse(environment[adminPort.variable]?.trim() || '9901');
  if (!port.ok || port.value === 0) {
    const value = JSON.stringify(environment[adminPort.variable]);
    throw new ConfigurationError(`ADMIN_PORT: ${value} is not allowed: expected a port from 1 to 65535`, {
      remedy: 'write ADMIN_PORT=9901',
    });
  }
  // An address that means "every interface" to a listener means nothing to a client.
  const everyInterface = host.value === '0.0.0.0' || host.value === '::';
  return { host: everyInterface ? '127.0.0.1' : host.value, port: port.value };
};

const reasonOf = (error: NodeJS.ErrnoException): string => {
  if (error.code === 'ECONNREFUSED') return 'nobody listens there';
  if (error.code === 'ENOTFOUND' || error.code === 'EAI_AGAIN') return 'the name is unknown';
  if (error.code === 'ETIMEDOUT') return 'no answer';
  if (error.code?.startsWith('HPE_')) return 'what listens there does not speak HTTP';
  return error.message || error.code || 'the connection failed';
};

/** The `error` of a JSON answer, or the text itself. */
const errorTextOf = (body: string): string => {
  try {
    const answer: unknown = JSON.parse(body);
    if (typeof answer === 'object' && answer !== null && 'error' in answer) return String(answer.error);
  } catch {
    // Not JSON: the text is what there is to show.
  }
  return body.trim().slice(0, 500);
};

/** Speaks HTTP with one sidecar's admin port. Every failure is a `CommandFailure` that names the address. */
export class AdminClient {
  readonly #address: AdminAddress;

  constructor(address: AdminAddress) {
    this.#address = address;
  }

  get(path: string): Promise<string> {
    return this.#ask('GET', path);
  }

  post(path: string): Promise<string> {
    return this.#ask('POST', path);
  }

  /** Resolves with the parsed answer of a path that speaks JSON. */
  async getJson(path: string): Promise<unknown> {
    const body = await this.get(path);
    try {
      return JSON.parse(body);
    } catch (error) {
      throw new CommandFailure(`${this.#url(path)} answered something else than JSON`, { remedy, cause: error });
    }
  }

  #url(path: string): string {
    const { host, port } = this.#address;
    return `http://${formatHostPort({ host, port })}${path}`;
  }

  #ask(method: 'GET' | 'POST', path: string): Promise<string> {
    const { host, port } = this.#address;
    return new Promise((resolve, reject) => {
      // Without an agent no kept-alive socket holds the command back after its answer.
      const outgoing = request({ host, port, method, path, agent: false, timeout: answerWithinMs }, (answer) => {
        const chunks: Buffer[] = [];
        answer.on('data', (chunk: Buffer) => chunks.push(chunk));
        answer.on('end', () => {
          const body = Buffer.concat(chunks).toString('utf8');
          const status = answer.statusCode ?? 0;
          if (status < 400) resolve(body);
          else reject(new CommandFailure(`${method} ${this.#url(path)} answered ${status}: ${errorTextOf(body)}`));
        });
        answer.on('error', fail);
      });
      const fail = (error: NodeJS.ErrnoException): void => {
        reject(new CommandFailure(`no sidecar answers at ${this.#url('')}: ${reasonOf(error)}`, { remedy, cause: error }));
      };
      outgoing.on('timeout', () => outgoing.destroy(Object.assign(new Error('no answer'), { code: 'ETIMEDOUT' })));
      outgoing.on('error', fail);
      outgoing.end();
    });
  }
}
