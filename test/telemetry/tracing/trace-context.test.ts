import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { HpackDecoder, HpackProblem } from '../../../src/http2/hpack/decoder.ts';
import { HpackEncoder } from '../../../src/http2/hpack/encoder.ts';
import { HeaderBlock } from '../../../src/http2/index.ts';
import { CallerContext, callerRecords, callersTraceId, Said, writeContext } from '../../../src/telemetry/tracing/trace-context.ts';
import { hexOf, notHex, readHex, readHexOrCapitals, TraceIds, writeHex } from '../../../src/telemetry/tracing/trace-ids.ts';

const blockOf = (...fields: readonly (readonly [string, string])[]): HeaderBlock => {
  const block = new HeaderBlock();
  for (const [name, value] of fields) block.addNamed(name, value);
  return block;
};

const read = (...fields: readonly (readonly [string, string])[]) => {
  const context = new CallerContext();
  context.read(blockOf(...fields));
  const { found, parentHigh, parentLow, said, trace } = context;
  return found ? { trace: hexOf(...trace), parent: hexOf(parentHigh, parentLow), said } : { said };
};

const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
const parent = '00f067aa0ba902b7';

test('a traceparent is read, of this version and of later ones', () => {
  const found = { trace: traceId, parent };
  assert.deepEqual(read(['traceparent', `00-${traceId}-${parent}-01`]), { ...found, said: Said.yes });
  assert.deepEqual(read(['traceparent', `00-${traceId}-${parent}-00`]), { ...found, said: Said.no });
  assert.deepEqual(read(['traceparent', `00-${traceId}-${parent}-03`]), { ...found, said: Said.yes });
  assert.deepEqual(read(['traceparent', `cc-${traceId}-${parent}-01-what-comes-later`]), { ...found, said: Said.yes });
});

for (const wrong of [
  '',
  '00',
  `00-${traceId}-${parent}`,
  `00-${traceId}-${parent}-01-more`,
  `00-${traceId}-${parent}-0`,
  `ff-${traceId}-${parent}-01`,
  `cc-${traceId}-${parent}-01.more`,
  `00-${traceId.toUpperCase()}-${parent}-01`,
  `00-${'0'.repeat(32)}-${parent}-01`,
  `00-${traceId}-${'0'.repeat(16)}-01`,
  `00-${traceId.slice(1)}g-${parent}-01`,
  `00_${traceId}-${parent}-01`,
  `0x-${traceId}-${parent}-01`,
  `00-${traceId}-${parent}-0x`,
]) {
  test(`no trace is continued for a traceparent that is "${wrong}", and the next one is read as if nothing had been`, () => {
    const context = new CallerContext();
    context.read(blockOf(['traceparent', wrong]));
    assert.equal(context.found, false);
    context.read(blockOf(['traceparent', `00-${traceId}-${parent}-01`]));
    assert.equal(context.found, true);
  });
}

test('of two traceparents none counts', () => {
  const one = ['traceparent', `00-${traceId}-${parent}-01`] as const;
  assert.deepEqual(read(one, one), { said: Said.nothing });
});

test('B3 is read in one header', () => {
  assert.deepEqual(read(['b3', `${traceId}-${parent}-1`]), { trace: traceId, parent, said: Said.yes });
  assert.deepEqual(read(['b3', `${traceId}-${parent}-d`]), { trace: traceId, parent, said: Said.yes });
  assert.deepEqual(read(['b3', `${traceId}-${parent}-0-05e3ac9a4f6e3b90`]), { trace: traceId, parent, said: Said.no });
  assert.deepEqual(read(['b3', `${traceId}-${parent}`]), { trace: traceId, parent, said: Said.nothing });
  const short = { trace: `${'0'.repeat(16)}${traceId.slice(16)}`, parent, said: Said.yes };
  assert.deepEqual(read(['b3', `${traceId.slice(16)}-${parent}-1`]), short);
  assert.deepEqual(read(['b3', '0']), { said: Said.no });
  assert.deepEqual(read(['b3', 'what']), { said: Said.nothing });
});

