import { END_STREAM, Type } from '../../http2/raw-peer.ts';
import { type Attack, absorbed, closed, type Seen } from './attack.ts';
import type { AttackPeer } from './attack-peer.ts';
import type { Attacker } from './attacker.ts';
import { blockFor, open } from './requests.ts';

const preface = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';

/** Time passes in steps, at each of which something may be said, until the other side has ended it or the limit is far behind. */
const wait = async (attacker: Attacker, peer: AttackPeer, limitMs: number, say: (step: number) => void = () => {}): Promise<Seen> => {
  const stepMs = 250;
  for (let step = 0; step * stepMs < limitMs && !peer.ended; step++) {
    say(step);
    await attacker.pass(stepMs);
  }
  // What was decided is on its way.
  await attacker.pass(10);
  const seen = peer.seen();
  peer.close();
  return seen;
};

/** A first byte that does not come is noticed before the preface is awaited where TLS is detected by it. */
const prefaceCounters = ['http2.preface_timeout', 'downstream_pre_cx_timeout'];

export const slowPreface: Attack = {
  name: 'slow preface',
  known: 'Slowloris',
  comparedWith: 'none',
  lastsMs: 12_000,
  variants: [
    {
      name: 'not a byte',
      answers: [closed],
      counters: prefaceCounters,
      send: async (attacker) => wait(attacker, await attacker.connect(), 11_000),
    },
    {
      name: 'a byte now and then',
      answers: [closed],
      counters: prefaceCounters,
      send: async (attacker) => {
        const peer = await attacker.connect();
        return await wait(attacker, peer, 8_000, (step) => {
          if (step % 2 === 0 && step / 2 < preface.length) peer.write(preface[step / 2] as string);
        });
      },
    },
    {
      name: 'the preface without SETTINGS',
      answers: [closed],
      counters: prefaceCounters,
      send: async (attacker) => {
        const peer = await attacker.connect();
        peer.write(preface);
        return await wait(attacker, peer, 8_000);
      },
    },
  ],
};

/** The beginning of a TLS record that says it is 508 bytes long. */
const halfHello = Buffer.concat([Buffer.from([0x16, 3, 1, 1, 0xfc, 1, 0, 1, 0xf8, 3, 3]), Buffer.alloc(100, 7)]);

export const slowHandshake: Attack = {
  name: 'slow TLS handshake',
  known: 'Slowloris',
  comparedWith: 'none',
  lastsMs: 13_000,
  variants: [
    {
      name: 'not a byte',
      only: 'tls',
      answers: [closed],
      counters: ['ssl.handshake_timeout', 'downstream_pre_cx_timeout'],
      send: async (attacker) => wait(attacker, await attacker.connectTcp(), 12_500),
    },
    {
      name: 'half a ClientHello',
      answers: [closed],
      counters: ['ssl.handshake_timeout', 'downstream_pre_cx_timeout'],
      send: async (attacker) => {
        const peer = await attacker.connectTcp();
        peer.write(halfHello);
        return await wait(attacker, peer, 12_500);
      },
    },
  ],
};

const firstRequestCounters = ['http2.first_request_timeout'];

export const slowFirstRequest: Attack = {
  name: 'slow first request',
  known: 'Slowloris',
  comparedWith: 'none',
  lastsMs: 65_000,
  variants: [
    {
      name: 'none at all',
      answers: [closed],
      counters: firstRequestCounters,
      send: async (attacker) => wait(attacker, await attacker.open(), 63_000),
    },
    {
      name: 'half a header block',
      answers: [closed],
      counters: [...firstRequestCounters, 'http2.header_timeout'],
      send: async (attacker) => {
        const peer = await attacker.open();
        peer.send(Type.HEADERS, END_STREAM, 1, blockFor(attacker, 'Call').subarray(0, 20));
        return await wait(attacker, peer, 63_000);
      },
    },
    {
      name: 'a PING now and then',
      answers: [closed],
      counters: firstRequestCounters,
      send: async (attacker) => {
        const peer = await attacker.open();
        return await wait(attacker, peer, 63_000, (step) => {
          if (step % 8 === 0) peer.send(Type.PING, 0, 0, Buffer.alloc(8));
        });
      },
    },
  ],
};

export const slowBody: Attack = {
  name: 'slow request bodies',
  known: 'Slowloris',
  comparedWith: 'none',
  variants: [
    {
      name: 'a byte for each of 200 streams now and then',
      answers: [absorbed],
      counters: [],
      send: async (attacker) => {
        const peer = await attacker.open();
        const block = blockFor(attacker, 'Count');
        for (let i = 0; i < 200; i++) peer.headers(1 + 2 * i, block, open);
        for (let step = 0; step * 500 < attacker.options.holdMs && !peer.ended; step++) {
          for (let i = 0; i < 200; i++) peer.data(1 + 2 * i, Buffer.from('x'));
          await attacker.pass(500);
        }
        return await peer.outcome();
      },
    },
  ],
};
