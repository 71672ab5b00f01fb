import { test } from 'node:test';
import { checkLeaks } from '../harness/leak-check.ts';
import { families } from './catalogue/index.ts';
import { tryAttacks } from './listener-arena.ts';

checkLeaks();

test('peers who take their time at the outbound listener, in plain text', (t) => tryAttacks(t, families.slow, 'plain'));
test('peers who take their time at the inbound listener, behind mutual TLS', (t) => tryAttacks(t, families.slow, 'tls'));
