/** Patterns of `policies/` at work: what is written down of calls. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { atEnd } from './at-end.ts';
import { startPattern } from './pattern.ts';
import { answerOk, answerTrailersOnly, until } from './upstream.ts';

checkLeaks();

test('access-log: every failed call has a line, of the others one in a hundred', async (t) => {
  const folder = temporaryFolder();
  atEnd(t, () => folder[Symbol.dispose]());
  const [path, other] = [join(folder.path, 'outbound.log'), join(folder.path, 'inbound.log')];
  const linesOf = (file: string) => {
    const text = readFileSync(file, 'utf8');
    return text
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  };
  let drawn = 0.5;
  const { client, moved, outrider, policies, rewrite } = await startPattern(t, 'access-log.yaml', {
    services: { cart: [(call, index) => (index === 7 ? answerTrailersOnly(call, GrpcStatus.NOT_FOUND) : answerOk(call))] },
    local: (call) => answerTrailersOnly(call, GrpcStatus.UNAVAILABLE),
    environment: { ACCESS_LOG: path },
    random: () => drawn,
  });
  for (let i = 0; i < 20; i++) {
    drawn = i === 3 ? 0.009 : 0.5;
    await client.call({ path: '/shop.Cart/Get' });
  }
  await client.call({ path: '/none.S/M', authority: 'nobody.example' });
  await until(() => outrider.stat('access_log.written') === 3, 'three lines');
  assert.deepEqual(
    linesOf(path).map(({ fate, response_flags: flags }) => [fate, flags]),
    [
      ['ok', '-'],
      ['app_error', '-'],
      ['no_route', 'NR'],
    ],
  );
  await moved();
  // The snippet of an Envoy, into a file in the place of standard output.
  await rewrite(policies.replace('/dev/stdout', other));
  const inbound = outrider.inboundCaller();
  await inbound.call({ path: '/grpc.health.v1.Health/Check' });
  await inbound.call({ path: '/acme.Echo/Call', headers: { 'x-request-id': '000000c8-0000-4000-8000-000000000000' } });
  await inbound.call({ path: '/acme.Echo/Call', headers: { 'x-request-id': '000000c9-0000-4000-8000-000000000000' } });
  await until(() => outrider.stat('access_log.written') === 4, 'a line of the inbound call');
  const [line] = linesOf(other);
  assert.match(String(line?.['x_request_id']), /^000000c8/);
  assert.deepEqual([line?.['grpc_status'], line?.['path']], [GrpcStatus.UNAVAILABLE, '/acme.Echo/Call']);
});
