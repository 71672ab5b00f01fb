import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { FrameReader, type FrameSink } from '../../src/http2/frame-reader.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { END_STREAM, frame, PADDED, Type } from './raw-peer.ts';

checkLeaks();

const maxFrameBytes = 16_384;

/** What a sink was told, DATA put together again. */
type Told =
  | { readonly kind: 'frame'; readonly type: number; readonly flags: number; readonly id: number; readonly payload: string }
  | {
      readonly kind: 'data';
      readonly flags: number;
      readonly id: number;
      readonly length: number;
      readonly padding: number;
      body: string;
      ends: number;
    }
  | { readonly kind: 'error'; readonly code: number };

class RecordingSink implements FrameSink {
  closed = false;
  readonly told: Told[] = [];
  unfinishedBytes = 0;
  /** Closes itself on the frame of that number. */
  closesAt = Number.POSITIVE_INFINITY;

  onFrame(type: number, flags: number, id: number, bytes: Uint8Array, start: number, end: number): void {
    this.#tell({ kind: 'frame', type, flags, id, payload: hex(bytes, start, end) });
  }

  onDataFrame(id: number, flags: number, length: number, padding: number): void {
    this.#tell({ kind: 'data', flags, id, length, padding, body: '', ends: 0 });
  }

  onDataPiece(bytes: Uint8Array, start: number, end: number, last: boolean): void {
    assert.ok(!this.closed, 'a closed sink hears nothing more');
    const data = this.told.at(-1);
    assert.ok(data?.kind === 'data' && data.ends === 0, 'a piece belongs to the DATA frame begun last');
    data.body += hex(bytes, start, end);
    if (last) data.ends++;
  }

  onUnfinishedFrame(bytes: number): void {
    this.unfinishedBytes = bytes;
  }

  onFramingError(code: number): void {
    this.#tell({ kind: 'error', code });
    this.closed = true;
  }

  #tell(what: Told): void {
    assert.ok(!this.closed, 'a closed sink hears nothing more');
    this.told.push(what);
    if (this.told.length >= this.closesAt) this.closed = true;
  }
}

const hex = (bytes: Uint8Array, start: number, end: number) => Buffer.from(bytes.subarray(start, end)).toString('hex');

const readIn = (pieces: readonly Uint8Array[], sink = new RecordingSink()) => {
  const reader = new FrameReader(sink, maxFrameBytes);
  for (const piece of pieces) {
    // A socket's buffer may be used again: whatever the reader keeps, it must have copied. Offsets other than 0 are the caller's right.
    const lent = Buffer.concat([Buffer.from([0xee, 0xee]), piece, Buffer.from([0xee])]);
    reader.read(lent, 2, lent.length - 1);
    lent.fill(0xee);
  }
  return { told: sink.told, reader };
};

const anyId = fc.constantFrom(0, 1, 3, 77, 0x7fff_ffff);
const anyPayload = fc.oneof(
  fc.uint8Array({ maxLength: 40 }),
  fc.integer({ min: 0, max: maxFrameBytes }).map((n) => new Uint8Array(n).fill(n)),
);
const anyOther = fc
  .record({ type: fc.integer({ min: 1, max: 255 }), flags: fc.nat(255), id: anyId, payload: anyPayload })
  .map(({ type, flags, id, payload }) => ({
    bytes: frame(type, flags, id, payload),
    told: { kind: 'frame', type, flags, id, payload: Buffer.from(payload).toString('hex') } as Told,
  }));
const anyData = fc
  .record({ flags: fc.nat(255).map((flags) => flags & ~PADDED), id: anyId, payload: anyPayload, padding: fc.option(fc.nat(255)) })
  .map(({ flags: given, id, payload, padding }) => {
    const flags = padding === null ? given : given | PADDED;
    const body = padding === null ? payload : payload.subarray(0, maxFrameBytes - 1 - padding);
    const whole = padding === null ? body : Buffer.concat([Buffer.from([padding]), body, Buffer.alloc(padding)]);
    const told: Told = {
      kind: 'data',
      flags,
      id,
      length: whole.length,
      padding: padding === null ? 0 : padding + 1,
      body: Buffer.from(body).toString('hex'),
      ends: 1,
    };
    return { bytes: frame(Type.DATA, flags, id, whole), told };
  });
const anyFrames = fc.array(fc.oneof(anyData, anyOther), { maxLength: 12 });

/** Cuts at the given fractions of the whole, and at every byte of the first and last few. */
const cutAt = (bytes: Buffer, cuts: readonly number[]) => {
  const at = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b);
  return [...at, bytes.length].map((end, i) => bytes.subarray(i === 0 ? 0 : at[i - 1], end));
};

test('any sequence of frames, cut at any places, is read as the same frames', () => {
  fc.assert(
    fc.property(anyFrames, fc.array(fc.nat(), { maxLength: 60 }), (frames, cuts) => {
      const sink = new RecordingSink();
      const { told, reader } = readIn(cutAt(Buffer.concat(frames.map(({ bytes }) => bytes)), cuts), sink);
      assert.deepEqual(
        told,
        frames.map((one) => one.told),
      );
      assert.equal(reader.insideFrame, false);
      assert.equal(sink.unfinishedBytes, 0);
    }),
    { numRuns: 400 },
  );
});

