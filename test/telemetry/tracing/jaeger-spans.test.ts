import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { JaegerOutput } from '../../../src/telemetry/tracing/jaeger-spans.ts';
import { SpanResource } from '../../../src/telemetry/tracing/span-resource.ts';
import { SpanWriter, type WrittenSpan } from '../../../src/telemetry/tracing/span-writer.ts';
import { librarySpan, type PlainSpan, readSpan } from './jaeger-thrift.ts';
import { spansOfCalls } from './odd-calls.ts';

const resource = new SpanResource({ 'service.name': 'auth-svc' });
const writer = new SpanWriter(new JaegerOutput());
const bytesOf = ({ chunk, end, start }: WrittenSpan): Buffer => chunk.subarray(start, end);

/** The library's own time of `theirs` where ours is as near: it adds fractions to numbers that have room for a quarter of a microsecond, and loses up to one. */
const within = (ours: bigint, theirs: bigint | undefined): bigint =>
  theirs !== undefined && ours - theirs <= 1n && theirs - ours <= 1n ? theirs : ours;

const roundedAs = (library: PlainSpan, ours: PlainSpan): PlainSpan => ({
  ...ours,
  startTime: within(ours.startTime, library.startTime),
  logs: ours.logs.map((log, i) => ({ ...log, timestamp: within(log.timestamp, library.logs[i]?.timestamp) })),
});

test('spans of any call say what the library would have said of them', () => {
  fc.assert(
    fc.property(spansOfCalls(resource), (spans) => {
      for (const span of spans) {
        const library = librarySpan(span);
        const ours = readSpan(bytesOf(writer.write(span) as WrittenSpan));
        assert.deepEqual(roundedAs(library, ours), library);
      }
    }),
    { numRuns: 400 },
  );
});

test('a span that is too large is not written, and those after it are', () => {
  const spans = fc.sample(spansOfCalls(resource), { numRuns: 50, seed: 7 }).flat();
  const most = 1_000;
  const bounded = new SpanWriter(new JaegerOutput(), most);
  let tooLarge = 0;
  for (const span of spans) {
    const whole = bytesOf(writer.write(span) as WrittenSpan);
    const written = bounded.write(span);
    if (written === undefined) tooLarge++;
    else assert.deepEqual(bytesOf(written), whole);
    assert.equal(written === undefined, whole.length > most);
  }
  assert.ok(tooLarge > 0 && tooLarge < spans.length, `${tooLarge} of ${spans.length}`);
});
