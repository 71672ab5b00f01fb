import type { Fields } from '../../http2/http2-bench.ts';
import { END_HEADERS, END_STREAM, frame, literals, Type } from '../../http2/raw-peer.ts';
import { type Answer, type Attack, Code, calm, goAway, reply, type Seen } from './attack.ts';
import type { AttackPeer } from './attack-peer.ts';
import type { Attacker } from './attacker.ts';
import { blockFor, fieldsFor, headersFrame, manyFields, streams, whole } from './requests.ts';

const overflow = ['http2.header_overflow'];
const fragmentBytes = 16_000;

/** Sends a block in as many frames as it needs, and waits for the end of the call. */
const sendBlock = (peer: AttackPeer, id: number, block: Buffer): void => {
  const more = block.length > fragmentBytes;
  peer.send(Type.HEADERS, END_STREAM | (more ? 0 : END_HEADERS), id, block.subarray(0, fragmentBytes));
  for (let at = fragmentBytes; at < block.length; at += fragmentBytes) {
    const last = at + fragmentBytes >= block.length;
    peer.send(Type.CONTINUATION, last ? END_HEADERS : 0, id, block.subarray(at, at + fragmentBytes));
  }
};

/** One call with these header blocks on each of ten streams, so that the table is proved right afterwards. */
const calls = async (attacker: Attacker, blockOf: (i: number) => Buffer, count = 10): Promise<Seen> => {
  const peer = await attacker.open();
  for (let i = 0; i < count && !peer.ended; i++) {
    peer.calls.add(1 + 2 * i);
    sendBlock(peer, 1 + 2 * i, blockOf(i));
    await peer.roundTrip();
  }
  await peer.answered();
  return await peer.outcome();
};

const fields = (attacker: Attacker, more: Fields): Buffer => literals([...fieldsFor(attacker, 'Call'), ...more]);

export const continuationFlood: Attack = {
  name: 'CONTINUATION flood',
  known: 'CVE-2024-27316, CVE-2024-28182, CVE-2023-45288',
  comparedWith: 'calls',
  variants: [
    {
      name: 'empty frames',
      answers: [calm(/a header block of more than \d+ frames/)],
      counters: ['http2.continuation_flood'],
      send: async (attacker) => {
        const peer = await attacker.open();
        peer.send(Type.HEADERS, END_STREAM, 1, blockFor(attacker, 'Call'));
        await peer.flood(Buffer.concat(Array.from({ length: 2_000 }, () => frame(Type.CONTINUATION, 0, 1))));
        return await peer.outcome();
      },
    },
    {
      name: 'full frames',
      answers: [calm(/header block|headers of/)],
      counters: ['http2.continuation_flood', 'http2.header_overflow'],
      send: async (attacker) => {
        const peer = await attacker.open();
        peer.send(Type.HEADERS, END_STREAM, 1, blockFor(attacker, 'Call'));
        const one = frame(Type.CONTINUATION, 0, 1, literals([['x', 'v'.repeat(fragmentBytes)]]));
        await peer.flood(one, 60);
        return await peer.outcome();
      },
    },
  ],
};

/** Or there are so many of them that they are too much together: who is still sending may find the end without the frame. */
const halfAnswers = (what: string): readonly Answer[] => [
  {
    kind: 'goaway',
    code: Code.enhanceYourCalm,
    debug: new RegExp(`the end of a ${what} did not come|bytes of a frame or header block wait`),
    orClosed: true,
  },
];

/** Says half of something, waits for what comes of it. */
const halfOf = async (attacker: Attacker, half: (peer: AttackPeer) => void): Promise<Seen> => {
  const peer = await attacker.open();
  peer.headers(1, blockFor(attacker, 'Call'));
  await peer.until(() => peer.replies.has(1), 'an answer');
  half(peer);
  for (let waited = 0; waited < 11_500 && !peer.ended; waited += 500) await attacker.pass(500);
  const seen = peer.seen();
  peer.close();
  return seen;
};

