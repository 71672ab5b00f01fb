/** The same access log, word for word, in Envoy and in Outrider, and what both write of the same calls. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { accessLogOperators, responseFlags } from '../../src/policy/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { seededRandom } from '../harness/seeded-random.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { atEnd } from '../mesh/at-end.ts';
import { Caller } from '../mesh/caller.ts';
import { startSidecar } from '../mesh/mesh.ts';
import { answerOk, answerTrailersOnly, closedPort, type Handler, hold, resetWith, startUpstream, type Upstream } from '../mesh/upstream.ts';
import { type ComparedCluster, outriderPolicies, startEnvoy } from './envoy-process.ts';
import { peerProgram } from './peer-programs.ts';

checkLeaks();

const envoy = await peerProgram('envoy');
const fileLog = 'type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog';

type Line = Readonly<Record<string, unknown>>;

/** Two proxies with the same clusters and the same log. @param text of the log, given the file where it goes. */
const startBoth = async (t: TestContext, clusters: readonly ComparedCluster[], text: (path: string) => string) => {
  const folder = temporaryFolder();
  atEnd(t, () => folder[Symbol.dispose]());
  const [theirPath, ourPath] = [join(folder.path, 'envoy.log'), join(folder.path, 'outrider.log')];
  const port = await startEnvoy(t, envoy.path, clusters, `preserve_external_request_id: true\n${text(theirPath)}`);
  const outrider = await startSidecar(t, { policies: `${text(ourPath)}\n${outriderPolicies(clusters)}` });
  const read = (path: string): readonly Line[] =>
    existsSync(path)
      ? readFileSync(path, 'utf8')
          .split('\n')
          .slice(0, -1)
          .map((line) => JSON.parse(line) as Line)
      : [];
  return {
    callers: () => [outrider.caller(), new Caller(t, port)] as const,
    /** Ours and theirs, once both have written so many. */
    lines: async (count: number): Promise<readonly [readonly Line[], readonly Line[]]> => {
      const patience = performance.now() + 15_000;
      while (read(ourPath).length < count || read(theirPath).length < count) {
        assert.ok(performance.now() < patience, `${read(ourPath).length} and ${read(theirPath).length} of ${count} lines`);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      return [read(ourPath), read(theirPath)];
    },
  };
};

const format = `{ path: "%REQ(:PATH)%", method: "%REQ(:METHOD)%", flags: "%RESPONSE_FLAGS%", long: "%RESPONSE_FLAGS_LONG%", code: "%RESPONSE_CODE%", status: "%GRPC_STATUS%", number: "%GRPC_STATUS_NUMBER%",
  received: "%BYTES_RECEIVED%", sent: "%BYTES_SENT%", cluster: "%UPSTREAM_CLUSTER%", host: "%UPSTREAM_HOST%", attempts: "%UPSTREAM_REQUEST_ATTEMPT_COUNT%", protocol: "%PROTOCOL%",
  user: "%REQ(X-USER?USER-AGENT):5%", none: "%REQ(X-NONE)%", mixed: "a %REQ(X-NONE)% b 100%%", nested: { list: ["%PROTOCOL%", 1, true] }, address: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%" }`;

test('of the same calls both write the same', { skip: envoy.skip }, async (t) => {
  const handlers: Readonly<Record<string, Handler>> = {
    good: (call) => answerOk(call, 'four'),
    sick: (call) => answerTrailersOnly(call, 5),
    reset: (call) => resetWith(call, 2),
    gone: ({ stream }) => stream.session?.destroy(),
    silent: hold,
  };
  const clusters: ComparedCluster[] = [];
  const services: Record<string, Upstream> = {};
  for (const [name, handler] of Object.entries(handlers)) {
    const service = await startUpstream(t, handler);
    services[name] = service;
    clusters.push({ name, keys: 'lb_policy: ROUND_ROBIN', services: [service] });
  }
  const port = await closedPort();
  clusters.push({ name: 'dead', keys: 'lb_policy: ROUND_ROBIN', services: [{ ...(services['good'] as Upstream), port }] });
  const retried =
    'retry_policy: { retry_on: "unavailable,connect-failure", num_retries: 1, per_try_timeout: 0.1s, retry_back_off: { base_interval: 0.001s } }';
  clusters.push({ name: 'late', keys: 'lb_policy: ROUND_ROBIN', action: retried, services: [await startUpstream(t, hold)] });
  const both = await startBoth(
    t,
    clusters,
    (path) =>
      `access_log: [{ name: envoy.access_loggers.file, typed_config: { "@type": ${fileLog}, path: "${path}", log_format: { json_format: ${format} } } }]`,
  );
  const [ours, theirs] = both.callers();
  let calls = 0;
  for (const path of ['/good/Echo', '/sick/Echo', '/reset/Echo', '/gone/Echo', '/dead/Echo', '/late/Echo', '/unknown/Echo']) {
    for (const caller of [ours, theirs])
      await caller.call({ path, authority: 'nobody.example', headers: { 'x-user': 'ada lovelace' }, body: 'ping!' });
    calls++;
  }
  const silent = services['silent'] as Upstream;
  for (const [i, caller] of [ours, theirs].entries()) {
    const call = caller.start({ path: '/silent/Echo', authority: 'nobody.example', headers: { 'x-user': 'ada' } });
    await silent.call(i);
    call.cancel();
  }
  calls++;
  for (const [i, caller] of [ours, theirs].entries()) {
    caller.start({ path: '/silent/Echo', authority: 'nobody.example', headers: { 'x-user': 'ada' } });
    await silent.call(2 + i);
    caller.socket?.destroy();
  }
  calls++;
  const [our, their] = await both.lines(calls);
  // Envoy calls every end of its own making UNAVAILABLE, and one that nobody hears of nothing.
  const ownStatus = new Set(['/reset/Echo', '/late/Echo', '/silent/Echo']);
  const comparable = (line: Line) => (ownStatus.has(String(line['path'])) ? { ...line, status: undefined, number: undefined } : line);
  assert.deepEqual(our.map(comparable), their.map(comparable));
  assert.deepEqual(
    our.map(({ flags }) => flags),
    ['-', '-', 'UR', 'UC', 'UF', 'UT', 'NR', 'DR', 'DC'],
  );
});

test('both choose the same calls by their request ids', { skip: envoy.skip }, async (t) => {
  const service = await startUpstream(t, (call) => answerOk(call));
  const filter = '{ runtime_filter: { runtime_key: access_log.share, percent_sampled: { numerator: 30, denominator: HUNDRED } } }';
  const both = await startBoth(
    t,
    [{ name: 'good', keys: 'lb_policy: ROUND_ROBIN', services: [service] }],
    (path) =>
      `access_log: [{ name: envoy.access_loggers.file, filter: ${filter}, typed_config: { "@type": ${fileLog}, path: "${path}", log_format: { json_format: { id: "%REQ(X-REQUEST-ID):8%" } } } }]`,
  );
  const random = seededRandom(11);
  const ids = Array.from({ length: 100 }, () =>
    Math.floor(random() * 2 ** 32)
      .toString(16)
      .padStart(8, '0'),
  );
  for (const id of ids) {
    for (const caller of both.callers())
      await caller.call({ path: '/good/Echo', headers: { 'x-request-id': `${id}-4b53-4b1e-9c9b-9d6f0a4b1e9c` } });
  }
  const chosen = ids.filter((id) => Number.parseInt(id, 16) % 100 < 30);
  assert.ok(chosen.length > 15 && chosen.length < 45);
  const [our, their] = await both.lines(chosen.length);
  assert.deepEqual(
    our.map(({ id }) => id),
    chosen,
  );
  assert.deepEqual(our, their);
});

test('Envoy knows every flag and every operator that is said to be its own', { skip: envoy.skip }, async (t) => {
  const argument: Readonly<Record<string, string>> = {
    headers: '(X-A?X-B):10',
    time: '(%F %T.%3f %s)',
    status: '(SNAKE_STRING)',
    nothing: '',
    blanks: '',
  };
  const ours = ['DIRECTION', 'FATE', 'MESSAGE', 'ROUTE_LOCATION', 'SERVICE_NAME'];
  const fields = Object.entries(accessLogOperators)
    .filter(([name]) => !ours.includes(name))
    .map(([name, takes]) => `${name}: "%${name}${argument[takes]}%"`);
  const flags = Object.keys(responseFlags).join(', ');
  const service = await startUpstream(t, (call) => answerOk(call));
  const both = await startBoth(
    t,
    [{ name: 'good', keys: 'lb_policy: ROUND_ROBIN', services: [service] }],
    (path) =>
      `access_log: [{ name: envoy.access_loggers.file, filter: { or_filter: { filters: [{ response_flag_filter: { flags: [${flags}] } }, { not_health_check_filter: {} }] } }, typed_config: { "@type": ${fileLog}, path: "${path}", log_format: { json_format: { ${fields.join(', ')} } } } }]`,
  );
  for (const caller of both.callers())
    await caller.call({
      path: '/good/Echo',
      headers: { 'x-b': 'v', traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01' },
    });
  const [[our = {}], [their = {}]] = await both.lines(1);
  assert.deepEqual(Object.keys(our).sort(), Object.keys(their).sort());
  // Of one connection and one moment each, and what only one of them takes part in.
  const own = /ADDRESS$|_PORT$|TIME$|DURATION|TRACE_ID|SPAN_ID|ROUTE_NAME|^RESP|^TRAILER|LOCAL/;
  for (const [name, value] of Object.entries(our)) if (!own.test(name)) assert.deepEqual(value, their[name], name);
});
