import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkLeaks } from '../harness/leak-check.ts';
import { AdminFixture } from './admin-fixture.ts';

checkLeaks();

test('breakers are reset, opened and closed by hand, all or one', async () => {
  await using admin = await AdminFixture.start();
  const reset = await admin.post('/clusters/learner-svc/circuit_breakers/reset');
  assert.equal(reset.status, 200);
  assert.equal(reset.json().circuit_breaker.state, 'CLOSED');
  await admin.post('/clusters/learner-svc/circuit_breakers/open?ttl=60s&endpoint=10.0.0.4%3A50051');
  await admin.post('/clusters/learner-svc/circuit_breakers/close?method=%2Fauth.Auth%2FLogin');
  assert.deepEqual(admin.views.acted, [
    { cluster: 'learner-svc', action: 'reset', target: {} },
    { cluster: 'learner-svc', action: 'open', target: { ttlMs: 60_000, endpoint: '10.0.0.4:50051' } },
    { cluster: 'learner-svc', action: 'close', target: { method: '/auth.Auth/Login' } },
  ]);
});

test('an endpoint that is ejected is taken back by hand', async () => {
  await using admin = await AdminFixture.start();
  const path = '/clusters/learner-svc/endpoints';
  const answer = await admin.post(`${path}/10.0.0.4:50051/uneject`);
  assert.deepEqual([answer.status, answer.json()], [200, { cluster: 'learner-svc', endpoint: '10.0.0.4:50051', unejected: true }]);
  assert.equal((await admin.post(`${path}/%5Bfd00::4%5D%3A50051/uneject`)).json().unejected, false, 'it was not ejected');
  const unknown = await admin.post(`${path}/10.0.0.9:1/uneject`);
  assert.equal(unknown.status, 404);
  assert.match(unknown.json().error, /has no endpoint 10\.0\.0\.9:1/);
  assert.equal((await admin.post('/clusters/lerner-svc/endpoints/10.0.0.4:50051/uneject')).status, 404);
  assert.equal((await admin.post(`${path}/10.0.0.4:50051/uneject?ttl=5s`)).status, 400);
  assert.equal((await admin.post(`${path}//uneject`)).status, 404);
});

test('an unknown cluster is 404 and says which there are', async () => {
  await using admin = await AdminFixture.start();
  const answer = await admin.post('/clusters/lerner-svc/circuit_breakers/reset');
  assert.equal(answer.status, 404);
  assert.match(answer.json().error, /no cluster lerner-svc, did you mean learner-svc/);
  assert.deepEqual(answer.json().clusters, ['learner-svc']);
});

test('an endpoint or method that has no breaker is 404, one in another scope 400', async () => {
  await using admin = await AdminFixture.start();
  const path = '/clusters/learner-svc/circuit_breakers/reset?endpoint=10.0.0.9%3A1';
  for (const [result, status] of [
    ['unknown_endpoint', 404],
    ['unknown_method', 404],
    ['wrong_scope', 400],
  ] as const) {
    admin.views.actResult = result;
    const answer = await admin.post(path);
    assert.equal(answer.status, status);
    assert.equal(typeof answer.json().error, 'string');
  }
});

test('a wrong parameter is 400, and nothing is done', async () => {
  await using admin = await AdminFixture.start();
  const base = '/clusters/learner-svc/circuit_breakers/open';
  for (const query of ['ttl=60', 'ttl=-5s', 'ttl=0s', 'ttl=', 'tll=60s', 'endpoint=', 'ttl=soon', `ttl=${'9'.repeat(400)}s`]) {
    const answer = await admin.post(`${base}?${query}`);
    assert.equal(answer.status, 400, query);
    assert.equal(typeof answer.json().error, 'string');
  }
  assert.match((await admin.post(`${base}?tll=60s`)).json().error, /did you mean ttl/);
  assert.equal((await admin.post('/clusters/learner-svc/circuit_breakers/reset?ttl=60s')).status, 400);
  assert.equal((await admin.post('/clusters/%E0%A4%A/circuit_breakers/reset')).status, 400);
  assert.deepEqual(admin.views.acted, []);
});

test('a cluster may have a slash in its name', async () => {
  await using admin = await AdminFixture.start();
  await admin.post('/clusters/dc1%2Fauth/circuit_breakers/reset');
  assert.equal(admin.views.acted[0]?.cluster, 'dc1/auth');
});

test('logs are opened anew', async () => {
  await using admin = await AdminFixture.start();
  const answer = await admin.post('/reopen_logs');
  assert.deepEqual([answer.status, answer.body, admin.views.logsReopened], [200, 'OK\n', 1]);
  assert.equal((await admin.get('/reopen_logs')).status, 405);
});

test('a drain begins at once and readiness tells', async () => {
  await using admin = await AdminFixture.start();
  assert.deepEqual((await admin.post('/drain')).json(), { state: 'DRAINING' });
  assert.equal(admin.views.drained, 1);
  const ready = await admin.get('/ready');
  assert.deepEqual([ready.status, ready.body], [503, 'DRAINING\n']);
});

test('a reload that is refused says what stays', async () => {
  await using admin = await AdminFixture.start();
  assert.equal((await admin.post('/reload')).status, 200);
  admin.views.reloadResult = [{ name: 'policies', ok: false, error: 'policies/a.yaml:3:5: unknown key' }];
  const refused = await admin.post('/reload');
  assert.equal(refused.status, 422);
  assert.match(refused.json().error, /stays in force: policies: policies\/a\.yaml:3:5/);
});

test('the log level is shown and changed', async () => {
  await using admin = await AdminFixture.start();
  assert.deepEqual((await admin.post('/logging')).json(), { level: 'info' });
  assert.deepEqual((await admin.post('/logging?level=debug')).json(), { level: 'debug' });
  assert.equal(admin.views.log.level, 'debug');
  assert.equal((await admin.post('/logging?level=loud')).status, 400);
});

test('a wrong method is 405 with Allow, also for a change that somebody tries to GET', async () => {
  await using admin = await AdminFixture.start();
  for (const [method, path, allow] of [
    ['GET', '/drain', 'POST'],
    ['GET', '/clusters/learner-svc/circuit_breakers/reset', 'POST'],
    ['POST', '/stats', 'GET, HEAD'],
    ['DELETE', '/clusters', 'GET, HEAD'],
    ['PUT', '/logging', 'POST'],
  ] as const) {
    const answer = await admin.ask(method, path);
    assert.equal(answer.status, 405, `${method} ${path}`);
    assert.equal(answer.headers['allow'], allow);
    assert.equal(typeof answer.json().error, 'string');
  }
  assert.equal(admin.views.drained, 0);
});

test('an unknown path is 404 and lists the paths', async () => {
  await using admin = await AdminFixture.start();
  const answer = await admin.get('/cluster');
  assert.equal(answer.status, 404);
  assert.match(answer.json().error, /did you mean \/clusters/);
  assert.ok(answer.json().paths.includes('POST /drain'));
});

test('HEAD answers like GET without a body', async () => {
  await using admin = await AdminFixture.start();
  const answer = await admin.ask('HEAD', '/ready');
  assert.deepEqual([answer.status, answer.body], [200, '']);
});
