/** A sidecar as a process that stands still for a while, or dies without a word. */
import assert from 'node:assert/strict';
import http from 'node:http';
import { type TestContext, test } from 'node:test';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { freePort } from '../harness/ports.ts';
import { outriderPath, type Program, spawnProgram } from '../harness/program.ts';
import { atEnd } from '../mesh/at-end.ts';
import { Caller } from '../mesh/caller.ts';
import { answerOk, hold, startUpstream, until } from '../mesh/upstream.ts';

checkLeaks();

interface Ports {
  readonly inbound: number;
  readonly admin: number;
}

/** A sidecar before a service, in plain text. Resolves when it is ready. */
const start = async (
  t: TestContext,
  servicePort: number,
  wanted: Ports = { inbound: 0, admin: 0 },
): Promise<Ports & { readonly program: Program }> => {
  const program = spawnProgram(outriderPath, ['sidecar'], {
    env: {
      PATH: process.env['PATH'],
      SERVICE_NAME: 'orders',
      INBOUND_TLS: 'off',
      GRPC_PORT: String(wanted.inbound),
      OUTBOUND_PORT: '0',
      ADMIN_PORT: String(wanted.admin),
      LOCAL_SERVICE_PORT: String(servicePort),
      // The service counts what it receives.
      LOCAL_SERVICE_HEALTH_INTERVAL: '0s',
    },
  });
  atEnd(t, () => program[Symbol.asyncDispose]());
  const [line] = await program.waitFor(/^\{.*"msg":"ready".*\}$/m);
  const { inbound, admin } = JSON.parse(line) as { readonly inbound: number; readonly admin: number };
  return { program, inbound, admin };
};

const ready = (admin: number): Promise<{ readonly code: number; readonly text: string }> =>
  new Promise((resolve, reject) => {
    const request = http.get({ host: '127.0.0.1', port: admin, path: '/ready', agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part) => {
        text += part;
      });
      response.on('end', () => resolve({ code: response.statusCode ?? 0, text }));
    });
    request.on('error', reject);
  });

test('an event loop that was stalled for a second is not ready, and its deadlines have fired all the same', async (t) => {
  const service = await startUpstream(t, (call, index) => (index === 0 ? hold(call, index) : answerOk(call)));
  const { program, inbound, admin } = await start(t, service.port);
  const caller = new Caller(t, inbound);
  const call = caller.start({ authority: 'orders', headers: { 'grpc-timeout': '300m' } });
  await until(() => service.received.length === 1, 'the call at the service');
  process.kill(program.pid, 'SIGSTOP');
  const asked = ready(admin);
  // What is tried is that it stands still for longer than a second.
  await new Promise((resolve) => setTimeout(resolve, 1_800));
  process.kill(program.pid, 'SIGCONT');
  const { code, text } = await asked;
  assert.equal(code, 503);
  assert.match(text, /^LIVE: the event loop was stalled for \d{4} ms/);
  assert.equal((await call.answer).status, GrpcStatus.DEADLINE_EXCEEDED);
  for (let answer = await ready(admin); answer.code !== 200; answer = await ready(admin)) assert.equal(answer.code, 503);
  assert.equal((await caller.call({ authority: 'orders' })).status, GrpcStatus.OK);
});

test('a sidecar that is killed is back on its ports at once, and serves', async (t) => {
  const service = await startUpstream(t, (call) => answerOk(call));
  const ports = { inbound: await freePort(), admin: await freePort() };
  const first = await start(t, service.port, ports);
  const before = new Caller(t, first.inbound);
  assert.equal((await before.call({ authority: 'orders' })).status, GrpcStatus.OK);
  assert.equal((await first.program.stop('SIGKILL')).signal, 'SIGKILL');
  await before.closed;
  const second = await start(t, service.port, ports);
  assert.deepEqual([second.inbound, second.admin], [ports.inbound, ports.admin]);
  assert.equal((await ready(second.admin)).code, 200);
  assert.equal((await new Caller(t, second.inbound).call({ authority: 'orders' })).status, GrpcStatus.OK);
});
