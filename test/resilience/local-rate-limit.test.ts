import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { LocalRateLimit, TokenBucket } from '../../src/resilience/index.ts';

const bucket = (maxTokens: number, tokensPerFill = maxTokens, fillIntervalMs = 1_000) => ({ maxTokens, tokensPerFill, fillIntervalMs });

/** Takes until there is none. */
const drain = (tokens: TokenBucket, nowMs: number): number => {
  let taken = 0;
  for (; tokens.tokens(nowMs) > 0; taken++) tokens.take();
  return taken;
};

test('a bucket is full at first, fills at fixed instants, and never holds more than it may', () => {
  const tokens = new TokenBucket(bucket(5, 2), 100);
  assert.equal(drain(tokens, 100), 5);
  assert.equal(tokens.waitMs(100), 1_000);
  assert.equal(tokens.waitMs(1_099), 1);
  assert.equal(drain(tokens, 1_099), 0);
  assert.equal(drain(tokens, 1_100), 2);
  assert.equal(drain(tokens, 3_500), 4);
  assert.equal(tokens.waitMs(3_500), 600, 'instants stay where they were');
  assert.equal(drain(tokens, 1e9), 5);
});

test('other numbers leave taken what was taken', () => {
  const tokens = new TokenBucket(bucket(5), 0);
  for (let i = 0; i < 3; i++) tokens.take();
  tokens.update(bucket(10), 0);
  assert.equal(tokens.tokens(0), 7);
  tokens.update(bucket(2), 0);
  assert.equal(tokens.tokens(0), 0);
  assert.equal(tokens.tokens(1_000), 2);
});

test('in any span no more tokens are given than the bucket holds and the fills bring', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 20 }),
      fc.integer({ min: 1, max: 20 }),
      fc.array(fc.integer({ min: 0, max: 900 }), { maxLength: 200 }),
      (max, fill, steps) => {
        const tokens = new TokenBucket(bucket(max, fill), 0);
        let nowMs = 0;
        let taken = 0;
        for (const step of steps) {
          nowMs += step;
          if (tokens.tokens(nowMs) > 0) {
            tokens.take();
            taken++;
          } else assert.ok(tokens.waitMs(nowMs) > 0 && tokens.waitMs(nowMs) <= 1_000);
          assert.ok(taken <= max + Math.floor(nowMs / 1_000) * fill);
        }
      },
    ),
  );
});

const user = (value: string) => [[{ key: 'user', value }]];
const byUser = { entries: [{ key: 'user', value: undefined }], bucket: bucket(2) };
const limitOf = (options: Partial<ConstructorParameters<typeof LocalRateLimit>[0]>) =>
  new LocalRateLimit({ bucket: bucket(1_000), descriptors: [byUser], maxDynamicDescriptors: 3, alwaysConsumeDefault: true, ...options }, 0);
const passes = (limit: LocalRateLimit, value: string, nowMs = 0): boolean => limit.waitMs(user(value), nowMs) === 0;

test('each value that comes has a bucket of its own, and one for just this value is nearer', () => {
  const limit = limitOf({ descriptors: [byUser, { entries: [{ key: 'user', value: 'vip' }], bucket: bucket(4) }] });
  const passed = (value: string) => [1, 2, 3, 4, 5].filter(() => passes(limit, value)).length;
  assert.deepEqual(['a', 'b', 'vip', 'a'].map(passed), [2, 2, 4, 0]);
  assert.equal(limit.waitMs(user('a'), 400), 600);
  assert.ok(passes(limit, 'a', 1_000));
});

test('a call that is refused by one bucket takes from none', () => {
  const limit = limitOf({ bucket: bucket(3) });
  for (let i = 0; i < 20; i++) passes(limit, 'a');
  assert.equal(limit.commonTokens.tokens(0), 1);
  assert.ok(passes(limit, 'b'));
  assert.ok(!passes(limit, 'c'), 'the common bucket is empty');
});

