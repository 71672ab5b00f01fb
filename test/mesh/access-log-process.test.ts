/** The access log of a real process: rotation, pipes that nobody reads, disks without room, and the end of the process. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { closeSync, constants, openSync, readFileSync, readSync, renameSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { outriderPath, runProgram, spawnProgram } from '../harness/program.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { SidecarProcess } from '../peers/sidecar-processes.ts';
import { atEnd } from './at-end.ts';
import { Caller } from './caller.ts';
import { echoPolicies } from './mesh.ts';
import { answerOk, startUpstream } from './upstream.ts';

checkLeaks();

type Line = Readonly<Record<string, unknown>>;

const linesOf = (text: string): readonly Line[] => {
  assert.ok(text === '' || text.endsWith('\n'), `half a line: ${text.slice(-200)}`);
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Line);
};

const folderOf = (t: TestContext): string => {
  const folder = temporaryFolder();
  atEnd(t, () => folder[Symbol.dispose]());
  return folder.path;
};

const environmentOf = (folder: string, more: Readonly<Record<string, string>>): Record<string, string | undefined> => ({
  PATH: process.env['PATH'],
  SERVICE_NAME: 'web',
  INBOUND_TLS: 'off',
  GRPC_PORT: '0',
  OUTBOUND_PORT: '0',
  ADMIN_PORT: '0',
  LOCAL_SERVICE_HEALTH_INTERVAL: '0s',
  POLICY_PATH: join(folder, 'policies.yaml'),
  DRAIN_TIMEOUT: '5s',
  ...more,
});

/** A process with a service behind it. @param redirect what the shell does with its output. */
const start = async (t: TestContext, folder: string, environment: Readonly<Record<string, string>>, redirect = '') => {
  const service = await startUpstream(t, (call) => answerOk(call));
  writeFileSync(join(folder, 'policies.yaml'), echoPolicies({ endpoints: [service.address] }));
  const script = `exec '${outriderPath}' sidecar ${redirect}`;
  const program = spawnProgram('sh', ['-c', script], { env: environmentOf(folder, environment) });
  atEnd(t, () => program[Symbol.asyncDispose]());
  const [ready] = await program.waitFor(/^\{.*"msg":"ready".*\}$/m);
  const sidecar = new SidecarProcess(program, JSON.parse(ready) as Record<string, unknown>);
  return { program, sidecar, client: new Caller(t, sidecar.outboundPort) };
};

const ok = async (client: Caller, count = 1): Promise<void> => {
  for (let i = 0; i < count; i++) {
    const { status, reason } = await client.call();
    // A starved machine sheds calls, of which there is no line.
    if (reason === 'overloaded') i--;
    else assert.equal(status, GrpcStatus.OK);
  }
};

/** Calls in groups: so many that some end in the same turn. @returns how many were answered by a service or a rule: a starved machine sheds others. */
const many = async (client: Caller, count: number, options: Parameters<Caller['call']>[0] = {}): Promise<number> => {
  let answered = 0;
  for (let begun = 0; begun < count; begun += 100) {
    const answers = await Promise.all(Array.from({ length: Math.min(100, count - begun) }, () => client.call(options)));
    answered += answers.filter(({ reason }) => reason !== 'overloaded').length;
  }
  return answered;
};

const patienceMs = 60_000;

