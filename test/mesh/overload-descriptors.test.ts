import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import http2 from 'node:http2';
import net from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { cpuMicrosecondsOf } from '../../bench/process-usage.ts';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { tcpFailure } from '../../src/upstream/connect-failure.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { outriderPath, type Program, runProgram, spawnProgram } from '../harness/program.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { atEnd } from './at-end.ts';
import { Caller } from './caller.ts';
import { echoPolicies } from './mesh.ts';
import { answerOk, type ReceivedCall, startUpstream, until } from './upstream.ts';

checkLeaks();

interface SmallSidecar {
  readonly program: Program;
  readonly inbound: number;
  readonly outbound: number;
  stat(name: string): Promise<number>;
  healthy(): Promise<boolean>;
}

/** A process of its own that may open 256 files, Node's own included. */
const startSmall = async (t: TestContext, policies: string, environment: Readonly<Record<string, string>> = {}): Promise<SmallSidecar> => {
  const folder = temporaryFolder();
  atEnd(t, () => folder[Symbol.dispose]());
  const policyFile = join(folder.path, 'policies.yaml');
  writeFileSync(policyFile, policies);
  const program = spawnProgram('sh', ['-c', 'ulimit -n 256 && exec "$0" sidecar', outriderPath], {
    env: {
      PATH: process.env['PATH'],
      SERVICE_NAME: 'echo',
      GRPC_PORT: '0',
      OUTBOUND_PORT: '0',
      ADMIN_PORT: '0',
      INBOUND_TLS: 'off',
      POLICY_PATH: policyFile,
      ...environment,
    },
  });
  atEnd(t, () => program[Symbol.asyncDispose]());
  const ready = JSON.parse((await program.waitFor(/^.*"msg":"ready".*$/m))[0]);
  const admin = async (path: string): Promise<string> => {
    const response = await fetch(`http://127.0.0.1:${ready.admin}${path}`, { headers: { connection: 'close' } });
    return await response.text();
  };
  return {
    program,
    inbound: ready.inbound,
    outbound: ready.outbound,
    stat: async (name) => Number(/: (\S+)/.exec(await admin(`/stats?filter=^${name.replaceAll('.', '\\.')}$`))?.[1]),
    healthy: async () => (await admin('/healthz')) === 'OK\n',
  };
};

/** Strangers who connect and say nothing; `closed` of them were turned away. */
const crowd = async (t: TestContext, port: number, count: number) => {
  const state = { closed: 0 };
  const sockets = Array.from({ length: count }, () => {
    const socket = net.connect(port, '127.0.0.1');
    socket.on('error', () => {});
    socket.on('close', () => state.closed++);
    socket.resume();
    return socket;
  });
  const leave = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  atEnd(t, leave);
  return { state, leave };
};

/** Less than half of the time of the processor: whoever spins on a descriptor that is not there uses all of it. */
const checkNoSpin = async (program: Program, windowMs = 500): Promise<void> => {
  const before = cpuMicrosecondsOf(program.pid);
  const startedMs = performance.now();
  await new Promise((resolve) => setTimeout(resolve, windowMs));
  const passedMs = performance.now() - startedMs;
  const usedMs = (cpuMicrosecondsOf(program.pid) - before) / 1_000;
  assert.ok(usedMs < passedMs / 2, `${usedMs} ms of CPU in ${passedMs} ms`);
};

test('a crowd that takes every descriptor there is for it disturbs neither calls nor admin, and others are served once it has left', async (t) => {
  const service = await startUpstream(t, (call) => answerOk(call));
  const outrider = await startSmall(t, echoPolicies({ endpoints: [service.address] }));
  const established = new Caller(t, outrider.outbound);
  assert.equal((await established.call()).status, GrpcStatus.OK);

  const inbound = await crowd(t, outrider.inbound, 300);
  const outbound = await crowd(t, outrider.outbound, 300);
  await until(() => inbound.state.closed + outbound.state.closed >= 600 - 128, 'the end of those who are too many');
  assert.ok(await outrider.healthy());
  assert.ok((await outrider.stat('server.total_connections')) <= 128);
  assert.equal((await established.call()).status, GrpcStatus.OK);
  await checkNoSpin(outrider.program);
  const lines = outrider.program.stderr.split('\n').filter((line) => line.includes('"msg":"connection refused'));
  assert.ok(lines.length >= 1 && lines.length <= 20, `${lines.length} log lines`);

  inbound.leave();
  outbound.leave();
  const deadline = performance.now() + 10_000;
  while ((await outrider.stat('server.total_connections')) > 1) assert.ok(performance.now() < deadline, 'connections are left');
  assert.equal((await new Caller(t, outrider.outbound).call()).status, GrpcStatus.OK);
  assert.equal((await established.call()).status, GrpcStatus.OK);
});

