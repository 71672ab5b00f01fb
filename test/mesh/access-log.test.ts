import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { ConfigurationError } from '../../src/core/index.ts';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { atEnd } from './at-end.ts';
import { echoPolicies, MeshCertificates, startSidecar, type TestSidecar, throughOne } from './mesh.ts';
import { answerOk, answerTrailersOnly, closedPort, hold, resetWith, startUpstream, until } from './upstream.ts';

checkLeaks();

type Line = Readonly<Record<string, unknown>>;

/** A file for a log, and what is in it. */
const logFile = (t: TestContext) => {
  const folder = temporaryFolder();
  atEnd(t, () => folder[Symbol.dispose]());
  const path = join(folder.path, 'access.log');
  const lines = (from = path): readonly Line[] => {
    const text = readFileSync(from, 'utf8');
    assert.ok(text === '' || text.endsWith('\n'), 'half a line');
    return text
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as Line);
  };
  /** Once there are so many. */
  const written = async (outrider: TestSidecar, count: number): Promise<readonly Line[]> => {
    await until(() => outrider.stat('access_log.written') >= count, `${count} lines`);
    const found = lines();
    assert.equal(found.length, count);
    return found;
  };
  return { folder: folder.path, path, lines, written, environment: { ACCESS_LOG: path } };
};

