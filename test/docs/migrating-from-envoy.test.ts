// docs/migrating-from-envoy.md: its two configurations carry the same calls, and its steps do what it says, with a real Envoy.
import assert from 'node:assert/strict';
import { copyFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { checkLeaks } from '../harness/leak-check.ts';
import { outriderPath, runProgram } from '../harness/program.ts';
import { Caller } from '../mesh/caller.ts';
import { answerOk, answerTrailers, answerTrailersOnly, type Handler, startUpstream, type Upstream } from '../mesh/upstream.ts';
import { peerProgram } from '../peers/peer-programs.ts';
import { consoleSectionsOf, firstMissing } from './console-blocks.ts';
import { certificatesFor, filesOf, Place } from './migration-mesh.ts';

checkLeaks();

const document = readFileSync(new URL('../../docs/migrating-from-envoy.md', import.meta.url), 'utf8');
const files = filesOf(document);
const envoy = await peerProgram('envoy');
const grpcurl = await peerProgram('grpcurl');

const kinds = ['envoy', 'outrider'] as const;
const startCommands = { envoy: 'envoy -c envoy.yaml &', outrider: "env $(grep -v '^#' outrider.env) outrider sidecar &" };

/** Answers as the path asks it to; of health it knows nothing, and is well. */
const service: Handler = (call) => {
  const path = String(call.headers[':path']);
  if (path.startsWith('/grpc.health.')) answerTrailersOnly(call, 12);
  else if (call.headers['x-answer'] === 'not-found') answerTrailers(call, 5);
  else if (call.headers['x-answer'] === 'unavailable') answerTrailersOnly(call, 14, { 'grpc-message': 'not now' });
  else answerOk(call, '');
};

const callsOf = ({ received }: Upstream): number =>
  received.filter(({ headers }) => !String(headers[':path']).startsWith('/grpc.health.')).length;

interface Mesh {
  readonly auth: Place;
  readonly learner: Place;
  readonly learnerService: Upstream;
}

/** `auth-svc` and `learner-svc`, each with a place for a sidecar; nothing runs there yet. */
const createMesh = async (t: TestContext): Promise<Mesh> => {
  const identity = await certificatesFor(t, ['auth-svc', 'learner-svc']);
  const authService = await startUpstream(t, service);
  const learnerService = await startUpstream(t, service);
  const programs = { envoy: envoy.path, ...(grpcurl.skip === false ? { grpcurl: grpcurl.path } : {}) };
  const place = (name: string, servicePort: number, learnerPort: number) =>
    Place.create(t, files, programs, { name, identity: identity(name), servicePort, learnerPort });
  const learner = await place('learner-svc', learnerService.port, 9);
  const auth = await place('auth-svc', authService.port, learner.port(50051));
  const peer = identity('mesh-client');
  copyFileSync(peer.cert, join(auth.folder, 'peer.crt'));
  copyFileSync(peer.key, join(auth.folder, 'peer.key'));
  return { auth, learner, learnerService };
};

test('the files of the document are right, and nothing of ours is refused', { skip: envoy.skip }, async (t) => {
  assert.deepEqual([...files.keys()], ['envoy.yaml', 'outrider.env', 'policies.yaml']);
  const { auth } = await createMesh(t);
  await auth.run('envoy --mode validate -c envoy.yaml');
  assert.match(await auth.run('outrider policy check /etc/outrider/policies'), /^right: /m);
});

for (const caller of kinds) {
  for (const callee of kinds) {
    test(`the same calls from ${caller} to ${callee}`, { skip: envoy.skip }, async (t) => {
      const { auth, learner, learnerService } = await createMesh(t);
      await learner.run(startCommands[callee]);
      await auth.run(startCommands[caller]);
      const client = new Caller(t, auth.port(15001));
      const call = async (answer: string, path = '/learner.LearnerService/GetProfile') => {
        const before = callsOf(learnerService);
        const { status, message, http } = await client.call({ path, authority: 'learner-svc', headers: { 'x-answer': answer } });
        return { status, message, http, attempts: callsOf(learnerService) - before };
      };
      // Until Envoy has looked its endpoints up.
      for (let i = 0; i < 200 && (await call('ok', '/learner.LearnerService/WatchLessons')).status !== 0; i++)
        await new Promise((resolve) => setTimeout(resolve, 25));
      assert.deepEqual(await call('ok'), { status: 0, message: '', http: 200, attempts: 1 });
      assert.deepEqual(await call('not-found'), { status: 5, message: '', http: 200, attempts: 1 });
      assert.deepEqual(await call('unavailable'), { status: 14, message: 'not now', http: 200, attempts: 4 });
      // No retry policy there.
      assert.deepEqual(await call('unavailable', '/learner.LearnerService/WatchLessons'), {
        status: 14,
        message: 'not now',
        http: 200,
        attempts: 1,
      });
    });
  }
}

test('an Envoy that calls is refused where TLS_MINIMUM=1.2 is missing, and counted', { skip: envoy.skip }, async (t) => {
  const { auth, learner } = await createMesh(t);
  const file = join(learner.folder, 'outrider.env');
  writeFileSync(file, readFileSync(file, 'utf8').replace(/^TLS_MINIMUM=.*$/m, ''));
  await learner.run(startCommands.outrider);
  await auth.run(startCommands.envoy);
  const client = new Caller(t, auth.port(15001));
  const { status } = await client.call({ path: '/learner.LearnerService/WatchLessons', authority: 'learner-svc' });
  assert.equal(status, 14);
  const stats = await learner.run("curl -sS '127.0.0.1:9901/stats?filter=listener.inbound.ssl'");
  assert.match(stats, /^listener\.inbound\.ssl\.protocol_version: [1-9]/m);
});

test('the steps do what the document says, to Outrider and back', { skip: envoy.skip || grpcurl.skip }, async (t) => {
  const { auth, learner } = await createMesh(t);
  await learner.run(startCommands.envoy);
  await auth.run(startCommands.envoy);
  const sections = consoleSectionsOf(document);
  assert.deepEqual(
    sections.map(({ title }) => title),
    ['One service, step by step', 'Going back'],
  );
  for (const { command, output, line } of sections.flatMap(({ steps }) => steps)) {
    // Whoever has been told to end ends before the next one takes its ports.
    if (command.endsWith(' &') && !command.includes('50061')) await auth.ended();
    const deadline = performance.now() + 15_000;
    for (;;) {
      const said = await auth.run(command).catch((error: Error) => error);
      const missing = said instanceof Error ? said.message : firstMissing(output, said);
      if (missing === undefined) break;
      assert.ok(
        performance.now() < deadline,
        `docs/migrating-from-envoy.md:${line}: $ ${command}\nsays nothing like\n${missing}\nbut\n${said}`,
      );
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
});

test('what the document calls by name is there', async () => {
  const { stdout: help } = await runProgram(outriderPath, ['sidecar', '--help']);
  const theirs = ['STRICT_DNS', 'LOGICAL_DNS'];
  for (const [, name = ''] of document.matchAll(/`([A-Z][A-Z0-9]*_[A-Z0-9_]+)(?:=\S*)?`/g))
    assert.ok(theirs.includes(name) || help.includes(`\n  ${name} `), name);
  const documents = new URL('../../docs/', import.meta.url);
  for (const [, file = ''] of document.matchAll(/\]\(([^)#]+)/g)) assert.ok(existsSync(new URL(file, documents)), file);
});