test('B3 is read in several headers', () => {
  const ids = [
    ['x-b3-traceid', traceId],
    ['x-b3-spanid', parent],
  ] as const;
  assert.deepEqual(read(...ids, ['x-b3-sampled', '1']), { trace: traceId, parent, said: Said.yes });
  assert.deepEqual(read(...ids, ['x-b3-sampled', 'false']), { trace: traceId, parent, said: Said.no });
  assert.deepEqual(read(...ids), { trace: traceId, parent, said: Said.nothing });
  assert.deepEqual(read(['x-b3-sampled', '0']), { said: Said.no });
  assert.deepEqual(read(['x-b3-traceid', traceId]), { said: Said.nothing });
});

test('a traceparent wins over B3, and where it is none B3 counts', () => {
  const b3 = ['b3', `${traceId}-${parent}-0`] as const;
  const other = '11111111111111111111111111111111';
  assert.deepEqual(read(['traceparent', `00-${other}-${parent}-01`], b3), { trace: other, parent, said: Said.yes });
  assert.deepEqual(read(['traceparent', 'nothing'], b3), { trace: traceId, parent, said: Said.no });
});

test("B3's word for a trace to debug is a yes, in one header and in several, with ids and without", () => {
  const debugged = (...fields: readonly (readonly [string, string])[]) => {
    const context = new CallerContext();
    context.read(blockOf(...fields));
    return [context.debug, context.said];
  };
  assert.deepEqual(debugged(['b3', `${traceId}-${parent}-d`]), [true, Said.yes]);
  assert.deepEqual(debugged(['b3', 'd']), [true, Said.yes]);
  assert.deepEqual(debugged(['x-b3-traceid', traceId], ['x-b3-spanid', parent], ['x-b3-flags', '1']), [true, Said.yes]);
  assert.deepEqual(debugged(['x-b3-sampled', '0'], ['x-b3-flags', '1']), [true, Said.yes]);
  assert.deepEqual(debugged(['x-b3-flags', '1']), [true, Said.yes]);
  assert.deepEqual(debugged(['x-b3-flags', '0']), [false, Said.nothing]);
  assert.deepEqual(debugged(['x-b3-flags', '']), [false, Said.nothing]);
});

test('a debugged trace goes on as one, in whatever words of B3', () => {
  const write = (sampled: boolean, ...fields: readonly (readonly [string, string])[]) => {
    const block = blockOf(...fields);
    const ids = { trace0: 1, trace1: 2, trace2: 3, trace3: 4 };
    writeContext(block, { ...ids, sampled, debug: true, b3Single: true, b3Multiple: true, inPlace: false }, 5, 6);
    return Object.fromEntries(block.toPairs());
  };
  const [trace, span] = ['00000001000000020000000300000004', '0000000500000006'];
  const came = [
    ['x-b3-flags', '1'],
    ['x-b3-parentspanid', parent],
  ] as const;
  const common = { 'x-b3-traceid': trace, 'x-b3-spanid': span };
  assert.deepEqual(write(true, ...came), {
    traceparent: `00-${trace}-${span}-01`,
    b3: `${trace}-${span}-d`,
    ...common,
    'x-b3-flags': '1',
  });
  assert.deepEqual(write(false, ...came), {
    traceparent: `00-${trace}-${span}-00`,
    b3: `${trace}-${span}-0`,
    ...common,
    'x-b3-sampled': '0',
  });
});

test('what a caller says of a trace id being random stays, and other bits of later levels go', () => {
  const words = { trace0: 0x4bf92f35, trace1: 0x77b34da6, trace2: 0xa3ce929d | 0, trace3: 0x0e0e4736 };
  for (const [came, sampled, flags] of [
    ['03', false, '02'],
    ['02', true, '03'],
    ['0d', true, '01'],
    ['ff', false, '02'],
  ] as const) {
    const block = blockOf(['traceparent', `00-${traceId}-${parent}-${came}`]);
    writeContext(block, { ...words, sampled, debug: false, b3Single: false, b3Multiple: false, inPlace: true }, 5, 6);
    assert.deepEqual(block.toPairs(), [['traceparent', `00-${traceId}-0000000500000006-${flags}`]]);
  }
});

