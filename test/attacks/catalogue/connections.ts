import { once } from 'node:events';
import tls from 'node:tls';
import { type Attack, absorbed, Code, closed, goAway, type Seen, summarize } from './attack.ts';
import type { AttackPeer } from './attack-peer.ts';
import type { Attacker } from './attacker.ts';

const spoken = async (peer: AttackPeer, bytes: Buffer | string): Promise<Seen> => {
  peer.write(bytes);
  await peer.end();
  return peer.seen();
};

/** No two runs alike, and yet the same in each: a generator with a seed. */
const noise = (length: number, seed: number): Buffer => {
  const bytes = Buffer.alloc(length);
  let state = seed;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff;
    bytes[i] = state >> 16;
  }
  return bytes;
};

export const garbage: Attack = {
  name: 'garbage, HTTP/1 and half a TLS record',
  known: 'what port scanners send',
  comparedWith: 'none',
  variants: [
    {
      name: 'noise where the preface is due',
      answers: [closed],
      counters: ['http2.goaway_sent'],
      send: async (attacker) => spoken(await attacker.connect(), Buffer.concat([Buffer.from('N'), noise(4_000, 1)])),
    },
    {
      name: 'noise behind the preface',
      answers: [goAway(Code.protocolError, /first frame|frame/), goAway(Code.frameSizeError, /frame/)],
      counters: ['http2.goaway_sent'],
      send: async (attacker) => {
        const peer = await attacker.connect();
        peer.preface();
        peer.write(Buffer.alloc(9, 0xff));
        peer.write(noise(4_000, 2));
        return await peer.outcome();
      },
    },
    {
      name: 'an HTTP/1.1 request',
      answers: [closed],
      counters: ['http2.goaway_sent'],
      send: async (attacker) => {
        const peer = await attacker.connect();
        const seen = await spoken(peer, 'GET / HTTP/1.1\r\nhost: echo\r\n\r\n');
        if (!/^HTTP\/1\.1 505 /.test(peer.text)) throw new Error(`no answer in HTTP/1.1 but "${peer.text}"`);
        return seen;
      },
    },
    {
      name: 'noise where a TLS handshake is due',
      only: 'tls',
      answers: [closed],
      counters: ['ssl.not_tls', 'ssl.connection_error'],
      send: async (attacker) => spoken(await attacker.connectTcp(), noise(4_000, 3)),
    },
    {
      name: 'noise in a TLS record',
      only: 'tls',
      answers: [closed],
      counters: ['ssl.not_tls', 'ssl.connection_error', 'ssl.protocol_version'],
      send: async (attacker) =>
        spoken(await attacker.connectTcp(), Buffer.concat([Buffer.from([0x16, 3, 1, 0x0f, 0xa0]), noise(4_000, 4)])),
    },
  ],
};

/** Connections that say hello and then nothing. */
export const connectionFlood: Attack = {
  name: 'connection flood',
  known: 'exhaustion of connections',
  comparedWith: 'none',
  lastsMs: 12_000,
  variants: [
    {
      name: 'that stay idle behind their preface',
      answers: [absorbed, closed],
      counters: [],
      send: async (attacker) => {
        const peers: AttackPeer[] = [];
        for (let i = 0; i < attacker.options.connections; i++) {
          // A refusal is an answer, too.
          const peer = await attacker.connect().catch(() => undefined);
          if (peer === undefined) continue;
          peer.preface();
          peers.push(peer);
        }
        await attacker.hold();
        const seen = peers.map((peer) => peer.seen());
        for (const peer of peers) peer.close();
        return summarize({ answers: [absorbed] }, seen);
      },
    },
  ],
};

const shakeWithoutCertificate = async ({ target }: Attacker): Promise<void> => {
  const socket = tls.connect({ host: '127.0.0.1', port: target.port, ALPNProtocols: ['h2'], rejectUnauthorized: false });
  socket.on('error', () => {});
  await once(socket, 'close').catch(() => {});
};

export const handshakeFlood: Attack = {
  name: 'handshake flood',
  known: 'exhaustion of CPU by TLS',
  comparedWith: 'none',
  variants: [
    {
      name: 'handshakes without a certificate',
      only: 'tls',
      answers: [closed],
      counters: ['ssl.fail_verify_no_cert'],
      send: async (attacker) => {
        const count = Math.ceil(attacker.options.connections / 10);
        for (let i = 0; i < count; i++) await shakeWithoutCertificate(attacker);
        attacker.connections += count;
        return { goAway: undefined, closed: true, resets: new Map(), replies: new Map(), calls: 0 };
      },
    },
  ],
};
