import { test } from 'node:test';
import { checkLeaks } from '../harness/leak-check.ts';
import { families } from './catalogue/index.ts';
import { tryAttacks } from './listener-arena.ts';

checkLeaks();

test('streams that are reset at the outbound listener, in plain text', (t) => tryAttacks(t, families.resets, 'plain'));
test('streams that are reset at the inbound listener, behind mutual TLS', (t) => tryAttacks(t, families.resets, 'tls'));
