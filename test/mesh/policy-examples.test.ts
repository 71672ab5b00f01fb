/** The examples of docs/policies.md, each taken up by a sidecar that runs. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
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
    assert.equal((await client.call({ path: '/shop.Catalog/Get' })).status, GrpcStatus.OK, `docs/policies.md:${example.line}`);
  }
  assert.deepEqual([...sorts].toSorted(), ['action', 'cluster', 'file', 'route', 'service-config']);
  assert.ok(local.length > 250, `${local.length} examples`);
});
