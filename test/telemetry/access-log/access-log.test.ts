import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ConfigurationError, JsonLogger, VirtualClock, WatchSource } from '../../../src/core/index.ts';
import type { PolicyTable } from '../../../src/policy/index.ts';
import type { LogFile } from '../../../src/telemetry/access-log/log-file.ts';
import { AccessLog } from '../../../src/telemetry/index.ts';
import { tableOf } from '../../policy/policy-harness.ts';
import { type CallFields, endedCall } from './ended-call.ts';

const started = (policies: string, setting?: string, failing: readonly string[] = []) => {
  const clock = new VirtualClock();
  const texts = new Map<string, string>();
  const said: Record<string, unknown>[] = [];
  const closed: string[] = [];
  const open = (path: string): LogFile => {
    if (failing.includes(path)) throw Object.assign(new Error(`ENOENT: ${path}`), { code: 'ENOENT' });
    const append = (bytes: Uint8Array) => {
      texts.set(path, (texts.get(path) ?? '') + Buffer.from(bytes).toString());
      return { bytes: bytes.length };
    };
    return {
      identity: path,
      write: (bytes, onWritten) => onWritten(append(bytes)),
      writeSync: append,
      close: () => void closed.push(path),
    };
  };
  const source = new WatchSource<PolicyTable>(tableOf(policies));
  const log = new AccessLog({
    clock,
    log: new JsonLogger(clock, (line) => said.push(JSON.parse(line))),
    random: () => 0.5,
    policies: source,
    setting,
    serviceName: 'web',
    hostname: 'host-1',
    open,
  });
  const stats = (): Record<string, number> => {
    const found: Record<string, number> = {};
    const keep = (name: string, value: number): void => {
      found[name.replace('access_log.', '')] = value;
    };
    log.collectStats({ counter: keep, gauge: keep });
    return found;
  };
  const call = (fields: CallFields = {}): void => {
    log.onCallEnd(endedCall(fields));
    clock.advance(100);
  };
  return { clock, log, source, texts, closed, said, stats, call };
};

const fate = 'json_format: { fate: "%FATE%" }';

test('two logs of one direction each decide by themselves, and may share a file', async () => {
  const { call, log, texts } = started(`access_log:
  - { name: envoy.access_loggers.file, filter: { response_flag_filter: {} }, typed_config: { path: /a, ${fate} } }
  - { name: envoy.access_loggers.file, typed_config: { path: /b, ${fate} } }
inbound: { access_log: { path: /b, json_format: { inbound: "%FATE%" } } }
`);
  call();
  call({ fate: 'no_route' });
  call({ direction: 'inbound' });
  assert.deepEqual(Object.fromEntries(texts), {
    '/a': '{"fate":"no_route"}\n',
    '/b': '{"fate":"ok"}\n{"fate":"no_route"}\n{"inbound":"ok"}\n',
  });
  await log.close(1_000);
});

test('policies without a path write where ACCESS_LOG says, and without that to standard output', async () => {
  for (const [setting, path] of [
    ['/logs/a', '/logs/a'],
    [undefined, 'stdout'],
  ] as const) {
    const { call, log, texts } = started(`access_log: { ${fate} }\n`, setting);
    call();
    assert.deepEqual([...texts], [[path, '{"fate":"ok"}\n']]);
    await log.close(1_000);
  }
});

test('a direction of which policies say nothing has what ACCESS_LOG says', async () => {
  const { call, log, texts } = started('access_log: []\n', '/logs/a');
  call();
  call({ direction: 'inbound' });
  assert.equal(texts.get('/logs/a')?.split('\n').length, 2);
  assert.match(texts.get('/logs/a') ?? '', /"direction":"inbound"/);
  await log.close(1_000);
});

test('a file that no policy names any more is closed, one that stays is not opened anew', async () => {
  const { call, closed, log, source, texts } = started(`access_log: { path: /a, ${fate} }\n`);
  call();
  source.set(tableOf(`access_log: { path: /a, json_format: { now: "%FATE%" } }\n`));
  call();
  assert.deepEqual([closed, texts.get('/a')], [[], '{"fate":"ok"}\n{"now":"ok"}\n']);
  source.set(tableOf('access_log: { path: /b }\n'));
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(closed, ['/a']);
  await log.close(1_000);
  assert.deepEqual(closed, ['/a', '/b']);
});

test('a path that cannot be written is an error at the start, and a warning after a reload', async () => {
  assert.throws(() => started('access_log: { path: /gone }\n', undefined, ['/gone']), ConfigurationError);
  const { call, clock, log, said, source, stats, texts } = started(`access_log: { path: /a, ${fate} }\n`, undefined, ['/gone']);
  source.set(tableOf('access_log: { path: /gone }\n'));
  call();
  assert.deepEqual(said.at(-1)?.['msg'], 'access log cannot be written');
  assert.ok((stats()['write_failed'] ?? 0) >= 1);
  source.set(tableOf(`access_log: { path: /a, ${fate} }\n`));
  call();
  assert.equal(texts.get('/a'), '{"fate":"ok"}\n');
  const closing = log.close(1_000);
  clock.advance(5_000);
  await closing;
});

test('a line that cannot be made fails no call, and is counted and said', async () => {
  const { call, log, said, stats } = started('access_log: { path: /a }\n');
  const broken = endedCall();
  Object.defineProperty(broken, 'header', {
    value: () => {
      throw new Error('broken');
    },
  });
  log.onCallEnd(broken);
  call();
  assert.deepEqual([stats()['dropped'], stats()['written']], [1, 1]);
  assert.equal(said.at(-1)?.['msg'], 'a line of the access log could not be made');
  await log.close(1_000);
});

test('a call without a line costs no line: nothing waits and nothing is written', async () => {
  const { call, clock, log, stats } = started('access_log: { path: /a, sample: 0%, always_on_failure: false }\n');
  call();
  call({ fate: 'no_route' });
  assert.deepEqual(stats(), { written: 0, dropped: 0, write_failed: 0, reopened: 0, waiting_bytes: 0 });
  assert.equal(clock.pending, 0);
  await log.close(1_000);
});
