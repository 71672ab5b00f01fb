import assert from 'node:assert/strict';
import { test } from 'node:test';
import { problemsOf, tableOf } from './policy-harness.ts';

const logger = (keys: string): string => `access_log: [{ name: envoy.access_loggers.file, ${keys} }]\n`;
const format = (fields: string): string => logger(`typed_config: { log_format: { json_format: { ${fields} } } }`);

test('the short form is a filter by chance, failure and duration', () => {
  const [log] = tableOf('access_log: { path: /var/log/a.log, sample: 0.5%, slower_than: 2s }\n').accessLogs.outbound ?? [];
  assert.deepEqual(
    [log?.path, log?.filter, log?.format, log?.location.line],
    [
      '/var/log/a.log',
      { kind: 'or', filters: [{ kind: 'random', share: 0.005 }, { kind: 'failure' }, { kind: 'duration', op: 'GE', value: 2_000 }] },
      undefined,
      1,
    ],
  );
  const shares = ['sample: 25', 'sample: { numerator: 1, denominator: TEN_THOUSAND }', 'sample: 0%'].map((sample) => {
    const [{ filter } = {}] = tableOf(`access_log: { ${sample}, always_on_failure: false }\n`).accessLogs.outbound ?? [];
    return filter?.kind === 'or' ? filter.filters : undefined;
  });
  assert.deepEqual(
    shares,
    [0.25, 0.0001, 0].map((share) => [{ kind: 'random', share }]),
  );
  assert.deepEqual(tableOf('access_log: {}\n').accessLogs.outbound?.[0]?.filter, undefined);
});

test('where nothing is written nothing is decided, and an empty list is no log at all', () => {
  assert.deepEqual(tableOf('routes: []\n').accessLogs, { inbound: undefined, outbound: undefined });
  assert.deepEqual(tableOf('access_log: []\ninbound: { access_log: {} }\n').accessLogs.outbound, []);
  assert.equal(tableOf('inbound: { access_log: {} }\n').accessLogs.inbound?.length, 1);
});

test("Envoy's logs mean what they say", () => {
  const logs = tableOf(`access_log:
  - name: envoy.access_loggers.file
    typed_config:
      path: /dev/stdout
      log_format: { json_format: { a: "%REQ(X-A?X-B):12%", b: [1, { c: "x %DURATION% %%" }], d: "%START_TIME(%s.%3f)%" }, omit_empty_values: true }
  - name: envoy.access_loggers.stderr
    filter:
      or_filter:
        filters:
          - status_code_filter: { comparison: { op: GE, value: { default_value: 500 } } }
          - and_filter:
              filters:
                - grpc_status_filter: { statuses: [CANCELED, INTERNAL], exclude: true }
                - runtime_filter: { percent_sampled: { numerator: 5, denominator: MILLION }, use_independent_randomness: true }
                - response_flag_filter: { flags: [UH] }
  - name: envoy.access_loggers.stdout
    typed_config: { log_format: { text_format_source: { inline_string: "%FATE%\\n" } } }
`).accessLogs.outbound;
  assert.deepEqual(
    logs?.map(({ path }) => path),
    ['stdout', 'stderr', 'stdout'],
  );
  assert.deepEqual(logs?.[0]?.format, {
    kind: 'json',
    omitEmpty: true,
    fields: [
      { key: 'a', value: { kind: 'operator', operator: { name: 'REQ', header: 'x-a', otherHeader: 'x-b', mostCharacters: 12 } } },
      {
        key: 'b',
        value: {
          kind: 'list',
          values: [
            { kind: 'constant', value: 1 },
            { kind: 'object', fields: [{ key: 'c', value: { kind: 'text', parts: ['x ', { name: 'DURATION' }, ' %'] } }] },
          ],
        },
      },
      { key: 'd', value: { kind: 'operator', operator: { name: 'START_TIME', form: '%s.%3f' } } },
    ],
  });
  assert.deepEqual(logs?.[1]?.filter, {
    kind: 'or',
    filters: [
      { kind: 'status_code', op: 'GE', value: 500 },
      {
        kind: 'and',
        filters: [
          { kind: 'grpc_status', statuses: [1, 13], exclude: true },
          { kind: 'runtime', numerator: 5, denominator: 1_000_000, independent: true },
          { kind: 'response_flag', flags: ['UH'] },
        ],
      },
    ],
  });
  assert.deepEqual(logs?.[2]?.format, { kind: 'text', omitEmpty: false, parts: [{ name: 'FATE' }] });
});