/** How much of one block or frame is kept whose end never comes, and for how long. */
export const halfHeaderBlock: Attack = {
  name: 'half a header block, and silence',
  known: 'slow headers',
  comparedWith: 'none',
  many: true,
  lastsMs: 13_000,
  variants: [
    {
      name: 'seven frames behind a first call',
      answers: halfAnswers('header block'),
      counters: ['http2.header_timeout', 'http2.unfinished_overflow'],
      send: (attacker) =>
        halfOf(attacker, (peer) => {
          peer.send(Type.HEADERS, END_STREAM, 3, blockFor(attacker, 'Call'));
          for (let i = 0; i < 6; i++) peer.send(Type.CONTINUATION, 0, 3, literals([['x', 'v'.repeat(fragmentBytes)]]));
        }),
    },
    {
      name: 'nearly all of one frame behind a first call',
      answers: halfAnswers('frame'),
      counters: ['http2.frame_timeout', 'http2.unfinished_overflow'],
      send: (attacker) =>
        halfOf(attacker, (peer) => peer.write(frame(Type.HEADERS, END_STREAM, 3, Buffer.alloc(16_384)).subarray(0, 16_000))),
    },
  ],
};

const inserted = (value: string): Buffer => {
  const length = value.length - 127;
  return Buffer.concat([
    Buffer.from([0x40, 3]),
    Buffer.from('x-a'),
    Buffer.from([0x7f, (length % 128) | 128, length >> 7]),
    Buffer.from(value),
  ]);
};

/** One large field in the dynamic table, named again by one byte each. */
const bomb = (attacker: Attacker, times: number): Buffer =>
  Buffer.concat([blockFor(attacker, 'Call'), inserted('v'.repeat(3_900)), Buffer.alloc(times, 0xbe)]);

export const hpackBomb: Attack = {
  name: 'HPACK bomb',
  known: 'CVE-2016-6581, CVE-2026-47774, CVE-2026-49975',
  comparedWith: 'calls',
  variants: [
    {
      name: 'one indexed field, a little over the limit',
      answers: [reply('headers_too_large')],
      counters: overflow,
      send: (attacker) => calls(attacker, () => bomb(attacker, 20)),
    },
    {
      name: 'one indexed field, 60 MB of it',
      answers: [calm(/headers are too large: \d+ of \d+ bytes/)],
      counters: overflow,
      send: (attacker) => calls(attacker, () => bomb(attacker, 15_000)),
    },
    {
      name: '150 cookie crumbs',
      answers: [reply('headers_too_large')],
      counters: overflow,
      send: (attacker) =>
        calls(attacker, () =>
          fields(
            attacker,
            Array.from({ length: 150 }, (_, i) => ['cookie', `c${i}=1`] as const),
          ),
        ),
    },
    {
      name: '5,000 cookie crumbs',
      answers: [calm(/headers are too large: \d+ of \d+ bytes/)],
      counters: overflow,
      send: (attacker) =>
        calls(attacker, () =>
          fields(
            attacker,
            Array.from({ length: 5_000 }, () => ['cookie', 'a=1'] as const),
          ),
        ),
    },
    {
      name: '150 small fields',
      answers: [reply('headers_too_large')],
      counters: overflow,
      send: (attacker) => calls(attacker, () => fields(attacker, manyFields(150))),
    },
  ],
};

export const oversizedHeaders: Attack = {
  name: 'oversized header or :path',
  known: 'CVE-2020-12605',
  comparedWith: 'calls',
  variants: [
    {
      name: 'a field of 70,000 bytes',
      answers: [reply('headers_too_large')],
      counters: overflow,
      send: (attacker) => calls(attacker, () => fields(attacker, [['x-large', 'v'.repeat(70_000)]])),
    },
    {
      name: 'a field of 125,000 bytes',
      answers: [calm(/header/)],
      counters: ['http2.header_overflow', 'http2.continuation_flood'],
      send: (attacker) => calls(attacker, () => fields(attacker, [['x-large', 'v'.repeat(125_000)]])),
    },
    {
      name: 'a :path of 70,000 bytes',
      answers: [reply('headers_too_large')],
      counters: overflow,
      send: (attacker) =>
        calls(attacker, () => literals([[':path', `/a.B/${'p'.repeat(70_000)}`], ...fieldsFor(attacker, 'Call').filter(notPath)])),
    },
    {
      name: 'a :path of 125,000 bytes',
      answers: [calm(/header/)],
      counters: ['http2.header_overflow', 'http2.continuation_flood'],
      send: (attacker) =>
        calls(attacker, () => literals([[':path', `/a.B/${'p'.repeat(125_000)}`], ...fieldsFor(attacker, 'Call').filter(notPath)])),
    },
  ],
};