test('ACCESS_LOG gives every call of both directions a line', async (t) => {
  const log = logFile(t);
  const { client, outrider, service } = await throughOne(t, (call) => answerOk(call, 'four'), { environment: log.environment });
  assert.equal((await client.call({ body: 'ping!', headers: { 'x-request-id': 'a-1', 'user-agent': 'test/1' } })).status, GrpcStatus.OK);
  assert.equal((await outrider.inboundCaller().call()).reason, 'connect_failure');
  const [first, second] = await log.written(outrider, 2);
  const { start_time, duration, downstream_remote_address, route, ...rest } = first ?? {};
  assert.match(String(start_time), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  assert.ok(Number.isInteger(duration));
  assert.equal(downstream_remote_address, `127.0.0.1:${client.socket?.localPort}`);
  assert.equal(route, `${outrider.policyFile}:2`);
  assert.deepEqual(rest, {
    direction: 'outbound',
    method: 'POST',
    path: '/acme.Echo/Call',
    protocol: 'HTTP/2',
    authority: 'echo',
    response_code: 200,
    response_code_details: 'via_upstream',
    response_flags: '-',
    grpc_status: 'OK',
    fate: 'ok',
    message: null,
    bytes_received: 10,
    bytes_sent: 9,
    upstream_cluster: 'echo',
    upstream_host: service.address,
    upstream_request_attempt_count: 1,
    upstream_transport_failure_reason: null,
    route_name: 'echo-route',
    user_agent: 'test/1',
    x_request_id: 'a-1',
    trace_id: null,
    downstream_peer_uri_san: null,
    requested_server_name: null,
  });
  assert.deepEqual([second?.['direction'], second?.['fate'], second?.['response_flags']], ['inbound', 'connect_failure', 'UF']);
  assert.equal(statSync(log.path).mode & 0o777, 0o640);
});

test('the line of a failed call says what its reply said, and how Envoy would have called it', async (t) => {
  const log = logFile(t);
  const dead = `127.0.0.1:${await closedPort()}`;
  let behaviour: Parameters<typeof startUpstream>[1] = hold;
  const service = await startUpstream(t, (call, index) => behaviour(call, index));
  const plain = 'tls: { mode: disable }';
  const outrider = await startSidecar(t, {
    environment: log.environment,
    policies: `routes:
  - { name: slow, match: { prefix: /slow. }, route: { cluster: echo, timeout: 0.05s } }
  - { name: lost, match: { prefix: /lost. }, route: { cluster: gone, timeout: 1s } }
  - { name: dead, match: { prefix: /dead. }, route: { cluster: dead, timeout: 5s, idempotent: true, retry_policy: { retry_on: connect-failure, num_retries: 1, retry_back_off: { base_interval: 0.001s } } } }
  - { name: broken, match: { prefix: /broken. }, route: { cluster: echo, timeout: 1s, fault: { delay: { fixed_delay: 0.001s }, abort: { grpc_status: 14 } } } }
  - { name: echo, match: { prefix: /acme. }, route: { cluster: echo } }
clusters:
  echo: { endpoints: ["${service.address}"], ${plain} }
  dead: { endpoints: ["${dead}"], ${plain}, circuit_breakers: { consecutive_failures: 100 } }
  empty: { ${plain} }
`,
  });
  const client = outrider.caller();
  const answers: { readonly reason: string | undefined; readonly message: string }[] = [];
  const call = async (path: string, authority = 'echo'): Promise<void> => {
    answers.push(await client.call({ path, authority }));
  };
  await call('/slow.S/M');
  await call('/lost.S/M');
  await call('/dead.S/M');
  await call('/broken.S/M');
  await call('/none.S/M', 'nobody.example');
  await call('/none.S/M', 'empty');
  behaviour = (received) => resetWith(received, 2);
  await call('/acme.S/M');
  behaviour = ({ stream }) => stream.session?.destroy();
  await call('/acme.S/M');
  behaviour = (received) => answerTrailersOnly(received, GrpcStatus.NOT_FOUND);
  await call('/acme.S/M');
  const lines = await log.written(outrider, answers.length);
  assert.deepEqual(
    lines.map(({ fate, response_flags, grpc_status }) => [fate, response_flags, grpc_status]),
    [
      ['route_timeout', 'UT', 'DEADLINE_EXCEEDED'],
      ['no_cluster', 'NC', 'UNAVAILABLE'],
      ['connect_failure', 'UF,URX', 'UNAVAILABLE'],
      ['fault_injected', 'DI,FI', 'UNAVAILABLE'],
      ['no_route', 'NR', 'UNIMPLEMENTED'],
      ['no_endpoint', 'UH', 'UNAVAILABLE'],
      ['upstream_reset', 'UR', 'INTERNAL'],
      ['connection_lost', 'UC', 'UNAVAILABLE'],
      ['app_error', '-', 'NOT_FOUND'],
    ],
  );
  for (const [i, { reason = null, message }] of answers.entries()) {
    const line = lines[i] as Line;
    assert.equal(line['fate'] === 'app_error' ? null : line['fate'], reason);
    assert.equal(line['message'], reason === null ? null : message);
  }
  assert.equal(lines[2]?.['upstream_request_attempt_count'], 2);
});

test('a caller that resets its call, and one that is gone, have a line', async (t) => {
  const log = logFile(t);
  const { client, outrider, service } = await throughOne(t, hold, { environment: log.environment });
  const first = client.start();
  await service.call(0);
  first.cancel();
  await log.written(outrider, 1);
  client.start();
  await service.call(1);
  client.socket?.destroy();
  const lines = await log.written(outrider, 2);
  assert.deepEqual(
    lines.map(({ fate, response_flags, response_code }) => [fate, response_flags, response_code]),
    [
      ['cancelled', 'DR', 0],
      ['cancelled', 'DC', 0],
    ],
  );
});

test('across a mesh a line names the caller by its certificate', async (t) => {
  const log = logFile(t);
  const certificates = await MeshCertificates.create(t);
  const service = await startUpstream(t, (call) => answerOk(call));
  const outrider = await startSidecar(t, {
    name: 'learner',
    environment: log.environment,
    localService: service.port,
    certificates: await certificates.issue('learner'),
  });
  const { certPem, keyPem } = await certificates.pair('web');
  const client = outrider.inboundCaller({ cert: certPem, key: keyPem, ca: certificates.authority.certPem, servername: 'learner' });
  assert.equal((await client.call()).status, GrpcStatus.OK);
  const [line] = await log.written(outrider, 1);
  assert.equal(line?.['downstream_peer_uri_san'], 'spiffe://mesh.local/service/web');
  assert.equal(line?.['requested_server_name'], 'learner');
  assert.equal(line?.['direction'], 'inbound');
});

test('policies say which calls have a line, what it looks like and where it goes, and a change of them counts at once', async (t) => {
  const log = logFile(t);
  const other = join(log.folder, 'other.log');
  const service = await startUpstream(t, (call) => answerOk(call));
  const echo = echoPolicies({ endpoints: [service.address] });
  const outrider = await startSidecar(t, { policies: echo, environment: log.environment });
  const client = outrider.caller();
  const reload = async (text: string): Promise<void> => {
    writeFileSync(outrider.policyFile, text + echo);
    assert.equal((await outrider.admin('POST', '/reload')).status, 200);
  };
  await client.call();
  await log.written(outrider, 1);
  await reload('access_log: { sample: 0%, json_format: { why: "%FATE%", path: "%REQ(:PATH)%" } }\n');
  await client.call();
  await client.call({ path: '/none.S/M', authority: 'nobody.example' });
  assert.deepEqual((await log.written(outrider, 2))[1], { why: 'no_route', path: '/none.S/M' });
  await reload(
    `access_log: [{ name: envoy.access_loggers.file, filter: { header_filter: { header: { name: x-debug } } }, typed_config: { path: ${other}, log_format: { text_format: "%FATE% %REQ(X-DEBUG)%" } } }]\n`,
  );
  await client.call();
  await client.call({ headers: { 'x-debug': 'a\tb' } });
  await until(() => outrider.stat('access_log.written') === 3, 'a line in the other file');
  assert.equal(readFileSync(other, 'utf8'), 'ok a\\tb\n');
  assert.equal(log.lines().length, 2);
  // A file that cannot be written is a warning, and calls go on.
  await reload(`access_log: { path: ${join(log.folder, 'missing', 'access.log')} }\n`);
  assert.equal((await client.call()).status, GrpcStatus.OK);
  assert.ok(outrider.log.some(({ msg, level }) => msg === 'access log cannot be written' && level === 'warning'));
  assert.ok(outrider.stat('access_log.write_failed') >= 1);
  mkdirSync(join(log.folder, 'missing'));
  outrider.sidecar.reopenLogs();
  await until(() => outrider.stat('access_log.written') === 4, 'a line once the folder is there');
});

test('without ACCESS_LOG policies alone switch a log on, and off switches all of them off', async (t) => {
  const log = logFile(t);
  const service = await startUpstream(t, (call) => answerOk(call));
  const policies = `access_log: { path: ${log.path} }\n${echoPolicies({ endpoints: [service.address] })}`;
  const outrider = await startSidecar(t, { policies });
  await outrider.caller().call();
  await outrider.inboundCaller().call();
  await log.written(outrider, 1);
  const silent = await startSidecar(t, { policies, environment: { ACCESS_LOG: 'off' } });
  await silent.caller().call();
  assert.equal(silent.sidecar.telemetry.accessLog, undefined);
  assert.equal(log.lines().length, 1);
});

test('calls that are under way when a sidecar drains have their lines before it has ended', async (t) => {
  const log = logFile(t);
  const { client, outrider, service } = await throughOne(t, hold, { environment: log.environment, endsItself: true });
  const call = client.start();
  const received = await service.call(0);
  const drained = outrider.sidecar.drain();
  answerOk(received);
  assert.equal((await call.answer).status, GrpcStatus.OK);
  await drained;
  assert.deepEqual(
    log.lines().map(({ fate }) => fate),
    ['ok'],
  );
});

for (const [what, path, expected] of [
  ['a folder that is not there', 'missing/access.log', /ENOENT/],
  ['a folder in its place', '', /EISDIR|ENOTDIR/],
] as const) {
  test(`${what} ends a sidecar at its start, with what to do`, async (t) => {
    const log = logFile(t);
    const wrong = path === '' ? `${log.folder}/.` : join(log.folder, path);
    await assert.rejects(startSidecar(t, { environment: { ACCESS_LOG: wrong } }), (error) => {
      assert.ok(error instanceof ConfigurationError);
      assert.match(error.message, expected);
      assert.match(error.remedy ?? '', /folder|file/);
      return true;
    });
    await assert.rejects(
      startSidecar(t, { policies: `access_log: { path: ${join(log.folder, 'missing', 'a.log')} }\n` }),
      ConfigurationError,
    );
  });
}

test('health checks of the sidecar have no line, and those that come as calls have', async (t) => {
  const log = logFile(t);
  const service = await startUpstream(t, (call) => answerOk(call));
  const outrider = await startSidecar(t, {
    environment: { ...log.environment, LOCAL_SERVICE_HEALTH_INTERVAL: '0.05s' },
    localService: service.port,
    policies: 'inbound: { access_log: [{ name: envoy.access_loggers.file, filter: { not_health_check_filter: {} } }] }\n',
  });
  await until(() => service.received.length >= 3, 'checks');
  const client = outrider.inboundCaller();
  await client.call({ path: '/grpc.health.v1.Health/Check' });
  await client.call();
  const lines = await log.written(outrider, 1);
  assert.deepEqual(
    lines.map(({ path }) => path),
    ['/acme.Echo/Call'],
  );
});
