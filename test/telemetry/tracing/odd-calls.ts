import fc from 'fast-check';
import { fates } from '../../../src/core/index.ts';
import type { EndedCall } from '../../../src/telemetry/index.ts';
import { AttemptSpan, CallSpan, type FinishedSpan } from '../../../src/telemetry/tracing/call-span.ts';
import { type AttemptRecord, CallTrace, TraceFlag } from '../../../src/telemetry/tracing/call-trace.ts';
import { FinishedCall } from '../../../src/telemetry/tracing/finished-call.ts';
import type { SpanResource } from '../../../src/telemetry/tracing/span-resource.ts';
import { endedCall } from '../access-log/ended-call.ts';

/** Empty, of any script, with halves of characters, and longer than a writer's first buffer. */
const text = fc.oneof(
  fc.string({ unit: 'grapheme-ascii', maxLength: 80 }),
  fc.string({ unit: 'grapheme', maxLength: 40 }),
  fc.constantFrom('', 'x'.repeat(63), 'x'.repeat(64), 'é'.repeat(63), '漢字', '\ud800', 'a\u0000b', '😀'.repeat(600), 'y'.repeat(20_000)),
);
const maybe = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(arbitrary, { nil: undefined });
const status = fc.integer({ min: 0, max: 16 });
const word = fc.oneof(fc.integer(), fc.constantFrom(0, -1, 1, 0x7fff_ffff, -0x8000_0000));
type Words = readonly [number, number, number, number, number, number, number, number];
const words: fc.Arbitrary<Words> = fc.tuple(word, word, word, word, word, word, word, word);
const count = fc.oneof(fc.nat(), fc.constantFrom(0, 5_000_000_000, Number.MAX_SAFE_INTEGER));
const address = fc.constantFrom('', 'echo', 'echo:50051', '10.0.0.4:50051', '[::1]:80', '[2001:db8::1]', ':80', 'ö.example:0', 'a:b');
const timeMs = fc.double({ min: 0, max: 1e9, noNaN: true });

const endedCalls: fc.Arbitrary<EndedCall> = fc
  .record({
    direction: fc.constantFrom('inbound', 'outbound'),
    fate: fc.constantFrom(...fates),
    grpcStatus: status,
    path: text.map((path) => `/${path}`),
    authority: fc.oneof(address, text),
    routeName: maybe(text),
    routeLocation: maybe(text),
    cluster: maybe(text),
    attempts: fc.nat(40),
    retriesExhausted: fc.boolean(),
    bytesReceived: count,
    bytesSent: count,
    peerAddress: address,
    peerIdentity: maybe(text.map((spiffeId) => ({ spiffeId, dnsSans: [] }) as unknown as NonNullable<EndedCall['peerIdentity']>)),
    replyMessage: maybe(text),
  })
  .map((fields) => endedCall(fields as Partial<EndedCall>));

const attempts: fc.Arbitrary<AttemptRecord> = fc.record({
  number: fc.integer({ min: 1, max: 40 }),
  startMs: timeMs,
  endMs: timeMs,
  endpoint: maybe(address),
  httpStatus: fc.constantFrom(0, 200, 503),
  probe: fc.boolean(),
  outcome: fc.constantFrom('success', 'error', 'timeout', 'cancelled'),
  grpcStatus: fc.oneof(status, fc.constant(-1)),
  failure: maybe(fc.record({ reason: text, message: text })),
});

const events = fc.record({
  name: text,
  atMs: timeMs,
  attributes: fc.dictionary(
    fc.constantFrom('after_attempt', 'delay_ms', 'via', 'schlüssel', ''),
    fc.oneof(text, fc.double({ noNaN: true }), fc.integer(), fc.boolean()),
  ),
});

/**
 * All spans of a call of any kind.
 * @param ids of trace (four words), parent (two) and span (two).
 */
export const spansOfCalls = (resource: SpanResource, ids: fc.Arbitrary<Words> = words): fc.Arbitrary<readonly FinishedSpan[]> =>
  fc
    .tuple(
      endedCalls,
      ids,
      fc.integer({ min: 0, max: 63 }),
      fc.array(attempts, { maxLength: 5 }),
      fc.array(events, { maxLength: 4 }),
      fc.tuple(timeMs, timeMs),
    )
    .map(([call, of, flags, records, happened, [startMs, endMs]]) => {
      const trace = new CallTrace().begin(...of, flags & ~TraceFlag.never);
      for (const { atMs, attributes, name } of happened) trace.event(name, atMs, attributes);
      for (const record of records) trace.attemptEnded(record);
      const finished = new FinishedCall(call, trace, startMs, endMs, Date.UTC(2026, 0, 1) + 0.25);
      return [new CallSpan(finished, resource), ...records.map((record) => new AttemptSpan(finished, record, resource))];
    });
