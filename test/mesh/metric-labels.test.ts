import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkLeaks } from '../harness/leak-check.ts';
import { parseExposition } from '../telemetry/exposition-syntax.ts';
import { throughOne } from './mesh.ts';
import { answerOk } from './upstream.ts';

checkLeaks();

test('paths and names that callers make up become no labels', async (t) => {
  const { client, outrider } = await throughOne(t, (call) => answerOk(call, 'four'));
  const scrape = async () => (await outrider.admin('GET', '/metrics')).text;
  await client.call({ path: '/acme.Echo/Say' });
  await client.call({ path: '/made.up/Path', authority: 'made-up' });
  const before = await scrape();
  for (let i = 0; i < 300; i++) {
    await client.call({ path: `/acme.MadeUp${i}/Say` });
    await client.call({ path: `/made.up${i}/Path`, authority: `made-up-${i}` });
  }
  const after = await scrape();
  const names = (text: string) => parseExposition(text).map(({ labels, name }) => JSON.stringify([name, labels]));
  assert.deepEqual(names(after), names(before));
  const methods = new Set(parseExposition(after).flatMap(({ labels }) => labels['method'] ?? []));
  assert.deepEqual([...methods].sort(), ['/acme.', 'other']);
});
