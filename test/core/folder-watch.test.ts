import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { FolderWatch, SystemClock, VirtualClock } from '../../src/core/index.ts';

/** A folder of its own, a watch on virtual time (so that only the poll is at work unless an event is awaited), and a count of changes. */
const watching = (prepare: (folder: string) => string[]) => {
  const folder = mkdtempSync(join(tmpdir(), 'folder-watch-'));
  const clock = new VirtualClock();
  const seen = { changes: 0 };
  const watch = new FolderWatch(prepare(folder), clock, () => seen.changes++);
  /** Whether anything was reported since the last call: one poll and one debounce later. */
  const changed = (): boolean => {
    const before = seen.changes;
    clock.advance(1_100);
    return seen.changes > before;
  };
  const end = () => {
    watch.close();
    assert.equal(clock.pending, 0);
    rmSync(folder, { recursive: true });
  };
  return { folder, changed, end };
};

test('a file that is written, replaced by a rename, deleted and made anew is seen each time', () => {
  const { folder, changed, end } = watching((folder) => {
    writeFileSync(join(folder, 'a.yaml'), 'one');
    return [join(folder, 'a.yaml')];
  });
  assert.equal(changed(), false);
  writeFileSync(join(folder, 'a.yaml'), 'longer');
  assert.equal(changed(), true);
  assert.equal(changed(), false);
  writeFileSync(join(folder, '.a.yaml.swp'), 'tmpfile');
  renameSync(join(folder, '.a.yaml.swp'), join(folder, 'a.yaml'));
  assert.equal(changed(), true);
  rmSync(join(folder, 'a.yaml'));
  assert.equal(changed(), true);
  assert.equal(changed(), false);
  writeFileSync(join(folder, 'a.yaml'), 'back');
  assert.equal(changed(), true);
  end();
});

test('the entries of a folder count, and so does the folder itself when it comes, goes and comes again', () => {
  const { folder, changed, end } = watching((folder) => [join(folder, 'policies')]);
  const policies = join(folder, 'policies');
  assert.equal(changed(), false);
  mkdirSync(policies);
  assert.equal(changed(), true);
  writeFileSync(join(policies, 'a.yaml'), 'routes: []');
  assert.equal(changed(), true);
  utimesSync(join(policies, 'a.yaml'), 1, 1);
  assert.equal(changed(), true);
  rmSync(policies, { recursive: true });
  assert.equal(changed(), true);
  mkdirSync(policies);
  writeFileSync(join(policies, 'a.yaml'), 'routes: []');
  assert.equal(changed(), true);
  assert.equal(changed(), false);
  end();
});

test('a swap of the ..data link, as Kubernetes makes it, is seen', () => {
  const { folder, changed, end } = watching((folder) => {
    mkdirSync(join(folder, '..1'));
    writeFileSync(join(folder, '..1', 'tls.crt'), 'one');
    symlinkSync('..1', join(folder, '..data'));
    symlinkSync('..data/tls.crt', join(folder, 'tls.crt'));
    return [join(folder, 'tls.crt')];
  });
  assert.equal(changed(), false);
  mkdirSync(join(folder, '..2'));
  writeFileSync(join(folder, '..2', 'tls.crt'), 'two');
  symlinkSync('..2', join(folder, '..data_tmp'));
  renameSync(join(folder, '..data_tmp'), join(folder, '..data'));
  rmSync(join(folder, '..1'), { recursive: true });
  assert.equal(changed(), true);
  assert.equal(changed(), false);
  end();
});

test('a burst of changes is reported once, and nothing after close', () => {
  const folder = mkdtempSync(join(tmpdir(), 'folder-watch-'));
  const clock = new VirtualClock();
  let changes = 0;
  const watch = new FolderWatch([folder], clock, () => changes++);
  for (let i = 0; i < 20; i++) writeFileSync(join(folder, `${i}.yaml`), 'x');
  clock.advance(1_100);
  assert.equal(changes, 1);
  writeFileSync(join(folder, 'late.yaml'), 'x');
  clock.advance(920);
  watch.close();
  watch.close();
  clock.advance(10_000);
  assert.equal(changes, 1);
  rmSync(folder, { recursive: true });
});

test('on the real clock a change is reported without anybody waiting for it', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'folder-watch-'));
  const changed = Promise.withResolvers<void>();
  const watch = new FolderWatch([folder], new SystemClock(), changed.resolve);
  const alive = setInterval(() => {}, 1_000);
  writeFileSync(join(folder, 'a.yaml'), 'x');
  await changed.promise;
  clearInterval(alive);
  watch.close();
  rmSync(folder, { recursive: true });
});
