import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { checkLeaks } from '../harness/leak-check.ts';
import { ConsulMesh, clusterStat, registrationOf } from '../mesh/consul-mesh.ts';
import { answerOk, type ReceivedCall, until } from '../mesh/upstream.ts';
import { agentKinds } from '../registry/catalogue-agents.ts';
import { ask } from '../registry/consul-api-suite.ts';
import { browserProgram, openPage } from './browser.ts';

checkLeaks();

const contrast = readFileSync(join(import.meta.dirname, 'contrast.js'), 'utf8');

for (const [i, kind] of agentKinds.entries()) {
  test(`${kind.name}: where endpoints come from, which of them drains, and why instances are not listed any more`, {
    skip: browserProgram.skip || kind.skip,
  }, async (t) => {
    await using agent = await kind.start();
    const mesh = await ConsulMesh.start(t, agent);
    const held: ReceivedCall[] = [];
    const instances = [
      await mesh.instance('learner-svc'),
      await mesh.instance('learner-svc', (call) => void held.push(call)),
      await mesh.instance('learner-svc'),
    ];
    const [stays, maintained, ill] = instances.map(({ id }) => id);
    for (const instance of instances) {
      const Check = { CheckID: `check-${instance.id}`, Name: 'disk', TTL: '60s', Status: 'passing' };
      await ask(agent, 'PUT', '/agent/service/register', registrationOf(instance, { Check }));
    }
    const client = mesh.caller.caller();
    const calls: Promise<unknown>[] = [client.call({ authority: 'learner-svc' })];
    await until(() => clusterStat(mesh.caller, 'learner-svc', 'membership_total') === 3, 'three endpoints');
    for (let more = 0; more < 6; more++) calls.push(client.call({ authority: 'learner-svc' }));
    await until(() => held.length > 0, 'a call that lasts');
    const { page, close, complaints } = await openPage(`http://127.0.0.1:${mesh.caller.adminPort}/`, {
      viewport: { width: i === 0 ? 390 : 1280, height: 900 },
      colorScheme: i === 0 ? 'dark' : 'light',
    });
    try {
      await page.locator('#cluster-learner-svc .toggle').press('Enter');
      const inner = page.locator('#cluster-learner-svc-endpoints');
      await inner
        .getByText(/^Endpoints from Consul \(consul:learner-svc\), called by name, last answer \d\d:\d\d:\d\d\.\s+Confirmed\./)
        .waitFor();
      await inner.getByText('No instance has left the list of late.').waitFor();
      await inner.getByText('gets calls', { exact: true }).nth(2).waitFor();
      await inner.getByText(new RegExp(`^${stays} · from Consul since \\d\\d:\\d\\d:\\d\\d$`)).waitFor();
      const output = '<img/src=x/onerror=window.broken=1> is full';
      await ask(agent, 'PUT', `/agent/check/update/check-${ill}`, { Status: 'critical', Output: output });
      await ask(agent, 'PUT', `/agent/service/maintenance/${maintained}?enable=true&reason=new%20disk`);
      const left = inner.getByRole('table', { name: 'Not listed any more' });
      const rowOf = (id: string | undefined) => left.getByRole('row').filter({ has: page.getByText(id ?? '', { exact: true }) });
      await rowOf(ill).getByText(`critical: check "disk" says: ${output}`).waitFor();
      await rowOf(maintained).getByText('in maintenance: new disk', { exact: true }).waitFor();
      await inner
        .getByText(/^no new calls: not listed since \d\d:\d\d:\d\d \(in maintenance: new disk\); finishes what is under way$/)
        .waitFor();
      await inner.getByText('draining', { exact: true }).waitFor();
      await page.locator('#cluster-learner-svc').getByText('1 of 1', { exact: true }).waitFor();
      assert.equal(await page.evaluate('window.broken'), undefined);
      assert.equal(await inner.locator('img').count(), 0);
      const wide = await page.evaluate<number>('document.documentElement.scrollWidth - document.documentElement.clientWidth');
      assert.ok(wide <= 0, `the page scrolls sideways by ${wide} pixels`);
      assert.deepEqual((await page.evaluate<{ found: string[] }>(contrast)).found, []);
      if (process.env['SCREENSHOTS'] !== undefined)
        await page.locator('#clusters').screenshot({ path: join(process.env['SCREENSHOTS'], `endpoints-${i}.png`) });
      for (const call of held) answerOk(call);
      await Promise.all(calls);
      await inner.getByText('draining', { exact: true }).waitFor({ state: 'detached' });
      await agent.kill();
      await inner.getByText(/Not confirmed for \d+ s\.\s+Last error: .*cannot be reached/).waitFor();
      assert.deepEqual(complaints, []);
    } finally {
      await close();
    }
  });
}
