import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { ConsulProcess } from '../peers/consul-process.ts';
import { peerProgram } from '../peers/peer-programs.ts';
import { assertNothingLeft, type Ended, runDemo } from './demo-process.ts';

const consul = await peerProgram('consul');

/** What the lines of a run said of the catalogue, one after another, repetitions left out. */
const catalogueOf = ({ out }: Ended): readonly string[] => {
  const told = Array.from(out.matchAll(/catalogue: (.*)$/gm), ([, text]) => text ?? '');
  return told.filter((text, i) => text !== told[i - 1]);
};

test('a killed service leaves the catalogue, and comes back', async (t) => {
  const ended = await runDemo(t, ['--for', '12s', '--plain', '--fault', 'kill:learner-svc@1s-4s']);
  assert.equal(ended.code, 0, ended.error + ended.out);
  const told = catalogueOf(ended);
  const left = told.indexOf('learner-svc critical');
  assert.ok(left >= 0, told.join('; '));
  assert.ok(told.indexOf('all passing', left) > left, told.join('; '));
  assert.match(ended.out, /no_endpoint \d/);
  assertNothingLeft(ended);
});

test('a consul on PATH is started for the demo, and ends with it', { skip: consul.skip }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'outrider-consul-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  symlinkSync(consul.path, join(folder, 'consul'));
  const ended = await runDemo(t, ['--for', '2s', '--plain'], undefined, { PATH: `${folder}:${process.env['PATH']}` });
  assert.equal(ended.code, 0, ended.error + ended.out);
  assert.match(ended.out, /^ {2}catalogue {12}consul of PATH at http:/m);
  assertNothingLeft(ended);
});

test('a consul that does not start is no reason to go without a demo', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'outrider-consul-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  symlinkSync('/bin/false', join(folder, 'consul'));
  const ended = await runDemo(t, ['--for', '1s', '--plain'], undefined, { PATH: `${folder}:${process.env['PATH']}` });
  assert.equal(ended.code, 0, ended.error + ended.out);
  assert.match(ended.out, /the consul of PATH ended with exit code 1/);
  assert.match(ended.out, /^ {2}catalogue {12}outrider registry at/m);
  assertNothingLeft(ended);
});

test('the Consul of CONSUL_HTTP_ADDR is used, and left as it was', { skip: consul.skip }, async (t) => {
  await using agent = await ConsulProcess.start({ path: consul.path });
  const foreign = ['--for', '7s', '--plain', '--fault', 'foreign:auth-svc@0.1s'];
  const ended = await runDemo(t, foreign, undefined, { CONSUL_HTTP_ADDR: agent.address });
  assert.equal(ended.code, 0, ended.error + ended.out);
  assert.match(ended.out, new RegExp(`^ {2}catalogue {12}Consul at http://${agent.address}$`, 'm'));
  assert.match(ended.out, /tls_(handshake_failed|peer_not_allowed) \d/);
  assert.deepEqual(await agent.ask('GET', '/agent/services'), {});
  assert.deepEqual(await agent.ask('GET', '/agent/checks'), {});
  assertNothingLeft(ended);
});

test('a Consul that does not answer is said, with what to do', async (t) => {
  const ended = await runDemo(t, ['--for', '1s'], undefined, { CONSUL_HTTP_ADDR: '127.0.0.1:1' });
  assert.equal(ended.code, 1);
  assert.match(ended.error, /Consul at http:\/\/127\.0\.0\.1:1 does not answer; unset CONSUL_HTTP_ADDR/);
  assertNothingLeft(ended);
});