test('frames that come byte by byte are read as the same frames', () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(anyData, anyOther), { maxLength: 4 }), (frames) => {
      const bytes = Buffer.concat(frames.map((one) => one.bytes));
      const { told } = readIn(Array.from({ length: bytes.length }, (_, i) => bytes.subarray(i, i + 1)));
      assert.deepEqual(
        told,
        frames.map((one) => one.told),
      );
    }),
    { numRuns: 30 },
  );
});

test('a sink that closes itself at any frame hears nothing more, wherever the bytes are cut', () => {
  fc.assert(
    fc.property(anyFrames, fc.array(fc.nat(), { maxLength: 20 }), fc.integer({ min: 1, max: 12 }), (frames, cuts, closesAt) => {
      const sink = new RecordingSink();
      sink.closesAt = closesAt;
      readIn(cutAt(Buffer.concat(frames.map(({ bytes }) => bytes)), cuts), sink);
      assert.ok(sink.told.length <= closesAt);
    }),
  );
});

test('empty DATA, and DATA of nothing but padding, end once and carry nothing', () => {
  const bytes = Buffer.concat([
    frame(Type.DATA, 0, 1),
    frame(Type.DATA, END_STREAM, 1),
    frame(Type.DATA, PADDED, 3, Buffer.from([0])),
    frame(Type.DATA, PADDED | END_STREAM, 3, Buffer.concat([Buffer.from([255]), Buffer.alloc(255)])),
  ]);
  for (let cut = 0; cut <= bytes.length; cut++) {
    const { told } = readIn([bytes.subarray(0, cut), bytes.subarray(cut)]);
    assert.deepEqual(
      told.map((one) => one.kind === 'data' && [one.id, one.length, one.padding, one.body, one.ends]),
      [
        [1, 0, 0, '', 1],
        [1, 0, 0, '', 1],
        [3, 1, 1, '', 1],
        [3, 256, 256, '', 1],
      ],
    );
  }
});

test('padding that is as long as the DATA frame or longer, or has no room at all, is a PROTOCOL_ERROR', () => {
  for (const payload of [[1], [5, 0, 0, 0, 0], [255, 1, 2], []]) {
    const bytes = Buffer.concat([frame(Type.DATA, PADDED, 1, Buffer.from(payload)), frame(Type.PING, 0, 0, Buffer.alloc(8))]);
    for (let cut = 0; cut <= bytes.length; cut++) {
      assert.deepEqual(
        readIn([bytes.subarray(0, cut), bytes.subarray(cut)]).told,
        [{ kind: 'error', code: 1 }],
        `${payload} cut at ${cut}`,
      );
    }
  }
});

test('a frame above the largest size is a FRAME_SIZE_ERROR as soon as its header is there, of whatever type', () => {
  for (const type of [Type.DATA, Type.HEADERS, Type.SETTINGS, 200]) {
    for (const length of [maxFrameBytes + 1, 0xff_ffff]) {
      const header = frame(type, 0, 1);
      header.writeUIntBE(length, 0, 3);
      for (let cut = 0; cut <= header.length; cut++) {
        assert.deepEqual(readIn([header.subarray(0, cut), header.subarray(cut)]).told, [{ kind: 'error', code: 6 }]);
      }
    }
  }
});

test('a frame of exactly the largest size is read whole', () => {
  const payload = Buffer.alloc(maxFrameBytes, 7);
  const bytes = Buffer.concat([frame(Type.HEADERS, 0, 1, payload), frame(Type.DATA, 0, 1, payload)]);
  const { told } = readIn([bytes.subarray(0, 5), bytes.subarray(5, 20_000), bytes.subarray(20_000)]);
  assert.deepEqual(
    told.map((one) => one.kind),
    ['frame', 'data'],
  );
});

test('what is kept of a frame is told until its end has come, and nothing of DATA', () => {
  const headers = frame(Type.HEADERS, 0, 1, Buffer.alloc(16_384));
  const data = frame(Type.DATA, PADDED, 1, Buffer.alloc(16_384));
  for (const cut of [10, 11, 500, 16_392]) {
    const sink = new RecordingSink();
    const { reader } = readIn([headers.subarray(0, cut)], sink);
    assert.ok(sink.unfinishedBytes >= cut && sink.unfinishedBytes <= Math.max(2 * cut, 512), `${sink.unfinishedBytes} for ${cut}`);
    reader.read(headers, cut, headers.length);
    assert.equal(sink.unfinishedBytes, 0);
    readIn([data.subarray(0, cut)], sink);
    assert.equal(sink.unfinishedBytes, 0);
  }
});

test('the reserved bit of the stream id is ignored (RFC 9113 4.1)', () => {
  const bytes = Buffer.concat([frame(Type.PING, 0, 0x8000_0000, Buffer.alloc(8)), frame(Type.DATA, 0, 0x8000_0001, Buffer.from('a'))]);
  assert.deepEqual(
    readIn([bytes]).told.map((one) => one.kind !== 'error' && one.id),
    [0, 1],
  );
});
