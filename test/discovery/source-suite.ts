import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { EndpointSet, EndpointSource } from '../../src/discovery/index.ts';

export interface OriginEndpoint {
  /** IPv4 address. */
  readonly host: string;
  readonly port: number;
}

/** What an origin says: endpoints (none is an answer, too), or nothing that could be used: an outage, an error, garbage. */
export type OriginState = readonly OriginEndpoint[] | 'failing';

/** A source under test, with whoever it asks played by the test. Disposing ends the latter and, where it is still open, the source. */
export interface SourceOrigin extends AsyncDisposable {
  readonly source: EndpointSource;
  /** From now on the origin says this. Returns when it does, not when the source has heard it. */
  say(state: OriginState): void | Promise<void>;
  /** Lets some time pass (200 ms of the source's clock or so) and input and output happen. Called until something has come true. */
  pass(): Promise<void>;
  /** Timers of the source's clock that are armed, where the clock can tell. */
  pendingTimers?(): number;
}

export interface SourceSuite {
  /** A new origin in this state, and a source that asks it, created last: nothing has been heard from it when this resolves, or little. */
  open(state: OriginState): Promise<SourceOrigin>;
  /** The source's `keepLastMs`. Real time with a real clock, so short there. */
  readonly keepsLast: boolean;
  /** How many endpoints "thousands" are; 5,000 unless given. */
  readonly thousands?: number;
  /** All endpoints have this port, where the origin has but one for all. */
  readonly port?: number;
}

const patienceMs = 30_000;

