import { test } from 'node:test';
import { checkLeaks } from '../harness/leak-check.ts';
import { families } from './catalogue/index.ts';
import { tryAttacks } from './listener-arena.ts';

checkLeaks();

test('flow control at the outbound listener, in plain text', (t) => tryAttacks(t, families.flowControl, 'plain'));
test('flow control at the inbound listener, behind mutual TLS', (t) => tryAttacks(t, families.flowControl, 'tls'));
