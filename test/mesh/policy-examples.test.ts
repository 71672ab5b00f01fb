/** The examples of docs/policies.md, each taken up by a sidecar that runs. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { reasons } from '../../src/core/index.ts';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { compileText, descriptorsOfExamples, wholeFile } from '../policy/document-frames.ts';
import { examplesOf, readPolicyDocument } from '../policy/policy-document.ts';
import { atEnd } from './at-end.ts';
import { startSidecar } from './mesh.ts';
import { answerOk, startUpstream } from './upstream.ts';

checkLeaks();

const document = readPolicyDocument();

/** Those that name nobody on a network whom a sidecar would ask: names to resolve, catalogues, endpoints to be checked. */
const local = examplesOf(document).filter((example) => {
  if (example.frame === 'service-config') return true;
  const { table } = compileText(example.frame, wholeFile(example));
  if (table === undefined) return false;
  return [...table.clusters.values()].every(
    ({ endpoints, healthCheck }) => (endpoints.kind === 'static' || endpoints.kind === 'unwritten') && healthCheck === undefined,
  );
});

test('each example is taken up by a sidecar at work, whose calls go on', async (t) => {
  const folder = temporaryFolder();
  atEnd(t, () => folder[Symbol.dispose]());
  const file = join(folder.path, 'policies.yaml');
  writeFileSync(file, 'routes: []\n');
  writeFileSync(join(folder.path, 'shop.binpb'), descriptorsOfExamples);
  const service = await startUpstream(t, (call) => answerOk(call));
  const outrider = await startSidecar(t, { localService: service.port, environment: { POLICY_PATH: folder.path } });
  const client = outrider.inboundCaller();
  const sorts = new Set<string>();
  for (const example of local) {
    const yaml = example.frame === 'service-config' ? '# None here.\n' : wholeFile(example);
    writeFileSync(file, yaml);
    writeFileSync(
      join(folder.path, 'shop.service-config.json'),
      example.frame === 'service-config' ? example.text : '{ "methodConfig": [] }',
    );
    const reload = await outrider.admin('POST', '/reload');
    const { table } = compileText(example.frame, wholeFile(example));
    assert.equal(reload.status, table === undefined ? 422 : 200, `docs/policies.md:${example.line}: ${reload.text}`);
    if (table === undefined) continue;
    sorts.add(example.frame);
    if (example.frame === 'file') assert.equal((await outrider.admin('GET', '/config_dump')).status, 200);
    const { reason, status } = await client.call({ path: '/shop.Catalog/Get' });
    // Examples of who may call deny this caller, who has no certificate.
    assert.ok(
      status === GrpcStatus.OK || reason === 'denied' || reason === 'unauthenticated',
      `docs/policies.md:${example.line}: ${reason}`,
    );
  }
  assert.deepEqual([...sorts].toSorted(), ['action', 'cluster', 'file', 'route', 'service-config']);
  assert.ok(local.length > 250, `${local.length} examples`);
});

/** One file with something of everything that counts. */
const everything = (address: string): string => `inbound: { routes: [{ name: all, match: { prefix: / }, route: { timeout: 5s } }] }
routes:
  - name: shop
    match: { prefix: /shop. }
    route:
      cluster: shop
      timeout: 5s
      metadata_match: { version: v1 }
      local_rate_limit: { stat_prefix: shop, token_bucket: { max_tokens: 100, fill_interval: 1s } }
      adaptive_concurrency:
        gradient_controller_config: { concurrency_limit_params: { concurrency_update_interval: 1s }, min_rtt_calc_params: { interval: 60s } }
clusters:
  shop:
    endpoints: [{ address: "${address}", metadata: { version: v1 } }]
    tls: { mode: disable }
    lb_subset_config: { subset_selectors: [{ keys: [version] }] }
    outlier_detection: { always_eject_one_host: true }
    health_checks: [{ tcp_health_check: {} }]
`;

test('every statistic and every reason that the document says a policy moves is there', async (t) => {
  const service = await startUpstream(t, (call) => answerOk(call));
  const outrider = await startSidecar(t, { policies: everything(service.address) });
  const { text } = await outrider.admin('GET', '/stats');
  const names = text.split('\n').map((line) => line.slice(0, line.lastIndexOf(': ')));
  const table = /^\| policy \| reason of a call[\s\S]*?\n\n/m.exec(document)?.[0] ?? assert.fail('the table is gone');
  const rows = table.trim().split('\n').slice(2);
  assert.ok(rows.length > 15);
  const ticked = (cell = ''): readonly string[] => [...cell.matchAll(/`([^`]+)`/g)].map(([, word = '']) => word);
  for (const row of rows) {
    const [, policy, reason, stats] = row.split('|');
    for (const word of ticked(reason)) assert.ok((reasons as readonly string[]).includes(word), `${policy}: no reason is called ${word}`);
    for (const name of ticked(stats)) {
      // `<name>` stands for any name; what begins in the middle ends a longer one.
      const pattern = new RegExp(`(^|\\.)${name.replaceAll('.', '\\.').replaceAll(/<\w+>/g, '.+')}$`);
      assert.ok(
        names.some((known) => pattern.test(known)),
        `${policy}: no statistic is called ${name}`,
      );
    }
  }
});