const untilStat = async (sidecar: SidecarProcess, name: string, holds: (value: number) => boolean): Promise<void> => {
  const deadline = performance.now() + patienceMs;
  for (;;) {
    const value = await sidecar.stat(name);
    if (holds(value)) return;
    assert.ok(performance.now() < deadline, `${name} is still ${value}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
};

test('ten thousand calls are ten thousand lines, some of them written while it ends', async (t) => {
  const folder = folderOf(t);
  const path = join(folder, 'access.log');
  const { sidecar, client } = await start(t, folder, { ACCESS_LOG: path });
  const [good, lost] = await Promise.all([many(client, 9_000), many(client, 1_000, { path: '/none.S/M', authority: 'nobody.example' })]);
  await sidecar.stop();
  const lines = linesOf(readFileSync(path, 'utf8')).filter(({ fate }) => fate !== 'overloaded');
  const count = (path: string): number => lines.filter((line) => line['path'] === path).length;
  assert.deepEqual([count('/acme.Echo/Call'), count('/none.S/M'), lines.length], [good, lost, good + lost]);
  assert.ok(good + lost > 5_000, `only ${good + lost} calls were served`);
});

test('SIGUSR1 opens the file anew under load, no line is lost or written twice, and no debugger is opened', async (t) => {
  const folder = folderOf(t);
  const path = join(folder, 'access.log');
  const { program, sidecar, client } = await start(t, folder, { ACCESS_LOG: path });
  let calls = 0;
  for (let rotation = 1; rotation <= 3; rotation++) {
    const load = many(client, 500, { headers: { 'x-request-id': `r-${rotation}` } });
    await untilStat(sidecar, 'access_log.written', (written) => written > calls);
    renameSync(path, `${path}.${rotation}`);
    process.kill(sidecar.pid, 'SIGUSR1');
    await untilStat(sidecar, 'access_log.reopened', (reopened) => reopened === rotation);
    calls += await load;
  }
  await ok(client);
  await sidecar.stop();
  const files = [path, `${path}.1`, `${path}.2`, `${path}.3`].map((file) => linesOf(readFileSync(file, 'utf8')));
  assert.equal(files.flat().filter(({ fate }) => fate !== 'overloaded').length, calls + 1);
  assert.ok((files[0]?.length ?? 0) >= 1);
  assert.doesNotMatch(program.stderr, /debugger/i);
});

test('a file that is cut to nothing while it is written goes on at its beginning', async (t) => {
  const folder = folderOf(t);
  const path = join(folder, 'access.log');
  const { sidecar, client } = await start(t, folder, { ACCESS_LOG: path });
  await ok(client, 20);
  await untilStat(sidecar, 'access_log.written', (written) => written === 20);
  truncateSync(path);
  await ok(client, 5);
  await sidecar.stop();
  assert.equal(linesOf(readFileSync(path, 'utf8')).length, 5);
});

test('lines on standard output go through a pipe', async (t) => {
  const folder = folderOf(t);
  const { sidecar, client } = await start(t, folder, { ACCESS_LOG: 'stdout' }, `| cat > '${folder}/out'`);
  const calls = await many(client, 300);
  await untilStat(sidecar, 'access_log.written', (written) => written >= calls);
  // The shell's process is the pipeline's last; the sidecar ends by what it is told.
  await fetch(`http://127.0.0.1:${sidecar.adminPort}/drain`, { method: 'POST' });
  await sidecar.ended();
  assert.equal(linesOf(readFileSync(join(folder, 'out'), 'utf8')).filter(({ fate }) => fate !== 'overloaded').length, calls);
});

test('a file that standard output is led into is shared with the log of the sidecar', async (t) => {
  const folder = folderOf(t);
  const out = join(folder, 'out');
  const service = await startUpstream(t, (call) => answerOk(call));
  writeFileSync(join(folder, 'policies.yaml'), echoPolicies({ endpoints: [service.address] }));
  const program = spawnProgram('sh', ['-c', `exec '${outriderPath}' sidecar > '${out}' 2>&1`], {
    env: environmentOf(folder, { ACCESS_LOG: 'stdout' }),
  });
  atEnd(t, () => program[Symbol.asyncDispose]());
  const readyLine = async (): Promise<Line> => {
    for (;;) {
      const ready = readFileSync(out, { encoding: 'utf8', flag: 'a+' }).match(/^\{.*"msg":"ready".*\}$/m);
      if (ready !== null) return JSON.parse(ready[0]) as Line;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  await ok(new Caller(t, Number((await readyLine())['outbound'])), 50);
  await program.stop();
  const lines = linesOf(readFileSync(out, 'utf8'));
  assert.equal(lines.filter(({ fate }) => fate === 'ok').length, 50);
  assert.equal(lines.at(-1)?.['msg'], 'stopped');
});

/** Reads what a pipe has now. */
const drainPipe = (descriptor: number): string => {
  const buffer = Buffer.alloc(65_536);
  let text = '';
  for (;;) {
    try {
      const read = readSync(descriptor, buffer, 0, buffer.length, null);
      if (read === 0) return text;
      text += buffer.toString('utf8', 0, read);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return text;
      throw error;
    }
  }
};

test('a pipe that nobody reads holds no call up: lines wait, then they are dropped and counted, and go on once it is read', async (t) => {
  const folder = folderOf(t);
  const pipe = join(folder, 'pipe');
  assert.equal(spawnSync('mkfifo', [pipe]).status, 0);
  const reader = openSync(pipe, constants.O_RDONLY | constants.O_NONBLOCK);
  atEnd(t, () => closeSync(reader));
  const { sidecar, client } = await start(t, folder, { ACCESS_LOG: 'stdout' }, `> '${pipe}'`);
  // 64 KiB lie in the pipe, 4 MiB wait: lines of 3 KB fill both.
  const headers = { 'user-agent': 'u'.repeat(1_000), 'x-request-id': 'r'.repeat(1_000) };
  await many(client, 3_000, { headers });
  await untilStat(sidecar, 'access_log.dropped', (dropped) => dropped > 0);
  assert.equal(await sidecar.stat('access_log.write_failed'), 0);
  let text = drainPipe(reader);
  const deadline = performance.now() + patienceMs;
  while ((await sidecar.stat('access_log.waiting_bytes')) > 0) {
    assert.ok(performance.now() < deadline, 'the pipe was not emptied');
    text += drainPipe(reader);
  }
  const written = await sidecar.stat('access_log.written');
  await ok(client);
  await sidecar.stop();
  text += drainPipe(reader);
  assert.equal(linesOf(text).length, written + 1);
});

test('a socket as standard output that nobody reads holds no call up, and no exit', async (t) => {
  const folder = folderOf(t);
  const service = await startUpstream(t, (call) => answerOk(call));
  writeFileSync(join(folder, 'policies.yaml'), echoPolicies({ endpoints: [service.address] }));
  // What Node gives a child as a pipe is a socket.
  const child: ChildProcess = spawn(outriderPath, ['sidecar'], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: environmentOf(folder, { ACCESS_LOG: 'stdout' }),
  });
  const exited = new Promise<number | null>((resolve) => child.once('exit', resolve));
  atEnd(t, async () => {
    child.kill('SIGKILL');
    await exited;
    child.stdout?.destroy();
    child.stderr?.destroy();
  });
  let said = '';
  const ready = await new Promise<Line>((resolve) => {
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      said += text;
      const line = /^\{.*"msg":"ready".*\}$/m.exec(said);
      if (line !== null) resolve(JSON.parse(line[0]) as Line);
    });
  });
  const client = new Caller(t, Number(ready['outbound']));
  await many(client, 3_000, { headers: { 'user-agent': 'u'.repeat(1_000) } });
  await ok(client);
  child.kill('SIGTERM');
  assert.equal(await exited, 0);
  assert.match(said, /lines of the access log were not written/);
});

