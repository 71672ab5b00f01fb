import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, describe, test } from 'node:test';
import { checkLeaks } from '../harness/leak-check.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { initCertificates } from '../peers/sidecar-processes.ts';
import { type ConsoleStep, consoleSectionsOf, firstMissing } from './console-blocks.ts';
import { IncidentMesh } from './incident-mesh.ts';
import { incidents, skips } from './incidents.ts';

// docs/operating.md, read and executed: each of its commands prints what the document shows.

const document = readFileSync(new URL('../../docs/operating.md', import.meta.url), 'utf8');
const sections = consoleSectionsOf(document);
const certificates = temporaryFolder();
// Before the check for what is left over, which looks after it.
after(() => certificates[Symbol.dispose]());
checkLeaks();
await initCertificates(certificates.path, ['auth-svc', 'learner-svc', 'event-collector-svc']);

const patienceMs = 30_000;

/** What is on its way (a reload, a gauge) may arrive a little later: the command is run again. */
const runStep = async (mesh: IncidentMesh, { command, output, line }: ConsoleStep): Promise<void> => {
  const deadline = performance.now() + patienceMs;
  for (;;) {
    const said = await mesh.run(command);
    const missing = firstMissing(output, said);
    if (missing === undefined) return;
    assert.ok(performance.now() < deadline, `docs/operating.md:${line}: $ ${command}\nsays nothing like\n${missing}\nbut\n${said}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
};

test('every section with commands has an incident, and every incident a section', () => {
  assert.deepEqual(sections.map(({ title }) => title).sort(), Object.keys(incidents).sort());
});

// Most of the time goes into starting programs: some incidents beside one another.
describe('docs/operating.md', { concurrency: 4 }, () => {
  for (const { title, steps } of sections) {
    const incident = incidents[title];
    if (incident === undefined) continue;
    test(title, { skip: skips[title] ?? false }, async () => {
      await using mesh = new IncidentMesh(certificates.path);
      await incident(mesh);
      for (const step of steps) await runStep(mesh, step);
    });
  }
});

test('a documented line stands for numbers, blanks and what is left out, and a count of zero for zero alone', () => {
  assert.equal(firstMissing(['a.b: 3', 'c   OPEN  …'], 'x\na.b: 17\nc OPEN 127.0.0.1:5\n'), undefined);
  assert.equal(firstMissing(['a.b: 3'], 'a.b: 0\n'), 'a.b: 3');
  assert.equal(firstMissing(['a.b: 0'], 'a.b: 4\n'), 'a.b: 0');
  assert.equal(firstMissing(['second', 'first'], 'first\nsecond\n'), 'first');
});
