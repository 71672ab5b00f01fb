import { test } from 'node:test';
import { checkLeaks } from '../harness/leak-check.ts';
import { families } from './catalogue/index.ts';
import { tryAttacks } from './listener-arena.ts';

checkLeaks();

test('floods of control frames at the outbound listener, in plain text', (t) => tryAttacks(t, families.controlFrames, 'plain'));
test('floods of control frames at the inbound listener, behind mutual TLS', (t) => tryAttacks(t, families.controlFrames, 'tls'));
