import assert from 'node:assert/strict';
import { globSync } from 'node:fs';
import { test } from 'node:test';
import { deadLinks } from '../harness/dead-links.ts';

const root = new URL('../../', import.meta.url);

for (const file of globSync(['*.md', 'docs/*.md', 'deploy/**/*.md'], { cwd: root }).sort()) {
  test(`every link of ${file} leads somewhere`, () => {
    assert.deepEqual(deadLinks(file), []);
  });
}