const notPath = ([name]: readonly [string, string]): boolean => name !== ':path';

const sizeUpdate = (size: number): Buffer => {
  const rest = size - 31;
  return rest < 0
    ? Buffer.from([0x20 | size])
    : rest < 128
      ? Buffer.from([0x3f, rest])
      : Buffer.from([0x3f, (rest % 128) | 128, rest >> 7]);
};

export const tableChurn: Attack = {
  name: 'churn of the header tables',
  known: 'CVE-2016-1544 and its like',
  comparedWith: 'calls',
  variants: [
    {
      name: 'the table emptied and filled with each block',
      answers: [{ kind: 'served' }],
      counters: [],
      send: async (attacker) => {
        const filler = Buffer.concat(Array.from({ length: 30 }, (_, i) => Buffer.from([0x40, 1, 0x61 + (i % 26), 1, 0x31])));
        const block = Buffer.concat([sizeUpdate(0), sizeUpdate(4_096), blockFor(attacker, 'Call'), filler]);
        const peer = await attacker.open();
        for (let i = 0; i < 10 && !peer.ended; i++) {
          for (let one = 0; one < 50; one++) peer.calls.add(1 + 2 * (i * 50 + one));
          await peer.flood(streams(50, (id) => [headersFrame(id, block, whole)], 1 + 100 * i));
          await peer.answered();
        }
        return await peer.outcome();
      },
    },
    {
      name: 'a field of 500 bytes for one byte each, ninety times in a call',
      answers: [{ kind: 'served' }],
      counters: [],
      send: async (attacker) => {
        const block = blockFor(attacker, 'Call');
        const named = Buffer.concat([block, Buffer.alloc(90, 0xbe)]);
        const peer = await attacker.open();
        for (let i = 0; i < 10 && !peer.ended; i++) {
          for (let one = 0; one < 50; one++) peer.calls.add(1 + 2 * (i * 50 + one));
          const blockOf = (id: number): Buffer => (id === 1 ? Buffer.concat([block, inserted('v'.repeat(500))]) : named);
          await peer.flood(streams(50, (id) => [headersFrame(id, blockOf(id), whole)], 1 + 100 * i));
          await peer.answered();
        }
        return await peer.outcome();
      },
    },
    {
      name: 'thousands of size updates in a block',
      answers: [{ kind: 'served' }, goAway(Code.compressionError, /./), calm(/./)],
      counters: [],
      send: (attacker) => {
        const updates = Buffer.concat(Array.from({ length: 2_000 }, () => Buffer.concat([sizeUpdate(0), sizeUpdate(4_096)])));
        return calls(attacker, () => Buffer.concat([updates, blockFor(attacker, 'Call')]));
      },
    },
    {
      name: 'SETTINGS_HEADER_TABLE_SIZE up and down between calls',
      answers: [{ kind: 'served' }],
      counters: [],
      send: async (attacker) => {
        const peer = await attacker.open();
        const block = blockFor(attacker, 'Call');
        for (let i = 0; i < 200 && !peer.ended; i++) {
          peer.settings([[1, i % 2 === 0 ? 0 : 4_096]]);
          peer.calls.add(1 + 2 * i);
          peer.headers(1 + 2 * i, block);
        }
        await peer.answered();
        return await peer.outcome();
      },
    },
  ],
};
