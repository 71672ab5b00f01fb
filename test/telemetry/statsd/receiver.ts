import assert from 'node:assert/strict';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';

/** A real UDP socket that keeps what it is sent. */
export class StatsdReceiver implements AsyncDisposable {
  readonly packets: Buffer[] = [];
  readonly #socket: Socket;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('message', (packet) => this.packets.push(packet));
  }

  static async listen(address = '127.0.0.1', port = 0): Promise<StatsdReceiver> {
    const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
    socket.bind(port, address);
    await once(socket, 'listening');
    return new StatsdReceiver(socket);
  }

  get port(): number {
    return (this.#socket.address() as AddressInfo).port;
  }

  /** Every line so far. */
  get lines(): readonly string[] {
    return this.packets.flatMap((packet) => packet.toString().split('\n')).filter((line) => line !== '');
  }

  /** Takes the lines that have come; waits for the first, and until `enough` says so. */
  async take(enough: (lines: readonly string[]) => boolean = (lines) => lines.length > 0, patienceMs = 5_000): Promise<readonly string[]> {
    const deadline = performance.now() + patienceMs;
    while (!enough(this.lines)) {
      assert.ok(performance.now() < deadline, `not enough after ${patienceMs} ms: ${this.lines.join(' ')}`);
      await new Promise((resolve) => setImmediate(resolve));
    }
    const { lines } = this;
    this.packets.length = 0;
    return lines;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await new Promise<void>((resolve) => this.#socket.close(() => resolve()));
  }
}