test('a reader that goes away fails no call', async (t) => {
  const folder = folderOf(t);
  const { sidecar, client } = await start(t, folder, { ACCESS_LOG: 'stdout' }, '| head -n 1 > /dev/null');
  await ok(client, 5);
  await untilStat(sidecar, 'access_log.written', (written) => written > 0);
  await ok(client, 5);
  await untilStat(sidecar, 'access_log.write_failed', (failed) => failed > 0);
  await ok(client, 5);
  await fetch(`http://127.0.0.1:${sidecar.adminPort}/drain`, { method: 'POST' });
  await sidecar.ended();
});

test('a full disk fails no call, and is counted', async (t) => {
  const folder = folderOf(t);
  const { sidecar, client } = await start(t, folder, { ACCESS_LOG: '/dev/full' });
  await ok(client, 50);
  await untilStat(sidecar, 'access_log.write_failed', (failed) => failed > 0);
  await ok(client, 50);
  assert.equal(await sidecar.stat('access_log.written'), 0);
  assert.match(JSON.stringify(await sidecar.logged('access log cannot be written', 1)), /no space left/);
  await sidecar.stop();
});

test('a folder that is missing ends it at once with 2, and says what to do', async (t) => {
  const folder = folderOf(t);
  writeFileSync(join(folder, 'policies.yaml'), '');
  const { code, stderr } = await runProgram(outriderPath, ['sidecar'], {
    env: environmentOf(folder, { ACCESS_LOG: join(folder, 'missing', 'access.log') }),
  });
  assert.equal(code, 2, stderr);
  assert.match(stderr, /missing\/access\.log cannot be written: ENOENT[^\n]*/);
  assert.match(stderr, /make its folder, or name another file/);
});

test('a word that is neither a stream nor a path ends it at once with 2', async (t) => {
  const folder = folderOf(t);
  const { code, stderr } = await runProgram(outriderPath, ['sidecar'], { env: environmentOf(folder, { ACCESS_LOG: 'stdoud' }) });
  assert.equal(code, 2);
  assert.match(stderr, /ACCESS_LOG: "stdoud" is not allowed: expected stdout, stderr, off or the path of a file; write ACCESS_LOG=stdout/);
});