for (const [what, text, expected] of [
  [
    'an unknown operator',
    format('a: "%DURATON%"'),
    'p.yaml:1:97: access_log[0].typed_config.log_format.json_format.a: %DURATON% is no operator; did you mean %DURATION%?',
  ],
  [
    'an operator of no likeness',
    format('a: "%BANANA%"'),
    '%BANANA% is no operator; write one of docs/access-log.md, or %% for a per cent sign',
  ],
  ['an operator that Envoy has and we have not', format('a: "%DYNAMIC_METADATA(a:b)%"'), '%DYNAMIC_METADATA% is not known here; remove it'],
  [
    'an operator without its end',
    format('a: "%DURATION"'),
    '%DURATION does not end with a per cent sign; close it, or write %% for a per cent sign',
  ],
  ['a single per cent sign', format('a: "100 % sure"'), 'does not end with a per cent sign; close it, or write %% for a per cent sign'],
  [
    'a header without a name',
    format('a: "%REQ()%"'),
    '%REQ% does not name a header; write %REQ(x-request-id)%, or two names with ? between them',
  ],
  [
    'three headers',
    format('a: "%REQ(a?b?c)%"'),
    '%REQ% does not name a header; write %REQ(x-request-id)%, or two names with ? between them',
  ],
  [
    'something in parentheses where nothing belongs',
    format('a: "%DURATION(ms)%"'),
    '%DURATION% takes nothing in parentheses; write %DURATION%',
  ],
  ['a form of a time', format('a: "%START_TIME(%Q)%"'), '%Q is no part of a time; write one of %Y %m %d %H %M %S %3f %s %T %F %z'],
  [
    'a form of a status',
    format('a: "%GRPC_STATUS(TEXT)%"'),
    'TEXT is no form of a status; write one of CAMEL_STRING, SNAKE_STRING, NUMBER',
  ],
  ['a nested mistake', format('a: { b: [x, "%FATTE%"] }'), 'json_format.a.b[1]: %FATTE% is no operator; did you mean %FATE%?'],
  [
    'a header of the answer that has left',
    format('a: "%RESP(server)%"'),
    'warning: access_log[0].typed_config.log_format.json_format.a: server of the answer is always empty',
  ],
  [
    'credentials',
    format('a: "%REQ(Authorization)%"'),
    'writes authorization into the log, where whoever reads it can pass for the caller; remove %REQ(authorization)%',
  ],
  ['no fields', logger('typed_config: { log_format: { json_format: {} } }'), 'has no fields'],
  ['too many fields', format(Array.from({ length: 201 }, (_, i) => `f${i}: x`).join(', ')), 'has 201 fields; write at most 200'],
  ['two formats', logger('typed_config: { format: a, json_format: { a: b } }'), 'has format and json_format; keep one of them'],
  [
    'two formats in one',
    logger('typed_config: { log_format: { text_format: a, json_format: { a: b } } }'),
    'has json_format and text_format; keep one of json_format, text_format, text_format_source',
  ],
  [
    'two filters',
    logger('filter: { traceable_filter: {}, not_health_check_filter: {} }'),
    'has 2 filters (not_health_check_filter, traceable_filter); put them into and_filter or or_filter',
  ],
  ['no filter', logger('filter: {}'), 'is no filter; write one of status_code_filter'],
  ['a flag that there is not', logger('filter: { response_flag_filter: { flags: [UHH] } }'), 'is "UHH"; did you mean UH?'],
  [
    'a filter of another log',
    logger('filter: { metadata_filter: {} }'),
    'metadata_filter: is not accepted; remove it: there is no metadata of calls',
  ],
  [
    'a relative path',
    'access_log: { path: access.log }\n',
    'p.yaml:1:21: access_log.path: "access.log" is no whole path of a file; write stdout, stderr, or a path such as /var/log/outrider/access.log',
  ],
  ['a path that climbs', 'access_log: { path: /var/log/../../etc/a }\n', 'is no whole path of a file'],
  ['a folder', 'access_log: { path: /var/log/ }\n', 'is no whole path of a file'],
  ['a share above all', 'access_log: { sample: 101% }\n', 'access_log.sample: is "101%"; write at most 100%'],
  ['a share that is a word', 'access_log: { sample: few }\n', 'access_log.sample: is "few"; write a percentage such as 1%'],
  ['a filter outside of its group', 'access_log: { status_code_filter: {} }\n', 'unknown key; it belongs under access_log[].filter'],
  [
    'a stream with a path',
    'access_log: [{ name: envoy.access_loggers.stdout, typed_config: { path: /var/log/a } }]\n',
    'is written beside envoy.access_loggers.stdout; remove it, or write envoy.access_loggers.file',
  ],
] as const) {
  test(`refused or warned of: ${what}`, () => {
    const problems = problemsOf(text);
    assert.ok(
      problems.some((problem) => problem.includes(expected)),
      problems.join('\n'),
    );
    for (const problem of problems) assert.match(problem, /^p\.yaml:\d+:\d+: /);
  });
}

test('a log is written once in all files, for each direction', () => {
  assert.deepEqual(problemsOf('access_log: {}\n', 'access_log: {}\n'), [
    'q.yaml:1:13: access_log: is written twice (first in p.yaml:1:13); keep one of them',
  ]);
  assert.deepEqual(problemsOf('access_log: {}\n', 'inbound: { access_log: {} }\n'), []);
});
