import { END_HEADERS, END_STREAM, frame, PADDED, Type, uint32 } from '../../http2/raw-peer.ts';
import { type Answer, type Attack, absorbed, Code, calm, type Seen, served } from './attack.ts';
import type { Attacker } from './attacker.ts';
import { blockFor, headersFrame, open, streams, whole } from './requests.ts';

const repeated = (one: Buffer, count: number): Buffer => Buffer.concat(Array.from({ length: count }, () => one));

const setting = (id: number, value: number): Buffer => Buffer.concat([Buffer.from([0, id]), uint32(value)]);

const unread: Answer = { kind: 'goaway', code: Code.enhanceYourCalm, debug: /too many control frames wait/, orClosed: true };

/** As many frames as it takes until acknowledgements pile up beyond what the kernel keeps, which is some megabytes. */
const unreadFlood = async (attacker: Attacker, one: Buffer, mostBytes: number): Promise<Seen> => {
  const peer = await attacker.open();
  peer.stopReading();
  const bytes = repeated(one, 4_000);
  await peer.flood(bytes, Math.ceil((mostBytes * attacker.options.volume) / bytes.length));
  peer.read();
  if (!peer.ended) await peer.until(() => peer.goAway !== undefined, 'GOAWAY or the end').catch(() => {});
  return await peer.outcome();
};

export const pingFlood: Attack = {
  name: 'PING flood',
  known: 'CVE-2019-9512',
  comparedWith: 'calls',
  many: true,
  variants: [
    {
      name: 'from a peer that reads nothing',
      answers: [unread],
      counters: ['http2.outbound_control_flood'],
      send: (attacker) => unreadFlood(attacker, frame(Type.PING, 0, 0, Buffer.alloc(8)), 32e6),
    },
  ],
};

export const settingsFlood: Attack = {
  name: 'SETTINGS flood',
  known: 'CVE-2019-9515, CVE-2020-11080',
  comparedWith: 'calls',
  variants: [
    {
      name: 'from a peer that reads nothing',
      answers: [unread],
      counters: ['http2.outbound_control_flood'],
      send: (attacker) => unreadFlood(attacker, frame(Type.SETTINGS, 0, 0), 32e6),
    },
    {
      name: '2,000 entries in a frame',
      answers: [calm(/more than \d+ SETTINGS entries/)],
      counters: ['http2.settings_flood'],
      send: async (attacker) => {
        const peer = await attacker.open();
        await peer.flood(frame(Type.SETTINGS, 0, 0, repeated(setting(0x99, 1), 2_000)), 50);
        return await peer.outcome();
      },
    },
  ],
};

/** Each value that changes is a walk over all streams. */
export const settingsChurn: Attack = {
  name: 'SETTINGS churn beside many streams',
  known: 'the like of CVE-2019-9515',
  comparedWith: 'calls',
  variants: [
    {
      name: 'the initial window up and down',
      answers: [calm(/SETTINGS_INITIAL_WINDOW_SIZE changes too often/)],
      counters: ['http2.settings_flood'],
      send: async (attacker) => {
        const peer = await attacker.open();
        const block = blockFor(attacker, 'Hold');
        await peer.flood(streams(900, (id) => [headersFrame(id, block, open)]));
        const both = Buffer.concat([frame(Type.SETTINGS, 0, 0, setting(4, 0)), frame(Type.SETTINGS, 0, 0, setting(4, 65_535))]);
        for (let i = 0; i < 20 && !peer.ended; i++) {
          await peer.flood(repeated(both, 50));
          await peer.roundTrip();
        }
        return await peer.outcome();
      },
    },
    {
      name: 'the initial window up and down within a frame',
      answers: [absorbed, calm(/SETTINGS_INITIAL_WINDOW_SIZE changes too often/)],
      counters: [],
      send: async (attacker) => {
        const peer = await attacker.open();
        const block = blockFor(attacker, 'Hold');
        await peer.flood(streams(900, (id) => [headersFrame(id, block, open)]));
        const one = frame(Type.SETTINGS, 0, 0, repeated(Buffer.concat([setting(4, 0), setting(4, 65_535)]), 16));
        for (let i = 0; i < 20 && !peer.ended; i++) {
          await peer.flood(repeated(one, 5));
          await peer.roundTrip();
        }
        return await peer.outcome();
      },
    },
  ],
};

export const priorityFlood: Attack = {
  name: 'PRIORITY flood',
  known: 'CVE-2019-9513',
  comparedWith: 'calls',
  variants: [
    {
      name: 'of idle streams',
      answers: [calm(/PRIORITY/)],
      counters: ['http2.inbound_priority_frames_flood'],
      send: async (attacker) => {
        const peer = await attacker.open();
        await peer.flood(repeated(frame(Type.PRIORITY, 0, 9, Buffer.from([0, 0, 0, 3, 16])), 1_000), 5);
        return await peer.outcome();
      },
    },
  ],
};