test('the common bucket is left alone where a descriptor decides and that is meant', () => {
  const limit = limitOf({ bucket: bucket(1), alwaysConsumeDefault: false });
  assert.deepEqual([passes(limit, 'a'), passes(limit, 'a'), passes(limit, 'a')], [true, true, false]);
  assert.equal(limit.waitMs([], 0), 0, 'nothing is known of the call: the common one');
  assert.ok(limit.waitMs([[{ key: 'other', value: 'a' }]], 0) > 0);
});

test('keys count with their order and their number', () => {
  const limit = limitOf({
    descriptors: [
      {
        entries: [
          { key: 'user', value: undefined },
          { key: 'kind', value: 'bulk' },
        ],
        bucket: bucket(1),
      },
    ],
    alwaysConsumeDefault: false,
    bucket: bucket(100),
  });
  const [u, k] = [
    { key: 'user', value: 'a' },
    { key: 'kind', value: 'bulk' },
  ];
  assert.equal(limit.waitMs([[u, k]], 0), 0);
  assert.ok(limit.waitMs([[u, k]], 0) > 0);
  assert.equal(limit.waitMs([[k, u]], 0), 0);
  assert.equal(limit.waitMs([[u]], 0), 0);
  assert.equal(limit.waitMs([[u, { ...k, value: 'other' }]], 0), 0);
});

test('buckets are bounded, and the one not asked for longest goes', () => {
  const limit = limitOf({ maxDynamicDescriptors: 3 });
  for (const value of ['a', 'a', 'b', 'c', 'a']) passes(limit, value);
  passes(limit, 'd');
  assert.equal(limit.dynamicDescriptors, 3);
  assert.ok(!passes(limit, 'a'), 'still known, and empty');
  for (let i = 0; i < 10_000; i++) passes(limit, 'x'.repeat(5_000) + i);
  assert.equal(limit.dynamicDescriptors, 3);
});

test('long values that differ at their end are told apart', () => {
  const limit = limitOf({});
  const long = 'x'.repeat(4_000);
  assert.deepEqual(
    [passes(limit, `${long}1`), passes(limit, `${long}1`), passes(limit, `${long}1`), passes(limit, `${long}2`)],
    [true, true, false, true],
  );
});

test('a reload keeps what was taken', () => {
  const limit = limitOf({ bucket: bucket(10) });
  for (let i = 0; i < 2; i++) passes(limit, 'a');
  limit.update({ bucket: bucket(20), descriptors: [byUser], maxDynamicDescriptors: 3, alwaysConsumeDefault: true }, false, 0);
  assert.equal(limit.commonTokens.tokens(0), 18);
  assert.ok(!passes(limit, 'a'));
  limit.update(
    { bucket: bucket(20), descriptors: [{ ...byUser, bucket: bucket(3) }], maxDynamicDescriptors: 3, alwaysConsumeDefault: true },
    true,
    0,
  );
  assert.ok(passes(limit, 'a'));
});

test('whoever asks again takes from the buckets of the call before, and from no others', () => {
  const limit = new LocalRateLimit(
    {
      bucket: bucket(100),
      descriptors: [{ entries: [{ key: 'tenant', value: undefined }], bucket: bucket(3) }],
      maxDynamicDescriptors: 10,
      alwaysConsumeDefault: true,
    },
    0,
  );
  const of = (tenant: string) => [[{ key: 'tenant', value: tenant }]];
  assert.equal(limit.waitMs(of('a'), 0), 0);
  assert.deepEqual([limit.waitMsAgain(0), limit.waitMsAgain(0), limit.waitMsAgain(0)], [0, 0, 1_000]);
  assert.equal(limit.waitMs(of('b'), 0), 0);
  assert.equal(limit.waitMs(of('a'), 0), 1_000);
  assert.equal(limit.commonTokens.tokens(0), 96, 'a refused call takes none');
  assert.equal(limit.waitMsAgain(1_000), 0);
});
