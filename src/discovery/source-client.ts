import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { type IncomingMessage, Agent as PlainAgent, request as plainRequest } from 'node:http';
import { Agent as TlsAgent, request as tlsRequest } from 'node:https';
import { type Clock, SystemClock } from '../core/index.ts';
import type { SourceCredentials } from '../policy/index.ts';

export interface SourceClientOptions extends SourceCredentials {
  /** Without a slash at its end. */
  readonly url: string;
  /** From the request to the last byte of the answer; of a stream, the longest silence. */
  readonly timeoutMs: number;
  readonly maxBodyBytes: number;
  /** Of the time limits; the real one unless given. */
  readonly clock?: Clock;
}

export interface SourceAnswer {
  readonly status: number;
  readonly body: Buffer;
}

const longestTokenBytes = 65_536;

/** HTTP towards whoever knows endpoints: bounded in time and size, nothing redirected, token and certificates as the files say at that moment. */
export class SourceClient {
  readonly #options: SourceClientOptions;
  readonly #clock: Clock;
  readonly #underWay = new Set<(error: Error) => void>();
  #agent: PlainAgent | TlsAgent | undefined;
  #agentKey = '';
  #closed = false;

  constructor(options: SourceClientOptions) {
    this.#options = options;
    this.#clock = options.clock ?? new SystemClock();
  }

  /** Gives up what is under way and closes the connections. */
  close(): void {
    this.#closed = true;
    for (const giveUp of [...this.#underWay]) giveUp(new Error('given up'));
    this.#agent?.destroy();
  }

  /** The whole answer, of any status. Rejects where there is none: no connection, too slow, too large. */
  async ask(method: 'GET' | 'POST', path: string): Promise<SourceAnswer> {
    const parts: Buffer[] = [];
    let received = 0;
    const { maxBodyBytes } = this.#options;
    const status = await this.#exchange(method, path, false, (part) => {
      received += part.length;
      if (received > maxBodyBytes) throw new Error(`the answer is longer than ${maxBodyBytes} bytes`);
      parts.push(part);
    });
    return { status, body: Buffer.concat(parts) };
  }

  /**
   * An answer without end, told in parts as they come.
   * @param onStart with the status, before the first part.
   * @returns the status when the server has ended it.
   */
  stream(path: string, onStart: (status: number) => void, onPart: (part: Buffer) => void): Promise<number> {
    return this.#exchange('GET', path, true, onPart, onStart);
  }

  async #exchange(
    method: 'GET' | 'POST',
    path: string,
    isStream: boolean,
    onPart: (part: Buffer) => void,
    onStart: (status: number) => void = () => {},
  ): Promise<number> {
    const { url, timeoutMs } = this.#options;
    if (this.#closed) throw new Error('given up');
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    const token = this.#token();
    const send = url.startsWith('https:') ? tlsRequest : plainRequest;
    const headers = { accept: 'application/json', ...(token !== undefined && { authorization: `Bearer ${token}` }) };
    const request = send(`${url}${path}`, { method, headers, agent: this.#currentAgent() });
    const tooSlow = (): void => reject(new Error(`no answer within ${timeoutMs} ms`));
    let timer = this.#clock.setTimer(tooSlow, timeoutMs);
    this.#underWay.add(reject);
    request.on('error', reject);
    request.on('response', (response: IncomingMessage) => {
      const status = response.statusCode ?? 0;
      response.on('error', reject);
      response.on('aborted', () => reject(new Error('the answer ended in its middle')));
      response.on('end', () => resolve(status));
      response.on('data', (part: Buffer) => {
        if (isStream) {
          timer.cancel();
          timer = this.#clock.setTimer(tooSlow, timeoutMs);
        }
        try {
          onPart(part);
        } catch (error) {
          reject(error);
        }
      });
      try {
        onStart(status);
      } catch (error) {
        reject(error);
      }
    });
    request.end();
    try {
      return await promise;
    } catch (error) {
      request.destroy();
      throw error instanceof Error && error.message === '' && 'code' in error ? new Error(String(error.code)) : error;
    } finally {
      timer.cancel();
      this.#underWay.delete(reject);
    }
  }

  #token(): string | undefined {
    const { tokenFile } = this.#options;
    if (tokenFile === undefined) return undefined;
    const text = readBounded(tokenFile).trim();
    // A token with a line break would be a header of somebody else's making.
    if (!/^[\x21-\x7e]+$/.test(text)) throw new Error(`${tokenFile} holds no token`);
    return text;
  }

  /** A new one where the files have changed, so that a rotated certificate is used from the next connection on. */
  #currentAgent(): PlainAgent | TlsAgent {
    const { url, caFile, clientCertFile, clientKeyFile } = this.#options;
    const read = (path: string | undefined): string | undefined => (path === undefined ? undefined : readFileSync(path, 'utf8'));
    const [ca, cert, key] = [read(caFile), read(clientCertFile), read(clientKeyFile)];
    const agentKey = `${ca}\0${cert}\0${key}`;
    if (this.#agent !== undefined && agentKey === this.#agentKey) return this.#agent;
    const former = this.#agent;
    const common = { keepAlive: true, maxSockets: 4 };
    this.#agent = url.startsWith('https:')
      ? new TlsAgent({
          ...common,
          minVersion: 'TLSv1.2',
          ...(ca !== undefined && { ca }),
          ...(cert !== undefined && { cert }),
          ...(key !== undefined && { key }),
        })
      : new PlainAgent(common);
    this.#agentKey = agentKey;
    former?.destroy();
    return this.#agent;
  }
}

const readBounded = (path: string): string => {
  const file = openSync(path, 'r');
  try {
    const bytes = Buffer.alloc(longestTokenBytes);
    return bytes.toString('utf8', 0, readSync(file, bytes));
  } finally {
    closeSync(file);
  }
};
