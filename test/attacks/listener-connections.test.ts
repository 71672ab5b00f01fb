import { test } from 'node:test';
import { checkLeaks } from '../harness/leak-check.ts';
import { families } from './catalogue/index.ts';
import { tryAttacks } from './listener-arena.ts';

checkLeaks();

test('connections at the outbound listener, in plain text', (t) => tryAttacks(t, families.connections, 'plain'));
test('connections at the inbound listener, behind mutual TLS', (t) => tryAttacks(t, families.connections, 'tls'));
