import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { HeaderMatcher, PathMatch, Route } from '../../src/policy/index.ts';
import { PathIndex } from '../../src/policy/path-index.ts';
import { routeMatching, tableOf } from './policy-harness.ts';

interface Indexed {
  readonly match: PathMatch;
  readonly headers: readonly unknown[];
  readonly matchedShare: number;
}

const accepts = ({ match }: Indexed, path: string): boolean => {
  switch (match.kind) {
    case 'prefix':
      return path.startsWith(match.prefix);
    case 'path':
      return path === match.path;
    case 'regex':
      return new RegExp(`^(?:${match.regex})$`).test(path);
  }
};

/** What a walk through the list would find. */
const walk = (routes: readonly Indexed[], path: string): readonly Indexed[] => {
  const found: Indexed[] = [];
  for (const route of routes) {
    if (!accepts(route, path)) continue;
    found.push(route);
    if (route.headers.length === 0 && route.matchedShare === 1) break;
  }
  return found;
};

const pathText = fc.array(fc.constantFrom('/', 'a', 'b', 'ab', '.', 'é'), { maxLength: 6 }).map((parts) => parts.join(''));
const match: fc.Arbitrary<PathMatch> = fc.oneof(
  pathText.map((prefix) => ({ kind: 'prefix' as const, prefix })),
  pathText.map((path) => ({ kind: 'path' as const, path })),
  fc.constantFrom('.*', '/a+', '/(a|b)+', '/a.*b', 'a?b?').map((regex) => ({ kind: 'regex' as const, regex })),
);
const indexed = fc.record({ match, headers: fc.constantFrom([], [1]), matchedShare: fc.constantFrom(1, 1, 0.5) });

test('the index finds what a walk through the list finds, in the same order, however often it is asked', () => {
  fc.assert(
    fc.property(fc.array(indexed, { maxLength: 30 }), fc.array(pathText, { maxLength: 20 }), (routes, paths) => {
      const index = new PathIndex(routes);
      for (const path of [...paths, ...paths]) assert.deepEqual(index.find(path), walk(routes, path));
    }),
    { numRuns: 500 },
  );
});

test('ten thousand prefixes are each found', () => {
  const routes = Array.from({ length: 10_000 }, (_, i) => ({
    match: { kind: 'prefix' as const, prefix: `/p${i}.S/` },
    headers: [],
    matchedShare: 1,
  }));
  const index = new PathIndex(routes);
  for (const i of [0, 1, 10, 999, 9_999]) assert.deepEqual(index.find(`/p${i}.S/Get`), [routes[i]]);
  assert.deepEqual(index.find('/p10000.S/Get'), []);
});

test('an answer is kept, so that asking again makes nothing new', () => {
  const { outbound } = tableOf(routeMatching('{ prefix: /a }'));
  assert.equal(outbound.candidates('/a/1'), outbound.candidates('/a/2'));
});

const names = (routes: readonly Route[]) => routes.map(({ name }) => name);
const file = (order: string) => `match_order: ${order}
routes:
  - { name: all, match: { prefix: / }, route: { cluster: c, timeout: 1s } }
  - { name: regex, match: { safe_regex: /a.* }, route: { cluster: c, timeout: 1s } }
  - { name: long, match: { prefix: /a/b }, route: { cluster: c, timeout: 1s } }
  - { name: canary, match: { prefix: /a/b, headers: [{ name: x }] }, route: { cluster: c, timeout: 1s } }
  - { name: exact, match: { path: /a/b }, route: { cluster: c, timeout: 1s } }
clusters: { c: { endpoints: ["h:1"] } }
`;

test("routes are tried in Envoy's order, that of the file", () => {
  assert.deepEqual(names(tableOf(file('file')).outbound.candidates('/a/b')), ['all']);
});

test('longest_prefix tries whole paths, regular expressions, then longer prefixes, and conditions on headers before none', () => {
  assert.deepEqual(names(tableOf(file('longest_prefix')).outbound.routes), ['exact', 'regex', 'canary', 'long', 'all']);
});

