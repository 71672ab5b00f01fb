import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { compilePolicies, formatProblem } from '../../src/policy/index.ts';
import { compile, problemsOf, tableOf } from './policy-harness.ts';

const problemsOfBytes = (bytes: Uint8Array) => compilePolicies([{ path: 'p.yaml', bytes }]).problems.map(formatProblem);

test('a file above 1 MiB is refused without being read', () => {
  assert.deepEqual(problemsOfBytes(Buffer.alloc(1_048_577, 0x20)), [
    'p.yaml: larger than 1 MiB (1048577 bytes); split it into several files of one folder',
  ]);
});

test('a file that is not UTF-8 is refused, with the line', () => {
  assert.deepEqual(problemsOfBytes(Buffer.from('routes: []\n# caf\xe9\n', 'latin1')), [
    'p.yaml:2:1: not UTF-8 text; save the file as UTF-8',
  ]);
});

test('a byte order mark is no mistake', () => {
  assert.deepEqual(problemsOfBytes(Buffer.from('\ufeffroutes: []\n')), []);
});

for (const text of ['', '# nothing yet\n', '---\n', 'null\n']) {
  test(`an empty file is a warning: ${JSON.stringify(text)}`, () => {
    const { table, problems } = compile(text);
    assert.deepEqual(problems.map(formatProblem), [
      'p.yaml:1:1: warning: holds no policies; write `routes:` or `clusters:`, or remove the file',
    ]);
    assert.equal(table?.outbound.routes.length, 0);
  });
}

for (const [what, text, line] of [
  ['a list', '- a\n', 'p.yaml:1:1: holds a list; write keys such as `routes:` and `clusters:` at the top'],
  ['plain words', 'hello there\n', 'p.yaml:1:1: holds a single value; write keys such as `routes:` and `clusters:` at the top'],
  [
    'two documents',
    'routes: []\n---\nroutes: []\n',
    'p.yaml:3:1: a second YAML document in one file; put each document into a file of its own',
  ],
  [
    'a merge key',
    'default: { <<: { action: error } }\n',
    'p.yaml:1:12: default.<<: merge keys are not accepted; write the merged keys out',
  ],
  [
    'a merge key under YAML 1.1',
    '%YAML 1.1\n---\ndefault: { <<: { action: error } }\n',
    'p.yaml:3:12: default.<<: merge keys are not accepted; write the merged keys out',
  ],
  ['__proto__', '__proto__: { routes: [] }\n', 'p.yaml:1:1: __proto__: this key is not accepted; remove it'],
  [
    'constructor',
    'constructor: 1\n',
    'p.yaml:1:1: constructor: unknown key; known here: routes, inbound, clusters, default, access_log, match_order, descriptor_sets, circuit_breakers, retry_policy, http2_protocol_options, max_connection_age, max_connection_age_grace, common_http_protocol_options',
  ],
  ['a tag', 'routes: !!binary aGk=\n', 'p.yaml:1:9: tags are not accepted; write the plain value'],
  ['a key that is a list', '? [a]\n: 1\n', 'p.yaml:1:3: a key that is not a word; write a plain word before the colon'],
  ['an alias without an anchor', 'routes: *there\n', 'p.yaml:1:9: routes: no anchor &there above; write the anchor before its aliases'],
  ['an alias within its anchor', 'routes: &r [*r]\n', 'p.yaml:1:13: routes[0]: *r refers to itself; write the value out'],
  ['a tab', 'default:\n\taction: error\n', 'p.yaml:2:1: a tab as indentation; indent with blanks'],
  ['brackets without end', 'a: ['.repeat(400), 'p.yaml:1:1028: nested more than 64 levels deep; write it flat, as the examples do'],
  ['dashes without end', '- '.repeat(400), 'p.yaml:1:513: nested more than 64 levels deep; write it flat, as the examples do'],
  [
    'a hundred levels',
    `routes: ${'['.repeat(100)}${']'.repeat(100)}\n`,
    `p.yaml:1:73: routes${'[0]'.repeat(64)}: nested more than 64 levels deep; write it flat, as the examples do`,
  ],
] as const) {
  test(`refused: ${what}`, () => {
    assert.deepEqual(problemsOf(text), [line]);
  });
}

test('a half-written file is an error', () => {
  assert.match(problemsOf('routes:\n  - match: { prefix: "/a')[0] ?? '', /^p\.yaml:2:\d+: .*half written\?$/);
});

test('anchors and aliases work, up to a hundred of them', () => {
  const withAliases = (count: number) =>
    `routes:\n${Array.from({ length: count + 1 }, (_, i) => `  - { match: { prefix: /${i}- }, route: ${i === 0 ? '&r { cluster: c, timeout: 1s }' : '*r'} }\n`).join('')}clusters: { c: { endpoints: ["h:1"] } }\n`;
  assert.equal(tableOf(withAliases(100)).outbound.routes.length, 101);
  assert.deepEqual(problemsOf(withAliases(101)), ['p.yaml:103:40: routes[101].route: more than 100 aliases; write the values out']);
});

test('aliases of aliases that stand for a billion values are refused at once', () => {
  const levels = Array.from(
    { length: 9 },
    (_, i) => `a${i}: &a${i} [${Array.from({ length: 10 }, () => (i === 0 ? '1' : `*a${i - 1}`)).join(', ')}]\n`,
  );
  assert.match(problemsOf(levels.join(''))[0] ?? '', /stands for more than 1,000,000 values; use fewer aliases$/);
});

test('whatever the bytes are, there is an answer and no exception', () => {
  const yamlish = fc
    .array(
      fc.constantFrom(
        'routes:',
        'clusters:',
        '\n',
        '  ',
        '- ',
        '{',
        '}',
        '[',
        ']',
        ': ',
        '&a ',
        '*a',
        '"',
        "'",
        '|',
        '!!x',
        '---\n',
        'match',
        'a',
        '1',
        '# ',
        ',',
        '\t',
        '?',
      ),
    )
    .map((parts) => Buffer.from(parts.join('')));
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 200 }), yamlish), (bytes) => {
      const { table, problems } = compilePolicies([{ path: 'p.yaml', bytes }]);
      assert.equal(
        table === undefined,
        problems.some(({ severity }) => severity === 'error'),
      );
    }),
    { numRuns: 2_000 },
  );
});
