import { once } from 'node:events';
import net from 'node:net';
import tls from 'node:tls';
import type { Seen } from './attack.ts';
import { AttackPeer } from './attack-peer.ts';

/** A listener under attack. */
export interface Target {
  readonly port: number;
  /** PEM texts of a client of the mesh; without them h2c. */
  readonly tls: { readonly ca: string; readonly cert: string; readonly key: string; readonly servername: string } | undefined;
  /** `:authority` that leads to the service. */
  readonly authority: string;
  /** Resets at once that the listener allows: it is gentler with the service beside it. */
  readonly resetBurst: number;
}

export interface AttackerOptions {
  /** Lets so many milliseconds pass: on a clock of the test, or in truth. */
  readonly pass: (ms: number) => Promise<void>;
  /** How long the attacks last that only wait, in milliseconds. */
  readonly holdMs: number;
  /** Connections of the attacks that are many connections. */
  readonly connections: number;
  /** A factor for what is sent; 1 is enough to break each limit. */
  readonly volume: number;
}

/** Somebody with a grudge: opens connections to one listener and keeps account of them. */
export class Attacker {
  readonly target: Target;
  readonly options: AttackerOptions;
  connections = 0;
  readonly #peers: AttackPeer[] = [];
  readonly #sockets: net.Socket[] = [];

  constructor(target: Target, options: AttackerOptions) {
    this.target = target;
    this.options = options;
  }

  get bytesSent(): number {
    return this.#peers.reduce((sum, { bytesSent }) => sum + bytesSent, 0);
  }

  pass(ms: number): Promise<void> {
    return this.options.pass(ms);
  }

  /** Lets the time of a waiting attack pass. */
  hold(): Promise<void> {
    return this.options.pass(this.options.holdMs);
  }

  /** TCP only, whatever the listener speaks. */
  async connectTcp(): Promise<AttackPeer> {
    const socket = net.connect({ host: '127.0.0.1', port: this.target.port, noDelay: true });
    await once(socket, 'connect');
    return this.#own(socket, new AttackPeer(socket));
  }

  /** A connection that has said nothing of HTTP/2 yet, behind TLS where the listener wants it. */
  async connect(): Promise<AttackPeer> {
    const { target } = this;
    if (target.tls === undefined) return await this.connectTcp();
    const socket = tls.connect({
      host: '127.0.0.1',
      port: target.port,
      ALPNProtocols: ['h2'],
      rejectUnauthorized: false,
      ...target.tls,
    });
    socket.setNoDelay(true);
    await once(socket, 'secureConnect');
    return this.#own(socket, new AttackPeer(socket));
  }

  /** A connection whose SETTINGS have been exchanged. */
  async open(settings: readonly (readonly [id: number, value: number])[] = []): Promise<AttackPeer> {
    const peer = await this.connect();
    peer.preface(settings);
    await peer.roundTrip();
    return peer;
  }

  /** The same on many connections at once, one after another in the making. */
  async onMany(count: number, attack: (peer: AttackPeer) => Promise<Seen>): Promise<readonly Seen[]> {
    const running: Promise<Seen>[] = [];
    for (let i = 0; i < count; i++) running.push(attack(await this.open()));
    return await Promise.all(running);
  }

  /** Nothing is left open. */
  async close(): Promise<void> {
    for (const peer of this.#peers) peer.close();
    await Promise.all(this.#sockets.map((socket) => (socket.closed ? undefined : new Promise((resolve) => socket.once('close', resolve)))));
    this.#sockets.length = 0;
  }

  #own(socket: net.Socket, peer: AttackPeer): AttackPeer {
    this.connections++;
    this.#peers.push(peer);
    this.#sockets.push(socket);
    return peer;
  }
}
