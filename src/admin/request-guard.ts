import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import { AdminProblem } from './reply.ts';

/** `name`, `name:port`, `[v6]:port` without its port, lower case; `undefined` where it is none of them. */
const hostOf = (authority: string): string | undefined => {
  const parts = /^(?:\[([0-9a-f:.%]+)\]|([^:[\]\s/@]+))(?::\d{0,5})?$/i.exec(authority);
  return (parts?.[1] ?? parts?.[2])?.toLowerCase().replace(/\.$/, '');
};

const isLoopback = (host: string): boolean =>
  host === 'localhost' || host.endsWith('.localhost') || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));

/** IPv4 addresses on a socket of both families look like `::ffff:10.0.0.1`. */
const plainAddress = (address: string | undefined): string | undefined => address?.toLowerCase().replace(/^::ffff:(?=\d+\.)/, '');

/**
 * Keeps web pages away from a port of HTTP. A page that had its name point here (DNS rebinding) is betrayed by its `Host`; a
 * form of another site, by `Origin` or `Sec-Fetch-Site`, which browsers send by themselves and pages cannot forge. Programs
 * such as curl send neither and pass.
 */
export class RequestGuard {
  readonly #allowed: ReadonlySet<string>;
  readonly #port: string;
  readonly #setting: string;

  /**
   * @param names which the port may be asked under, beside the loopback's and the address that it was reached at.
   * @param told what the port is called, and where one adds a name, for those who are refused.
   */
  constructor(names: readonly string[], told = { port: 'this admin port', setting: 'ADMIN_ALLOWED_HOSTS' }) {
    this.#port = told.port;
    this.#setting = told.setting;
    this.#allowed = new Set(names.flatMap((name) => hostOf(name) ?? (isIP(name) === 6 ? name.toLowerCase() : [])));
  }

  /** Throws 403 where `Host` names somebody else. */
  checkHost(request: IncomingMessage): void {
    const host = hostOf(request.headers.host ?? '');
    if (host !== undefined && (isLoopback(host) || this.#allowed.has(host) || host === plainAddress(request.socket.localAddress))) return;
    const shown = JSON.stringify(request.headers.host ?? '');
    throw new AdminProblem(403, `Host ${shown} is not a name of ${this.#port}; add it to ${this.#setting} if it should be`);
  }

  /** Throws 403 where a page of another site asks for a change, or for what else is not for it. */
  checkSameSite(request: IncomingMessage, forbids = 'may change nothing'): void {
    const { origin, host, 'sec-fetch-site': site } = request.headers;
    if (site !== undefined && site !== 'same-origin' && site !== 'none') {
      throw new AdminProblem(403, `a request from another site ${forbids} (Sec-Fetch-Site: ${site})`);
    }
    if (origin !== undefined && (!URL.canParse(origin) || new URL(origin).host.toLowerCase() !== host?.toLowerCase())) {
      throw new AdminProblem(403, `a request from another site ${forbids} (Origin: ${origin})`);
    }
  }
}