/** What every source of endpoints owes its cluster, whoever it asks. */
export const testEndpointSource = (name: string, { open, keepsLast, thousands = 5_000, port }: SourceSuite): void => {
  const at = (host: string, p = 50_051): OriginEndpoint => ({ host, port: port ?? p });
  const [a, b, c] = [at('10.0.0.1'), at('10.0.0.2'), at('10.0.0.10')];

  const until = async (origin: SourceOrigin, what: string, isSo: () => boolean): Promise<void> => {
    const deadline = performance.now() + patienceMs;
    while (!isSo()) {
      assert.ok(performance.now() < deadline, `${what}: not within ${patienceMs} ms; ${JSON.stringify(brief(origin.source.value))}`);
      await origin.pass();
    }
  };
  const brief = ({ endpoints, ...rest }: EndpointSet) => ({ ...rest, endpoints: endpoints.slice(0, 5) });
  const keys = ({ endpoints }: EndpointSet): string => endpoints.map(({ host, port: p }) => `${host}:${p}`).join(' ');
  const keysOf = (...endpoints: OriginEndpoint[]): string => keys({ endpoints } as unknown as EndpointSet);
  const has = (origin: SourceOrigin, ...endpoints: OriginEndpoint[]) =>
    until(origin, `endpoints ${keysOf(...endpoints)}`, () => keys(origin.source.value) === keysOf(...endpoints));
  const errs = (origin: SourceOrigin) => until(origin, 'an error', () => origin.source.value.error !== undefined);

  test(`${name}: the first answer makes the set, sorted, with its source and time`, async () => {
    await using origin = await open([c, a]);
    const heard: EndpointSet[] = [];
    origin.source.subscribe((set) => heard.push(set));
    await has(origin, a, c);
    const { value } = origin.source;
    assert.notEqual(value.source, '');
    assert.ok(value.updatedAtMs > 0);
    assert.equal(value.error, undefined);
    assert.ok(value.endpoints.every(({ weight }) => weight >= 1));
    assert.ok((origin.source.updates?.update_success ?? 1) >= 1);
    if (heard.length > 0) assert.equal(heard.at(-1), value);
  });

  test(`${name}: what comes and goes is followed, and listeners hear of nothing else`, async () => {
    await using origin = await open([a]);
    await has(origin, a);
    const heard: string[] = [];
    origin.source.subscribe((set) => heard.push(keys(set)));
    await origin.say([a, b]);
    await has(origin, a, b);
    await origin.say([b, c]);
    await has(origin, c, b);
    // The same again, in another order.
    await origin.say([c, b]);
    for (let i = 0; i < 40; i++) await origin.pass();
    // An origin that changes one endpoint after the other may be seen on its way.
    assert.deepEqual(
      heard.filter((set, i) => set !== heard[i - 1]),
      heard,
    );
    assert.equal(heard.at(-1), keysOf(c, b));
    assert.ok(heard.every((set) => set !== ''));
  });

  if (keepsLast) {
    test(`${name}: an empty answer keeps the last endpoints for a while, and says so`, async () => {
      await using origin = await open([a, b]);
      await has(origin, a, b);
      const heard: EndpointSet[] = [];
      origin.source.subscribe((set) => heard.push(set));
      await origin.say([]);
      await errs(origin);
      await has(origin);
      assert.ok(heard.some(({ endpoints, error }) => endpoints.length > 0 && error !== undefined));
      await origin.say([b]);
      await has(origin, b);
      await until(origin, 'no error', () => origin.source.value.error === undefined);
    });

    test(`${name}: endpoints that come back in time were never away`, async () => {
      await using origin = await open([a]);
      await has(origin, a);
      let fewest = 1;
      origin.source.subscribe(({ endpoints }) => {
        fewest = Math.min(fewest, endpoints.length);
      });
      await origin.say([]);
      await errs(origin);
      await origin.say([a]);
      await until(origin, 'no error', () => origin.source.value.error === undefined);
      assert.equal(fewest, 1);
    });
  }

  test(`${name}: an outage takes no endpoint away, is told, and ends`, async () => {
    await using origin = await open([a, b]);
    await has(origin, a, b);
    const { updatedAtMs } = origin.source.value;
    await origin.say('failing');
    await errs(origin);
    for (let i = 0; i < 40; i++) await origin.pass();
    assert.equal(keys(origin.source.value), keysOf(a, b));
    assert.ok(origin.source.value.updatedAtMs >= updatedAtMs);
    assert.ok((origin.source.updates?.update_failure ?? 1) >= 1);
    await origin.say([a, c]);
    await has(origin, a, c);
    await until(origin, 'no error', () => origin.source.value.error === undefined);
  });

  for (const first of [[], 'failing'] as const) {
    test(`${name}: after a beginning that is ${first === 'failing' ? 'an outage' : 'empty'} endpoints are found as soon as they are there`, async () => {
      await using origin = await open(first);
      const knownAtOnce = origin.source.value.error !== undefined;
      const heard: EndpointSet[] = [];
      origin.source.subscribe((set) => heard.push(set));
      await errs(origin);
      assert.deepEqual(origin.source.value.endpoints, []);
      // Whoever waits for the first answer hears that there is none.
      assert.ok(knownAtOnce || heard.length > 0);
      await origin.say([b]);
      await has(origin, b);
    });
  }

  test(`${name}: an origin that flaps is followed to where it comes to rest, and never emptied`, async () => {
    await using origin = await open([a, b]);
    await has(origin, a, b);
    let fewest = 2;
    origin.source.subscribe(({ endpoints }) => {
      fewest = Math.min(fewest, endpoints.length);
    });
    const states: OriginState[] = [[a], 'failing', [a, b], [b, c], 'failing', [a, b, c]];
    for (let round = 0; round < 5; round++) {
      for (const state of states) {
        await origin.say(state);
        await origin.pass();
      }
    }
    await has(origin, a, c, b);
    await until(origin, 'no error', () => origin.source.value.error === undefined);
    assert.ok(fewest >= 1);
  });

  test(`${name}: ${thousands} endpoints are followed like one`, async () => {
    const many = Array.from({ length: thousands }, (_, i) => at(`10.${1 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}`, 1_024 + (i % 100)));
    await using origin = await open(many);
    await until(origin, `${thousands} endpoints`, () => origin.source.value.endpoints.length === thousands);
    const { endpoints, error } = origin.source.value;
    assert.equal(error, undefined);
    assert.deepEqual(
      endpoints.map(({ host }) => host),
      endpoints.map(({ host }) => host).toSorted(),
    );
    await origin.say(many.slice(1));
    await until(origin, 'one less', () => origin.source.value.endpoints.length === thousands - 1);
  });

  test(`${name}: after close nothing is armed, asked or said, and closing twice is harmless`, async () => {
    await using origin = await open([a]);
    await has(origin, a);
    let heard = 0;
    origin.source.subscribe(() => heard++);
    origin.source.close();
    origin.source.close();
    assert.equal(origin.pendingTimers?.() ?? 0, 0);
    const attempts = origin.source.updates?.update_attempt;
    await origin.say([b]);
    for (let i = 0; i < 20; i++) await origin.pass();
    assert.equal(heard, 0);
    assert.equal(keys(origin.source.value), keysOf(a));
    assert.equal(origin.source.updates?.update_attempt, attempts);
    assert.equal(origin.pendingTimers?.() ?? 0, 0);
  });

  test(`${name}: closed before the first answer it never says anything`, async () => {
    await using origin = await open([a]);
    let heard = 0;
    origin.source.close();
    origin.source.subscribe(() => heard++);
    for (let i = 0; i < 10; i++) await origin.pass();
    assert.equal(heard, 0);
    assert.equal(origin.pendingTimers?.() ?? 0, 0);
  });
};