export const windowUpdateFlood: Attack = {
  name: 'WINDOW_UPDATE flood',
  known: 'the like of CVE-2019-9513',
  comparedWith: 'calls',
  variants: [
    {
      name: 'of the connection',
      answers: [calm(/WINDOW_UPDATE/)],
      counters: ['http2.inbound_window_update_frames_flood'],
      send: async (attacker) => {
        const peer = await attacker.open();
        await peer.flood(repeated(frame(Type.WINDOW_UPDATE, 0, 0, uint32(1)), 1_000), 5);
        return await peer.outcome();
      },
    },
    {
      name: 'of a stream that is not answered',
      answers: [calm(/WINDOW_UPDATE/)],
      counters: ['http2.inbound_window_update_frames_flood'],
      send: async (attacker) => {
        const peer = await attacker.open();
        peer.headers(1, blockFor(attacker, 'Hold'), open);
        await peer.flood(repeated(frame(Type.WINDOW_UPDATE, 0, 1, uint32(1)), 1_000), 5);
        return await peer.outcome();
      },
    },
  ],
};

const emptyFlood = ['http2.inbound_empty_frames_flood'];

export const emptyFrames: Attack = {
  name: 'empty frames',
  known: 'CVE-2019-9518',
  comparedWith: 'calls',
  variants: [
    {
      name: 'DATA',
      answers: [calm(/empty/)],
      counters: emptyFlood,
      send: async (attacker) => {
        const peer = await attacker.open();
        peer.headers(1, blockFor(attacker, 'Hold'), open);
        await peer.flood(repeated(frame(Type.DATA, 0, 1), 5_000));
        return await peer.outcome();
      },
    },
    {
      name: 'DATA that is all padding',
      answers: [calm(/empty/)],
      counters: emptyFlood,
      send: async (attacker) => {
        const peer = await attacker.open();
        peer.headers(1, blockFor(attacker, 'Hold'), open);
        await peer.flood(repeated(frame(Type.DATA, PADDED, 1, Buffer.concat([Buffer.from([9]), Buffer.alloc(9)])), 5_000));
        return await peer.outcome();
      },
    },
    {
      name: 'HEADERS without END_STREAM',
      answers: [calm(/empty|too many streams had to be reset/)],
      counters: [...emptyFlood, 'http2.rapid_reset'],
      send: async (attacker) => {
        const peer = await attacker.open();
        const count = attacker.target.resetBurst * 1.5;
        for (let sent = 0; sent < count && !peer.ended; sent += 250) {
          await peer.flood(streams(250, (id) => [frame(Type.HEADERS, END_HEADERS, id)], 1 + 2 * sent));
          await peer.roundTrip();
        }
        return await peer.outcome();
      },
    },
    {
      name: 'CONTINUATION',
      answers: [calm(/empty|a header block of more than \d+ frames/)],
      counters: [...emptyFlood, 'http2.continuation_flood'],
      send: async (attacker) => {
        const peer = await attacker.open();
        peer.send(Type.HEADERS, END_STREAM, 1);
        await peer.flood(repeated(frame(Type.CONTINUATION, 0, 1), 5_000));
        return await peer.outcome();
      },
    },
  ],
};

export const unknownFrames: Attack = {
  name: 'frames of unknown types',
  known: 'to be ignored, RFC 9113 4.1',
  comparedWith: 'calls',
  variants: [
    {
      name: '5,000 frames',
      answers: [absorbed],
      counters: [],
      send: async (attacker) => {
        const peer = await attacker.open();
        await peer.flood(repeated(frame(0xbf, 0xff, 0, Buffer.alloc(8)), 5_000));
        return await peer.outcome();
      },
    },
  ],
};

export const honestPings: Attack = {
  name: '1,000 PINGs in one burst, from a peer that reads',
  known: 'not an attack',
  honest: true,
  comparedWith: 'none',
  variants: [
    {
      name: 'and a call behind them',
      answers: [served],
      counters: [],
      send: async (attacker) => {
        const peer = await attacker.open();
        peer.calls.add(1);
        peer.write(
          Buffer.concat([repeated(frame(Type.PING, 0, 0, Buffer.alloc(8)), 1_000), headersFrame(1, blockFor(attacker, 'Call'), whole)]),
        );
        await peer.answered();
        await peer.until(() => peer.pingAcks >= 1_000, 'an acknowledgement of each');
        return await peer.outcome();
      },
    },
  ],
};