test('a regular expression matches the whole path, also where it is an alternative', () => {
  const { outbound } = tableOf(routeMatching('{ safe_regex: { regex: "/a|/b" } }'));
  assert.equal(outbound.candidates('/a').length, 1);
  assert.equal(outbound.candidates('/b').length, 1);
  assert.equal(outbound.candidates('/ab').length, 0);
  assert.equal(outbound.candidates('/A').length, 0);
});

test('a regular expression that makes others run for ever is answered at once', () => {
  const { outbound } = tableOf(routeMatching('{ safe_regex: "/(a+)+$" }'));
  assert.equal(outbound.candidates(`/${'a'.repeat(50_000)}b`).length, 0);
});

test('an id stays when routes are put before, and nobody has it twice', () => {
  const route = (match: string) => `  - { match: ${match}, route: { cluster: c, timeout: 1s } }\n`;
  const after = 'clusters: { c: { endpoints: ["h:1"] } }\n';
  const canary = route('{ prefix: /a, headers: [{ name: x }] }');
  const before = tableOf(`routes:\n${canary}${route('{ prefix: /a }')}${after}`);
  assert.deepEqual(
    before.outbound.routes.map(({ id }) => id),
    ['outbound/prefix /a', 'outbound/prefix /a#2'],
  );
  const later = tableOf(`routes:\n${route('{ path: /z }')}${canary}${route('{ prefix: /a }')}${after}`);
  assert.deepEqual(
    later.outbound.routes.slice(1).map(({ id }) => id),
    before.outbound.routes.map(({ id }) => id),
  );
});

const headerMatcher = (written: string): HeaderMatcher => {
  const matcher = tableOf(routeMatching(`{ prefix: /, headers: [${written}] }`)).outbound.routes[0]?.headers[0];
  assert.ok(matcher);
  return matcher;
};

// Values that match, values that do not; `undefined` is a missing header.
for (const [written, matching, others] of [
  ['{ name: X-A }', ['', 'v'], [undefined]],
  ['{ name: x, present_match: true }', ['', 'v'], [undefined]],
  ['{ name: x, present_match: false }', [undefined], ['', 'v']],
  ['{ name: x, present_match: true, invert_match: true }', [undefined], ['', 'v']],
  ['{ name: x, exact_match: v }', ['v'], ['V', 'vv', '', undefined]],
  ['{ name: x, exact_match: v, invert_match: true }', ['w', ''], ['v', undefined]],
  ['{ name: x, exact_match: v, invert_match: true, treat_missing_header_as_empty: true }', ['w', '', undefined], ['v']],
  ['{ name: x, prefix_match: ab }', ['ab', 'abc'], ['a', 'cab', undefined]],
  ['{ name: x, suffix_match: ab }', ['ab', 'cab'], ['abc', undefined]],
  ['{ name: x, contains_match: ab }', ['ab', 'cabc'], ['acb', undefined]],
  ['{ name: x, safe_regex_match: { google_re2: {}, regex: "\\\\d{3}" } }', ['123'], ['1234', 'a123', undefined]],
  ['{ name: x, range_match: { start: -10, end: 0 } }', ['-10', '-1'], ['0', '-11', '1.5', '-1x', '', undefined]],
  ['{ name: x, string_match: { exact: "" } }', [''], ['v', undefined]],
  ['{ name: x, string_match: { prefix: AB, ignore_case: true } }', ['ab', 'aBc'], ['b', undefined]],
  ['{ name: x, string_match: { safe_regex: { regex: "a|b" } } }', ['a', 'b'], ['ab', undefined]],
] as const) {
  test(`header condition ${written}`, () => {
    const matcher = headerMatcher(written);
    for (const value of matching) assert.equal(matcher.matches(value), true, String(value));
    for (const value of others) assert.equal(matcher.matches(value), false, String(value));
    assert.equal(matcher.name, matcher.name.toLowerCase());
  });
}
