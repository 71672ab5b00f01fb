import assert from 'node:assert/strict';
import { test } from 'node:test';
import { settings } from '../../src/cli/settings.ts';

const parse = (text: string) => settings.accessLog.parse(text);

test('ACCESS_LOG is a stream, a path, or off', () => {
  for (const [text, value] of [
    ['stdout', 'stdout'],
    ['/dev/stdout', 'stdout'],
    ['/dev/stderr', 'stderr'],
    ['off', 'off'],
    ['OFF', 'off'],
    ['false', 'off'],
    ['/var/log/outrider/access.log', '/var/log/outrider/access.log'],
    ['./access.log', './access.log'],
    ['/dev/null', '/dev/null'],
  ] as const)
    assert.deepEqual(parse(text), { ok: true, value }, text);
});

test('a word that is none of them, and a folder, are refused with what to write', () => {
  for (const [text, write] of [
    ['sdtout', 'stdout'],
    ['STDERR', 'stderr'],
    ['yes', '/var/log/outrider/access.log'],
    ['/var/log/', '/var/log/outrider/access.log'],
  ] as const)
    assert.deepEqual(parse(text), { ok: false, allowed: 'stdout, stderr, off or the path of a file', write }, text);
});
