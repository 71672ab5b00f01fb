import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fieldBlock } from './mutators/hpack.ts';
import { type WireFrame, wireFrame, writeFrame } from './wire-frames.ts';
import { WireObserver } from './wire-observer.ts';

/** The observer is what says that the engine is right: here it is shown engines that are wrong. */

const uint32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};
const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
const settings = wireFrame(4, 0, 0, Buffer.alloc(0));
const settingsAck = wireFrame(4, 1, 0, Buffer.alloc(0));
const request = (id: number) => wireFrame(1, 4, id, fieldBlock([[':method', 'POST']]));
const response = (id: number, flags = 4) => wireFrame(1, flags, id, fieldBlock([[':status', '200']]));
const data = (id: number, length: number, flags = 0) => wireFrame(0, flags, id, Buffer.alloc(length));
const initialWindow = (bytes: number) => wireFrame(4, 0, 0, Buffer.concat([Buffer.from([0, 4]), uint32(bytes)]));

const observe = (heard: readonly WireFrame[], wrote: readonly WireFrame[]): void => {
  const observer = new WireObserver('server');
  observer.heard(Buffer.concat([preface, ...heard.map(writeFrame)]));
  for (const frame of wrote) observer.wrote(writeFrame(frame));
  observer.finish(false);
};

test('an honest server passes', () => {
  observe([settings, request(1)], [settings, settingsAck, response(1), data(1, 16_384), data(1, 0, 1)]);
});

const wrong: readonly (readonly [what: string, heard: readonly WireFrame[], wrote: readonly WireFrame[], why: RegExp])[] = [
  ['anything before SETTINGS', [settings], [wireFrame(6, 0, 0, Buffer.alloc(8))], /SETTINGS is the first/],
  ['an acknowledgement too many', [settings], [settings, settingsAck, settingsAck], /nobody sent/],
  ['an answer to nobody', [settings], [settings, response(1)], /has not opened/],
  ['DATA behind END_STREAM', [settings, request(1)], [settings, response(1, 5), data(1, 1)], /behind the end/],
  ['HEADERS behind RST_STREAM', [settings, request(1)], [settings, wireFrame(3, 0, 1, uint32(8)), response(1)], /behind the end/],
  [
    'more than the stream may take',
    [initialWindow(10), request(1)],
    [settings, settingsAck, response(1), data(1, 11)],
    /beyond its window/,
  ],
  [
    'more than the connection may take',
    [initialWindow(1_000_000), request(1)],
    [settings, settingsAck, response(1), ...Array.from({ length: 5 }, () => data(1, 16_384))],
    /beyond the connection/,
  ],
  ['a frame that is too long', [settings, request(1)], [settings, response(1), data(1, 16_385)], /nobody allowed/],
  ['credit beyond all bounds', [settings], [settings, wireFrame(8, 0, 0, uint32(0x7fff_ffff))], /window overflows/],
  ['credit of 0', [settings], [settings, wireFrame(8, 0, 0, uint32(0))], /WINDOW_UPDATE of 0/],
  [
    'an answer to another PING',
    [settings, wireFrame(6, 0, 0, uint32(1).fill(1))],
    [settings, wireFrame(6, 1, 0, Buffer.alloc(8, 2))],
    /in order/,
  ],
  ['an index into nothing', [settings, request(1)], [settings, wireFrame(1, 4, 1, Buffer.from([0xbe]))], /index 62/],
  ['a block that another frame interrupts', [settings, request(1)], [settings, response(1, 0), data(1, 1)], /stays together/],
  ['a last stream id that grows', [settings], [settings, goAway(1), goAway(3)], /only sinks/],
  ['frames behind a GOAWAY with an error', [settings], [settings, goAway(1, 1), settingsAck], /behind a GOAWAY/],
  ['a frame cut in two', [settings], [settings, { ...data(1, 3), claimedBytes: 9 }], /cut short/],
];

for (const [what, heard, wrote, why] of wrong) {
  test(`${what} is seen`, () => assert.throws(() => observe(heard, wrote), why));
}

function goAway(lastStreamId: number, code = 0): WireFrame {
  return wireFrame(7, 0, 0, Buffer.concat([uint32(lastStreamId), uint32(code)]));
}
