import type { Random } from '../random.ts';
import { mutateBytes } from './bytes.ts';

const durations = ['0s', '1s', '0.1s', '-1s', '1.5h', '99999999999s', '1e9s', '250ms', '1d', 's', '5', '"5s"', '1ns', 'never'];
const scalars = [
  ...durations,
  ...[
    'null',
    '~',
    'true',
    'yes',
    '0',
    '-0',
    '1',
    '.5',
    '1_000',
    '0x10',
    '0o17',
    '.inf',
    '.nan',
    '1e400',
    '9007199254740993',
    '-1',
    '4294967296',
  ],
  ...[
    '""',
    "''",
    '"\\u0000"',
    '|',
    '>-',
    '*a',
    '&a',
    '!!str x',
    '!x',
    '[]',
    '{}',
    '[[]]',
    '{a: }',
    '# c',
    '- -',
    '? x',
    '<<: *a',
    '@',
    '`',
    '%YAML 1.2',
    '---',
    '...',
  ],
  ...[
    '"/acme."',
    '"^(a+)+$"',
    '"(a|a)*b{1,1000}"',
    '"[[:alpha:]]"',
    '"("',
    '"\\\\p{L}{1000}"',
    '5xx,cancelled',
    'unavailable',
    'ROUND_ROBIN',
    '127.0.0.1:80',
    '"[::1]:80"',
    'host:0',
    'host:99999',
  ],
];
/** Words that the schema knows, so that a key turns up where another one is expected. */
const keys =
  `routes match prefix path regex safe_regex headers name exact_match prefix_match present_match invert_match range_match route cluster timeout idle_timeout
retry_policy retry_on num_retries per_try_timeout retry_back_off base_interval max_interval clusters endpoints load_assignment lb_policy circuit_breakers
thresholds max_connections max_pending_requests max_requests max_retries retry_budget tls mode sni connect_timeout inbound default action use_cluster
match_order http2_protocol_options max_concurrent_streams dns service_name idempotent __proto__ constructor toString << weight address port_value`.split(
    /\s+/,
  );

const lineEdits: readonly ((random: Random, lines: string[], other: readonly string[]) => void)[] = [
  (random, lines) => void lines.splice(random.below(lines.length), 1),
  (random, lines) => {
    const at = random.below(lines.length);
    lines.splice(at, 0, ...Array.from({ length: random.oneIn(10) ? random.between(2, 200) : 1 }, () => lines[at] ?? ''));
  },
  (random, lines, other) => {
    const at = random.below(other.length);
    lines.splice(random.below(lines.length + 1), 0, ...other.slice(at, at + random.between(1, 8)));
  },
  (random, lines) => {
    const at = random.below(lines.length);
    lines[at] = (lines[at] ?? '').replace(/: .*|- [^:]*$/, (old) =>
      old.startsWith(':') ? `: ${random.pick(scalars)}` : `- ${random.pick(scalars)}`,
    );
  },
  (random, lines) => {
    const at = random.below(lines.length);
    lines[at] = (lines[at] ?? '').replace(/[\w-]+(?=:)/, () => random.pick(keys));
  },
  (random, lines) => {
    const at = random.below(lines.length);
    const indent = /^ */.exec(lines[at] ?? '')?.[0] ?? '';
    lines.splice(at + 1, 0, `${indent}${random.oneIn(3) ? '- ' : ''}${random.pick(keys)}: ${random.pick(scalars)}`);
  },
  (random, lines) => {
    const at = random.below(lines.length);
    lines[at] = random.oneIn(2) ? `  ${lines[at]}` : (lines[at] ?? '').replace(/^ {1,2}/, '');
  },
  // Anchors and aliases.
  (random, lines) => {
    const [from, to] = [random.below(lines.length), random.below(lines.length)];
    lines[from] = (lines[from] ?? '').replace(/: ?/, ': &a ');
    lines[to] = (lines[to] ?? '').replace(/: .*/, random.oneIn(3) ? ': [*a, *a, *a, *a]' : ': *a');
  },
  // Nesting.
  (random, lines) => {
    const at = random.below(lines.length);
    const depth = random.pick([1, 2, 10, 70, 300]);
    const [open, close] = random.pick([
      ['[', ']'],
      ['{a: ', '}'],
      ['- ', ''],
    ] as const);
    lines[at] = (lines[at] ?? '').replace(/: .*/, `: ${open.repeat(depth)}1${close.repeat(depth)}`);
  },
];

/** One change of a YAML text: of a line, a value, a key, an anchor, the nesting, or of bytes. */
export const mutateYaml = (random: Random, input: Buffer, other: Buffer): Buffer => {
  if (random.oneIn(4)) return mutateBytes(random, input, other);
  const lines = input.toString('utf8').split('\n');
  random.pick(lineEdits)(random, lines, other.toString('utf8').split('\n'));
  return Buffer.from(lines.join('\n'));
};

/** One change of a short text made of words from `vocabulary`. */
export const mutateWords = (random: Random, input: Buffer, other: Buffer, vocabulary: readonly string[]): Buffer => {
  if (random.oneIn(2)) return mutateBytes(random, input, other);
  const at = random.below(input.length + 1);
  const to = random.oneIn(2) ? at : Math.min(input.length, at + random.below(6));
  return Buffer.concat([input.subarray(0, at), Buffer.from(random.pick(vocabulary), 'latin1'), input.subarray(to)]);
};
