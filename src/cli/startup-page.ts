import type { Server, ServerResponse } from 'node:http';
import { closeServer } from '../admin/index.ts';
import type { Clock } from '../core/index.ts';

// As in the admin server: an import of node:http evaluates what nobody uses here.
const { createServer } = process.getBuiltinModule('node:http');

/**
 * Stands at the admin port until the sidecar does: `/ready` answers 503 and says what is waited for, so that the health of a container tells it,
 * too; `/healthz` answers 200, since a process that waits lives. There is no more to see yet, and nothing to change.
 */
export class StartupPage {
  readonly #address: string;
  readonly #port: number;
  readonly #clock: Clock;
  #server: Server | undefined;
  #opened: Promise<void> | undefined;
  #why = '';

  constructor(address: string, port: number, clock: Clock) {
    this.#address = address;
    this.#port = port;
    this.#clock = clock;
  }

  /** Says it from now on. A port that cannot be had is the sidecar's to complain about. */
  show(why: string): Promise<void> {
    this.#why = why.replaceAll(/\s+/g, ' ');
    this.#opened ??= this.#open();
    return this.#opened;
  }

  async #open(): Promise<void> {
    const server = createServer({ requireHostHeader: false }, (request, response) => {
      request.resume();
      this.#answer(request.url ?? '', response);
    });
    this.#server = server;
    await new Promise<void>((resolve) => {
      server.once('listening', resolve).on('error', () => resolve());
      server.listen({ host: this.#address, port: this.#port });
    });
  }

  /** Resolves when the port is free. Idempotent. */
  async close(): Promise<void> {
    await this.#opened;
    const server = this.#server;
    this.#opened = undefined;
    this.#server = undefined;
    if (server !== undefined) await closeServer(server, this.#clock);
  }

  #answer(url: string, response: ServerResponse): void {
    const lives = url === '/healthz';
    response.writeHead(lives ? 200 : 503, {
      'content-type': 'text/plain; charset=utf-8',
      'cache-control': 'no-store',
      connection: 'close',
    });
    response.end(lives ? 'OK\n' : `PRE_INITIALIZING: ${this.#why}\n`);
  }
}
