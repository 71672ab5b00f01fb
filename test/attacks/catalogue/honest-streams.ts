import { END_STREAM, frame, Type } from '../../http2/raw-peer.ts';
import { type Attack, served } from './attack.ts';
import { blockFor, message, open, whole } from './requests.ts';
import { dripMessages } from './service.ts';

const oneMessage = message(Buffer.from([7]));
const messages = 20_000;

/** Envoy 1.40 closes the upstream connection, which other calls share. */
export const honestSmallMessages: Attack = {
  name: '20,000 messages of 6 bytes as fast as one can',
  known: 'not an attack',
  honest: true,
  comparedWith: 'none',
  variants: [
    {
      name: 'sent, each in a frame of its own',
      answers: [served],
      counters: [],
      send: async (attacker) => {
        const peer = await attacker.open();
        peer.calls.add(1);
        peer.headers(1, blockFor(attacker, 'Count'), open);
        // As much as the windows at the beginning allow is under way at once.
        const batch = Buffer.concat(Array.from({ length: 4_000 }, () => frame(Type.DATA, 0, 1, oneMessage)));
        for (let sent = 0; sent < messages && !peer.ended; sent += 4_000) {
          await peer.flood(batch);
          await peer.roundTrip();
        }
        peer.send(Type.DATA, END_STREAM, 1);
        await peer.answered();
        const seen = await peer.outcome();
        // 5 bytes of prefix and the decimal number of bytes that the service received.
        const arrived = peer.dataOf.get(1) === 5 + String(messages * oneMessage.length).length;
        return arrived ? seen : { ...seen, replies: new Map([['not all of them arrived', 1]]) };
      },
    },
    {
      name: 'received, each in a frame of its own',
      answers: [served],
      counters: [],
      send: async (attacker) => {
        const peer = await attacker.open();
        peer.credits = true;
        peer.calls.add(1);
        peer.headers(1, blockFor(attacker, 'Drip'), whole);
        await peer.answered();
        const seen = await peer.outcome();
        const arrived = peer.dataBytes === dripMessages * oneMessage.length;
        return arrived ? seen : { ...seen, replies: new Map([['not all of them arrived', 1]]) };
      },
    },
  ],
};

export const honestSlowReader: Attack = {
  name: 'a reader at 2 KiB/s',
  known: 'not an attack',
  honest: true,
  comparedWith: 'none',
  variants: [
    {
      name: 'of 100 answers of 1 MiB, in turn',
      answers: [served],
      counters: [],
      send: async (attacker) => {
        const peer = await attacker.open([[4, 2_048]]);
        // The windows of the streams are what is small.
        peer.windowUpdate(0, 1_000_000);
        for (let i = 0; i < 100; i++) peer.headers(1 + 2 * i, blockFor(attacker, 'Large'), whole);
        await peer.roundTrip();
        // So slow that the time of the attack is its limit.
        for (let second = 0; second * 1_000 < attacker.options.holdMs && !peer.ended; second++) {
          await attacker.pass(1_000);
          for (let i = 0; i < 100; i++) peer.windowUpdate(1 + 2 * i, 2_048);
          peer.windowUpdate(0, 204_800);
          await peer.roundTrip();
        }
        // Not one has been cut off: one small call proves that the connection serves.
        if (peer.resets.size > 0 || peer.replies.size > 0) return await peer.outcome();
        peer.calls.add(201);
        peer.headers(201, blockFor(attacker, 'Call'), whole);
        await peer.answered();
        return await peer.outcome();
      },
    },
  ],
};