test('more upstreams than descriptors: calls fail with the remedy, admin answers, and calls succeed again when some are free', async (t) => {
  const sessions: http2.ServerHttp2Session[] = [];
  const server = http2.createServer();
  server.on('session', (session) => {
    session.on('error', () => {});
    sessions.push(session);
  });
  server.on('stream', (stream, headers) => {
    stream.on('error', () => {});
    answerOk({ stream, headers } as ReceivedCall);
  });
  await new Promise<void>((resolve) => server.listen(0, '0.0.0.0', resolve));
  atEnd(t, () => {
    for (const session of sessions) session.destroy();
    return new Promise((resolve) => server.close(resolve));
  });
  const { port } = server.address() as net.AddressInfo;
  // All of 127/8 is this machine.
  const endpoints = Array.from({ length: 240 }, (_, i) => JSON.stringify(`127.1.0.${i + 1}:${port}`));
  const outrider = await startSmall(
    t,
    `clusters:
  many: { endpoints: [${endpoints.join(', ')}], lb_policy: round_robin, tls: { mode: disable } }
  single: { endpoints: ["127.2.0.1:${port}"], tls: { mode: disable } }
`,
  );
  const client = new Caller(t, outrider.outbound);
  // A call that finds no descriptor for one instance goes to another that has its connection already.
  for (let i = 0; i < 240; i++) assert.equal((await client.call({ authority: 'many' })).status, GrpcStatus.OK);
  assert.ok((await outrider.stat('cluster.many.upstream_cx_connect_fail')) > 0);
  for (let i = 0; i < 10; i++) {
    const { message, reason, status } = await client.call({ authority: 'single' });
    assert.deepEqual([status, reason], [GrpcStatus.UNAVAILABLE, 'connect_failure']);
    assert.match(message, /no file descriptor left.*raise the limit of open files \(ulimit -n\)/);
  }
  assert.ok(await outrider.healthy());
  await checkNoSpin(outrider.program);

  for (const session of sessions) session.destroy();
  const deadline = performance.now() + 10_000;
  while ((await outrider.stat('server.sockets')) > 1) assert.ok(performance.now() < deadline, 'sockets are left');
  // No breaker has opened for what the sidecar itself lacked.
  assert.equal((await client.call({ authority: 'single' })).status, GrpcStatus.OK);
});

test('a kernel that gives no descriptor any more is survived, without a spin', async (t) => {
  const service = await startUpstream(t, (call) => answerOk(call));
  const outrider = await startSmall(t, echoPolicies({ endpoints: [service.address] }));
  const established = new Caller(t, outrider.outbound);
  assert.equal((await established.call()).status, GrpcStatus.OK);
  const open = await outrider.stat('server.open_fds');
  // Behind the back of the account of sockets.
  const { pid } = outrider.program;
  const { code, stderr } = await runProgram('prlimit', ['--pid', String(pid), `--nofile=${open + 10}:256`]);
  assert.equal(code, 0, stderr);
  const { state, leave } = await crowd(t, outrider.outbound, 100);
  await until(() => state.closed >= 80, 'the end of those whom the kernel turns away');
  // The process is sampled twice a second, for which Node needs a descriptor.
  await checkNoSpin(outrider.program, 1_200);
  assert.equal((await established.call()).status, GrpcStatus.OK);
  leave();
  await until(() => state.closed === 100, 'the end of the others');
  assert.equal((await runProgram('prlimit', ['--pid', String(pid), '--nofile=256:256'])).code, 0);
  assert.ok(await outrider.healthy());
  assert.equal((await new Caller(t, outrider.outbound).call()).status, GrpcStatus.OK);
});

test('limits above what the descriptors allow are lowered, with a warning', async (t) => {
  const service = await startUpstream(t, (call) => answerOk(call));
  const outrider = await startSmall(t, echoPolicies({ endpoints: [service.address] }), { MAX_CONNECTIONS: '5000' });
  assert.match(outrider.program.stderr, /MAX_CONNECTIONS is 5000, and 256 open files allow 128; raise the limit \(ulimit -n\)/);
});

test('where the kernel itself has no descriptor left, the failure says what to raise and blames nobody upstream', () => {
  for (const code of ['EMFILE', 'ENFILE']) {
    const error = tcpFailure({ cluster: 'echo', endpoint: '127.0.0.1:1' }, Object.assign(new Error('connect'), { code }));
    assert.deepEqual([error.reason, error.source, error.unprocessed], ['connect_failure', 'local', true]);
    assert.match(String(error.remedy), /ulimit -n/);
  }
});