test('whoever makes no traces reads the same of them as whoever does', () => {
  const span = ['x-b3-spanid', parent] as const;
  for (const [fields, trace, records] of [
    [[['traceparent', `00-${traceId}-${parent}-01`]], traceId, true],
    [
      [
        ['traceparent', 'nothing'],
        ['b3', `${traceId}-${parent}-1`],
      ],
      traceId,
      true,
    ],
    [[['traceparent', `00-${traceId.toUpperCase()}-${parent}-01`]], undefined, false],
    [[['x-b3-traceid', traceId.slice(16)], span, ['x-b3-flags', '1']], `${'0'.repeat(16)}${traceId.slice(16)}`, true],
    [[['x-b3-sampled', 'true']], undefined, true],
    [[['b3', `${traceId}-${parent}-0`]], traceId, false],
    [[], undefined, false],
  ] as const) {
    const block = blockOf(...fields);
    assert.deepEqual([callersTraceId(block), callerRecords(block)], [trace, records]);
  }
});

const word = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });

test('what is written is read again, whether it is written over or anew, beside other fields', () => {
  const encoder = new HpackEncoder();
  const decoder = new HpackDecoder();
  const words = fc.tuple(
    word,
    word,
    word,
    word.filter((value) => value !== 0),
  );
  fc.assert(
    fc.property(
      words,
      word,
      word.filter((value) => value !== 0),
      fc.boolean(),
      fc.boolean(),
      (trace, high, low, sampled, there) => {
        const [trace0, trace1, trace2, trace3] = trace;
        const fields = there ? ([['traceparent', `00-${hexOf(...trace)}-${parent}-01`]] as const) : [];
        const block = blockOf(['x-first', 'a'], ...fields, ['x-last', 'b']);
        const written = { trace0, trace1, trace2, trace3, sampled, debug: false, b3Single: false, b3Multiple: false, inPlace: there };
        writeContext(block, written, high, low);
        const expected = `00-${hexOf(...trace)}-${hexOf(high, low)}-0${sampled ? 1 : 0}`;
        const pairs = block.toPairs();
        assert.deepEqual(
          pairs.filter(([name]) => name === 'traceparent'),
          [['traceparent', expected]],
        );
        assert.deepEqual(
          pairs.filter(([name]) => name !== 'traceparent'),
          [
            ['x-first', 'a'],
            ['x-last', 'b'],
          ],
        );
        // It goes out as it stands, also where the encoder has seen another one before.
        const out = Buffer.alloc(encoder.boundBytes(block));
        const received = new HeaderBlock();
        assert.equal(decoder.decode(out, 0, encoder.encode(block, out, 0), received, 100, 60_000), HpackProblem.none);
        assert.deepEqual(received.toPairs(), pairs);
      },
    ),
  );
});

test('ids follow from their seed, and a thousand of them differ', () => {
  const seed = Int32Array.of(1, 2, 3, 4);
  const [one, other] = [new TraceIds(seed), new TraceIds(seed)];
  const ids = Array.from({ length: 1_000 }, () => hexOf(one.next(), one.next()));
  assert.deepEqual(
    Array.from({ length: 1_000 }, () => hexOf(other.next(), other.next())),
    ids,
  );
  assert.equal(new Set(ids).size, 1_000);
  assert.notEqual(hexOf(new TraceIds().next(), new TraceIds().next()), hexOf(new TraceIds().next(), new TraceIds().next()));
});

test('every byte is a digit or none, at every place of a number', () => {
  const buffer = Buffer.alloc(16);
  const view = new DataView(buffer.buffer, buffer.byteOffset, buffer.length);
  for (const text of ['00000000', '01234567', '89abcdef', 'ffffffff', '7fffffff', '80000000']) {
    for (let place = 0; place < 8; place++) {
      for (let byte = 0; byte < 256; byte++) {
        buffer.write(text, 3, 'latin1');
        buffer[3 + place] = byte;
        const written = buffer.toString('latin1', 3, 11);
        readHex(view, 3);
        assert.equal(notHex(), !/^[0-9a-f]{8}$/.test(written), written);
        const read = readHexOrCapitals(view, 3);
        const wrong = notHex();
        assert.equal(wrong, !/^[0-9a-fA-F]{8}$/.test(written), written);
        if (wrong) continue;
        assert.equal(read, Number.parseInt(written, 16) | 0);
        writeHex(read, view, 5);
        assert.equal(buffer.toString('latin1', 5, 13), written.toLowerCase());
      }
    }
  }
});
