import type { Socket, SocketType } from 'node:dgram';
import { isIPv6 } from 'node:net';
import { Writable } from 'node:stream';

const { createSocket } = process.getBuiltinModule('node:dgram');

/** Packets that the kernel has not taken yet, at most: they are dropped, rather than kept for a network that is not there. */
const mostUnderWay = 1_024;

export interface DatagramCounts {
  packets: number;
  bytes: number;
  failed: number;
}

/**
 * Each chunk is a UDP datagram to the address that it was opened for; it never waits. The socket is connected, so that the kernel tells when nobody
 * listens there: for one that is not, the client library learns nothing.
 */
export class DatagramStream extends Writable {
  readonly counts: DatagramCounts = { packets: 0, bytes: 0, failed: 0 };
  /** Packets that were handed over, those under way included. */
  written = 0;
  /** Why the last packet was lost; the owner forgets it. */
  problem: string | undefined;
  #socket: Socket | undefined;
  #address = '';
  #port = 0;
  #underWay = 0;
  #onIdle: (() => void) | undefined;
  readonly #mostBytes: number;

  /** @param mostBytes of one packet: a longer one would be cut into pieces on its way, or lost. */
  constructor(mostBytes: number) {
    super();
    this.#mostBytes = mostBytes;
  }

  /** Where packets go now; empty: nowhere. */
  get address(): string {
    return this.#address;
  }

  /** Sends to `address` from here on. Rejects where this machine has no way to it. */
  async open(address: string, port: number): Promise<void> {
    if (this.#socket !== undefined && address === this.#address && port === this.#port) return;
    const type: SocketType = isIPv6(address) ? 'udp6' : 'udp4';
    const socket = createSocket(type);
    socket.unref();
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject);
      // The types do not say it, but the callback hears of errors as well.
      socket.connect(port, address, (...problem: unknown[]) => {
        socket.off('error', reject);
        if (problem[0] instanceof Error) reject(problem[0]);
        else resolve();
      });
    }).catch((error: unknown) => {
      socket.close();
      throw error;
    });
    socket.on('error', (error) => this.#fail(error));
    this.#socket?.close();
    this.#socket = socket;
    this.#address = address;
    this.#port = port;
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    const socket = this.#socket;
    this.written++;
    if (chunk.length > this.#mostBytes) this.#fail(new Error(`a line of ${chunk.length} bytes does not fit into a packet`));
    else if (socket === undefined || this.#underWay >= mostUnderWay) this.#fail(new Error('too many packets wait for the network'));
    else {
      this.#underWay++;
      socket.send(chunk, (error) => {
        this.#underWay--;
        if (error) this.#fail(error);
        else {
          this.counts.packets++;
          this.counts.bytes += chunk.length;
        }
        if (this.#underWay === 0) this.#onIdle?.();
      });
    }
    done();
  }

  /** Settles when the kernel has what was written. */
  sent(): Promise<void> {
    if (this.#underWay === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#onIdle = resolve;
    });
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#socket?.close();
    this.#socket = undefined;
    done(error);
  }

  #fail(error: Error): void {
    this.counts.failed++;
    this.problem = error.message;
  }
}
