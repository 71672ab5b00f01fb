import assert from 'node:assert/strict';
import { FrameReader, type FrameSink } from '../../../src/http2/frame-reader.ts';
import { mutateBytes } from '../mutators/bytes.ts';
import { mutateFrames } from '../mutators/frames.ts';
import { Random, seedOf } from '../random.ts';
import type { FuzzTarget } from '../target.ts';
import { wireFrame, writeFrames } from '../wire-frames.ts';

const maxFrameBytes = 16_384;
const data = 0;

/** Frames by the text of RFC 9113 4.1 and 6.1, of bytes that are all at hand. */
const expectedEvents = (input: Buffer): string[] => {
  const events: string[] = [];
  for (let at = 0; input.length - at >= 9; ) {
    const length = input.readUIntBE(at, 3);
    const [type, flags] = [input[at + 3] as number, input[at + 4] as number];
    const id = input.readUInt32BE(at + 5) & 0x7fff_ffff;
    const payload = input.subarray(at + 9, at + 9 + length);
    if (length > maxFrameBytes) return [...events, 'error 6'];
    at += 9 + length;
    if (type !== data) {
      if (payload.length === length) events.push(`frame ${type} ${flags} ${id} ${payload.toString('hex')}`);
      continue;
    }
    const isPadded = (flags & 8) !== 0;
    if (isPadded && length > 0 && payload.length === 0) break;
    const padding = isPadded ? (payload[0] ?? 0) + 1 : 0;
    if (padding > length) return [...events, 'error 1'];
    events.push(`data ${id} ${flags} ${length} ${padding}`);
    const end = length - padding + (isPadded ? 1 : 0);
    const text = payload.subarray(isPadded ? 1 : 0, end);
    if (text.length > 0) events.push(`bytes ${text.toString('hex')}`);
    if (text.length === length - padding) events.push('last');
  }
  return events;
};

class RecordingSink implements FrameSink {
  closed = false;
  readonly events: string[] = [];
  #dataOpen = false;
  #unfinishedBytes = 0;

  onFrame(type: number, flags: number, streamId: number, bytes: Uint8Array, start: number, end: number): void {
    assert.ok(start >= 0 && end <= bytes.length && start <= end, 'a range within the bytes');
    assert.ok(!this.#dataOpen, 'DATA has ended before the next frame');
    this.events.push(`frame ${type} ${flags} ${streamId} ${Buffer.from(bytes.subarray(start, end)).toString('hex')}`);
  }

  onDataFrame(streamId: number, flags: number, length: number, padding: number): void {
    assert.ok(!this.#dataOpen, 'DATA has ended before the next frame');
    assert.equal(this.#unfinishedBytes, 0, 'nothing is kept for DATA');
    this.#dataOpen = true;
    this.events.push(`data ${streamId} ${flags} ${length} ${padding}`);
  }

  onDataPiece(bytes: Uint8Array, start: number, end: number, last: boolean): void {
    assert.ok(this.#dataOpen, 'a piece belongs to a frame');
    assert.ok(start >= 0 && end <= bytes.length && start <= end, 'a range within the bytes');
    const text = Buffer.from(bytes.subarray(start, end)).toString('hex');
    const before = this.events.at(-1);
    if (text !== '') {
      // However a frame comes in pieces, together they are its payload.
      if (before?.startsWith('bytes ')) this.events[this.events.length - 1] = before + text;
      else this.events.push(`bytes ${text}`);
    } else assert.ok(last, 'an empty piece ends its frame');
    if (!last) return;
    this.#dataOpen = false;
    this.events.push('last');
  }

  onUnfinishedFrame(bytes: number): void {
    assert.ok(!this.#dataOpen, 'nothing is kept for DATA');
    assert.ok(bytes === 0 || (bytes > 9 && bytes >= this.#unfinishedBytes), 'what is kept grows until the frame is whole');
    this.#unfinishedBytes = bytes;
  }

  onFramingError(code: number): void {
    this.closed = true;
    this.events.push(`error ${code}`);
  }
}

/** Reads the input in pieces, each from a buffer of its own in which other bytes stand around it. */
const eventsOf = (input: Buffer, nextPiece: () => number): readonly string[] => {
  const sink = new RecordingSink();
  const reader = new FrameReader(sink, maxFrameBytes);
  for (let at = 0; at < input.length; ) {
    const length = Math.min(input.length - at, Math.max(1, nextPiece()));
    const around = Buffer.alloc(length + 40, 0xaa);
    around.set(input.subarray(at, at + length), 20);
    reader.read(around, 20, 20 + length);
    // Whoever keeps a reference instead of a copy sees this.
    around.fill(0x55);
    at += length;
  }
  return sink.events;
};

export class FramesTarget implements FuzzTarget {
  readonly name = 'frames';
  readonly longestInputBytes = 60_000;

  seeds(): readonly Buffer[] {
    return [
      writeFrames([wireFrame(4, 0, 0, Buffer.from('000300000064', 'hex')), wireFrame(1, 5, 1, Buffer.from([0x82, 0x86, 0x84]))]),
      writeFrames([
        wireFrame(data, 9, 1, Buffer.from('0361626300000000', 'hex')),
        wireFrame(data, 8, 1, Buffer.from([0])),
        wireFrame(data, 1, 1, Buffer.alloc(0)),
      ]),
      writeFrames([wireFrame(data, 0, 1, Buffer.alloc(16_384)), wireFrame(6, 0, 0, Buffer.alloc(8))]),
      writeFrames([wireFrame(data, 8, 3, Buffer.from([5, 1])), wireFrame(0xfa, 255, 0xffff_ffff, Buffer.from('unknown'))]),
    ];
  }

  mutate(random: Random, input: Buffer, other: Buffer): Buffer {
    return random.oneIn(3) ? mutateBytes(random, input, other) : mutateFrames(random, input, other, 0);
  }

  run(input: Buffer): void {
    const expected = expectedEvents(input);
    const random = new Random(seedOf(input));
    assert.deepEqual(
      eventsOf(input, () => input.length),
      expected,
      'read at once',
    );
    assert.deepEqual(
      eventsOf(input, () => random.pick([1, 1, 2, 8, 9, 10, random.below(400)])),
      expected,
      'read in pieces',
    );
    if (input.length < 400)
      assert.deepEqual(
        eventsOf(input, () => 1),
        expected,
        'read byte by byte',
      );
  }
}
