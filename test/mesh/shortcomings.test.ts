import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { checkLeaks } from '../harness/leak-check.ts';
import { freePort } from '../harness/ports.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { echoPolicies, MeshCertificates, startSidecar, type TestSidecar } from './mesh.ts';

checkLeaks();

/** Polls `/ready` until it says so; fails with what it said last. A sidecar with shortcomings is ready all the while. */
const says = async (sidecar: TestSidecar, pattern: RegExp): Promise<void> => {
  const deadline = performance.now() + 20_000;
  for (;;) {
    const { status, text } = await sidecar.admin('GET', '/ready');
    assert.equal(status, 200, text);
    assert.match(text, /^[^\n]+\n$/, 'one line, which a health check shows');
    if (pattern.test(text)) return;
    assert.ok(performance.now() < deadline, `${text} is not ${pattern}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
};
const warned = (sidecar: TestSidecar, msg: string) => sidecar.log.filter((line) => line['level'] === 'warning' && line['msg'] === msg);

test('where everything is as it was meant to be /ready is one word', async (t) => {
  const certificates = await MeshCertificates.create(t);
  const policies = echoPolicies({ endpoints: ['127.0.0.1:9'] });
  const sidecar = await startSidecar(t, { name: 'auth-svc', certificates: await certificates.issue('auth-svc'), policies });
  await says(sidecar, /^LIVE\n$/);
  assert.deepEqual(warned(sidecar, 'certificate'), []);
});

test('the certificate of another service, and one of another authority: the log and /ready say what is wrong and what helps', async (t) => {
  const certificates = await MeshCertificates.create(t);
  const foreign = await MeshCertificates.create(t);
  const own = await certificates.issue('auth-svc');
  const misnamed = await startSidecar(t, { name: 'auth-svc', certificates: await certificates.issue('learner-svc') });
  await says(
    misnamed,
    /^LIVE, but our certificate is for learner-svc, [^;]*, not for auth-svc; issue one for auth-svc \("outrider certs issue auth-svc"\)\n$/,
  );
  assert.equal(warned(misnamed, 'certificate')[0]?.['remedy'], 'issue one for auth-svc ("outrider certs issue auth-svc")');
  const { CA_CERT_PATH = '' } = await foreign.issue('auth-svc');
  const untrusted = await startSidecar(t, { name: 'auth-svc', certificates: { ...own, CA_CERT_PATH } });
  await says(
    untrusted,
    /^LIVE, but our certificate was signed by another authority of the name mesh\.local root; compare the CA_CERT_PATH of both/,
  );
});

test('a folder of policies that is empty, and a change that was refused', async (t) => {
  using folder = temporaryFolder();
  const empty = await startSidecar(t, { environment: { POLICY_PATH: folder.path } });
  await says(empty, /^LIVE, but \S+: warning: .*\n$/);
  const policies = echoPolicies({ endpoints: ['127.0.0.1:9'] });
  const sidecar = await startSidecar(t, { policies });
  writeFileSync(sidecar.policyFile, policies.replace('routes:', 'routs:'));
  await says(sidecar, /^LIVE, but policies not reloaded, the last good ones stay: \S+policies\.yaml:1:1: .*did you mean routes/);
  writeFileSync(sidecar.policyFile, policies.replace('echo-route', 'echo-anew'));
  await says(sidecar, /^LIVE\n$/);
});

test('a Consul that is not there: the log and /ready name its address and the setting', async (t) => {
  const port = await freePort();
  const environment = { CONSUL_HTTP_ADDR: `127.0.0.1:${port}`, SERVICE_ADDRESS: '127.0.0.1' };
  const sidecar = await startSidecar(t, { name: 'auth-svc', environment });
  await says(
    sidecar,
    new RegExp(`^LIVE, but not registered: Consul at http://127\\.0\\.0\\.1:${port} cannot be reached.*; .*CONSUL_HTTP_ADDR\\n$`),
  );
  assert.match(String(warned(sidecar, 'not registered, trying again')[0]?.['remedy']), /correct CONSUL_HTTP_ADDR$/);
});

test('hosts of Jaeger and StatsD that do not resolve are told before the first call, with their settings', async (t) => {
  const environment = { JAEGER_HOST: 'jaeger.nowhere.invalid', METRICS_HOST: 'statsd.nowhere.invalid', METRICS_FLUSH_INTERVAL: '1s' };
  const sidecar = await startSidecar(t, { environment });
  await says(sidecar, /spans could not be sent to udp:\/\/jaeger\.nowhere\.invalid:6832: [^;]+; [^.]*correct JAEGER_HOST/);
  await says(sidecar, /METRICS_HOST cannot be found \(statsd\.nowhere\.invalid:8125\): [^;]+; .*correct METRICS_HOST/);
  assert.equal(warned(sidecar, 'spans could not be sent, and are lost until they can; calls go on').length, 1);
});
