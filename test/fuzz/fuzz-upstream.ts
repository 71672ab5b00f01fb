import net from 'node:net';
import { FrameCutter, type WireFrame, writeFrame } from './wire-frames.ts';
import { WireObserver } from './wire-observer.ts';

const prefaceBytes = 24;
const headers = 1;

/**
 * The service behind the sidecar, played by the fuzzer: each connection is told the frames of the script in their order, and one that
 * speaks of a stream waits until that stream has been opened, so that most of it lands where it means something.
 */
export class FuzzUpstream {
  readonly #server: net.Server;
  readonly #sockets = new Set<net.Socket>();
  #script: readonly WireFrame[] = [];
  #rest: Buffer = Buffer.alloc(0);
  #waits = true;
  /** What the sidecar wrote that no HTTP/2 client may write. */
  found: unknown;
  /** Rises with everything that happens. */
  activity = 0;

  private constructor() {
    this.#server = net.createServer((socket) => this.#play(socket));
  }

  static async start(): Promise<FuzzUpstream> {
    const upstream = new FuzzUpstream();
    await new Promise<void>((resolve) => upstream.#server.listen(0, '127.0.0.1', resolve));
    return upstream;
  }

  get port(): number {
    return (this.#server.address() as net.AddressInfo).port;
  }

  /** From now on connections hear this; `rest` is what stands behind the last whole frame. */
  begin(script: readonly WireFrame[], rest: Buffer, waits: boolean): void {
    this.#script = script;
    this.#rest = rest;
    this.#waits = waits;
    this.found = undefined;
  }

  /** Ends every connection. */
  async clear(): Promise<void> {
    const closed = [...this.#sockets].map((socket) => new Promise((resolve) => socket.once('close', resolve)));
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all(closed);
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    await this.clear();
    await closed;
  }

  #play(socket: net.Socket): void {
    this.#sockets.add(socket);
    this.activity++;
    socket.setNoDelay(true);
    socket.on('error', () => {});
    socket.on('close', () => {
      this.#sockets.delete(socket);
      this.activity++;
    });
    const observer = new WireObserver('client');
    const cutter = new FrameCutter();
    const [script, rest, waits] = [this.#script, this.#rest, this.#waits];
    let highest = 0;
    let skipped = 0;
    let at = 0;
    const tell = (bytes: Buffer): void => {
      if (bytes.length === 0 || socket.destroyed || !socket.writable) return;
      observer.heard(bytes);
      socket.write(bytes);
    };
    const goOn = (): void => {
      while (at <= script.length) {
        const frame = script[at];
        if (frame === undefined) tell(rest);
        else if (waits && frame.id > highest && frame.id < 0x7fff_0000) return;
        else tell(writeFrame(frame));
        at++;
      }
    };
    socket.on('data', (bytes: Buffer) => {
      this.activity++;
      try {
        observer.wrote(bytes);
      } catch (error) {
        this.found ??= error;
      }
      const skip = Math.min(prefaceBytes - skipped, bytes.length);
      skipped += skip;
      for (const { type, id } of cutter.cut(bytes.subarray(skip))) if (type === headers) highest = Math.max(highest, id);
      goOn();
    });
    goOn();
  }
}
