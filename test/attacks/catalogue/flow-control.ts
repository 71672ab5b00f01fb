import { frame, Type, uint32 } from '../../http2/raw-peer.ts';
import { type Attack, absorbed, Code, calm, goAway, reset, type Seen, type Variant } from './attack.ts';
import type { AttackPeer } from './attack-peer.ts';
import type { Attacker } from './attacker.ts';
import { blockFor, headersFrame, open, streams, whole } from './requests.ts';

const largestWindow = 2 ** 31 - 1;
const initialWindow = 4;

/** Only where much is buffered may a reader be ended who does not read. */
const stalled = [absorbed, reset(Code.cancel), calm(/./)];

/** So many calls with answers of 1 MiB, of which nothing or little is read. */
const unreadAnswers = async (
  attacker: Attacker,
  count: number,
  prepare: (peer: AttackPeer) => void,
  settings: readonly (readonly [number, number])[],
  meanwhile: (peer: AttackPeer) => Promise<void>,
): Promise<Seen> => {
  const peer = await attacker.open(settings);
  prepare(peer);
  await peer.flood(streams(count, (id) => [headersFrame(id, blockFor(attacker, 'Large'), whole)]));
  await meanwhile(peer);
  const seen = peer.seen();
  peer.close();
  return seen;
};

export const zeroWindow: Attack = {
  name: 'zero window on 400 streams',
  known: 'CVE-2019-9511, CVE-2020-12604',
  comparedWith: 'large-answers',
  many: true,
  variants: [
    {
      name: 'answers of 1 MiB that nobody lets through',
      answers: stalled,
      counters: [],
      send: (attacker) =>
        unreadAnswers(
          attacker,
          Math.max(4, Math.round(400 * Math.min(1, attacker.options.volume))),
          () => {},
          [[initialWindow, 0]],
          async (peer) => {
            await peer.roundTrip();
            await attacker.hold();
          },
        ),
    },
  ],
};

export const dataDribble: Attack = {
  name: 'data dribble',
  known: 'CVE-2019-9511',
  comparedWith: 'large-answers',
  variants: [
    {
      name: 'one byte of window for each byte of DATA',
      answers: stalled,
      counters: [],
      send: (attacker) =>
        unreadAnswers(
          attacker,
          100,
          () => {},
          [[initialWindow, 1]],
          async (peer) => {
            const credit = Buffer.concat(Array.from({ length: 100 }, (_, i) => frame(Type.WINDOW_UPDATE, 0, 1 + 2 * i, uint32(1))));
            for (let round = 1; round <= 40 && !peer.ended; round++) {
              await peer.until(() => peer.dataBytes >= 100 * round, 'a byte on each stream');
              peer.write(credit);
            }
            if (!peer.ended) await peer.roundTrip();
          },
        ),
    },
  ],
};

export const unreadOutput: Attack = {
  name: 'internal data buffering',
  known: 'CVE-2019-9517',
  comparedWith: 'large-answers',
  many: true,
  variants: [
    {
      name: 'answers let through by HTTP/2 and left in TCP',
      answers: stalled,
      counters: [],
      send: (attacker) =>
        unreadAnswers(
          attacker,
          Math.max(2, Math.round(200 * Math.min(1, attacker.options.volume))),
          (peer) => {
            peer.windowUpdate(0, largestWindow - 65_535);
            peer.stopReading();
          },
          [[initialWindow, largestWindow]],
          () => attacker.hold(),
        ),
    },
  ],
};

/** Calls that are answered by the sidecar itself, again and again, and not one answer is read. */
export const unreadReplies: Attack = {
  name: 'answers that pile up',
  known: 'the like of CVE-2019-9517',
  comparedWith: 'calls',
  variants: [
    {
      name: 'small calls that end, answers unread',
      answers: [{ kind: 'goaway', code: Code.enhanceYourCalm, debug: /too many (answers|control frames) wait/, orClosed: true }],
      counters: ['http2.outbound_flood', 'http2.outbound_control_flood'],
      send: async (attacker) => {
        const peer = await attacker.open();
        peer.stopReading();
        const block = blockFor(attacker, 'Call', [['grpc-timeout', `${'x'.repeat(2_000)}`]]);
        const most = 40_000 * attacker.options.volume;
        for (let sent = 0; sent < most && !peer.ended; sent += 100) {
          await peer.flood(streams(100, (id) => [headersFrame(id, block, whole)], 1 + 2 * sent));
          await new Promise((resolve) => setImmediate(resolve));
        }
        peer.read();
        return await peer.outcome();
      },
    },
  ],
};

/** Frames of one byte for a service that reads nothing: what is kept of each must be about its byte. */
export const tinyData: Attack = {
  name: 'tiny DATA frames to a service that does not read',
  known: 'RUSTSEC-2026-0258',
  comparedWith: 'calls',
  variants: [
    {
      name: '4 streams of 20,000 bytes, a frame for each',
      answers: [absorbed, calm(/./)],
      counters: [],
      send: async (attacker) => {
        const peer = await attacker.open();
        const block = blockFor(attacker, 'Stall');
        for (let id = 1; id < 8; id += 2) peer.headers(id, block, open);
        const round = Buffer.concat([1, 3, 5, 7].map((id) => frame(Type.DATA, 0, id, Buffer.from('x'))));
        // No more than the connection's first window: whether credit comes back is not the question here.
        const many = Buffer.concat(Array.from({ length: 1_000 }, () => round));
        for (let i = 0; i < 16 && !peer.ended; i++) {
          await peer.flood(many);
          await peer.roundTrip();
        }
        return await peer.outcome();
      },
    },
  ],
};

const overflow = (
  name: string,
  answer: Variant['answers'][number],
  counters: readonly string[],
  of: (peer: AttackPeer) => void,
): Variant => ({
  name,
  answers: [answer],
  counters,
  send: async (attacker) => {
    const peer = await attacker.open();
    peer.calls.add(1);
    peer.headers(1, blockFor(attacker, 'Hold'), open);
    of(peer);
    return await peer.outcome();
  },
});

const flowControlGoAway = goAway(Code.flowControlError, /overflow/);

export const windowOverflow: Attack = {
  name: 'window overflow',
  known: 'CVE-2026-21714',
  comparedWith: 'none',
  variants: [
    overflow('of a stream', reset(Code.flowControlError), ['http2.rx_messaging_error'], (peer) => peer.windowUpdate(1, largestWindow)),
    overflow('of the connection', flowControlGoAway, ['http2.goaway_sent'], (peer) => peer.windowUpdate(0, largestWindow)),
    overflow('by SETTINGS', flowControlGoAway, ['http2.goaway_sent'], (peer) => {
      peer.windowUpdate(1, 65_535);
      peer.settings([[initialWindow, largestWindow]]);
    }),
    {
      name: 'DATA beyond the window of a stream that is not read',
      answers: [reset(Code.flowControlError), goAway(Code.flowControlError, /window/)],
      counters: ['http2.rx_messaging_error', 'http2.goaway_sent'],
      send: async (attacker) => {
        const peer = await attacker.open();
        peer.calls.add(1);
        peer.headers(1, blockFor(attacker, 'Stall'), open);
        const piece = frame(Type.DATA, 0, 1, Buffer.alloc(16_000));
        for (let i = 0; i < 100 && !peer.ended && !peer.resets.has(1); i++) {
          await peer.flood(piece);
          await peer.roundTrip();
        }
        return await peer.outcome();
      },
    },
  ],
};
