import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkLeaks } from '../harness/leak-check.ts';
import { type EchoOptions, throughOne } from './mesh.ts';
import { answerOk, answerTrailersOnly, closedPort } from './upstream.ts';

checkLeaks();

const callerTrace = '4bf92f3577b34da6a3ce929d0e0e4736';
const sampled = { traceparent: `00-${callerTrace}-00f067aa0ba902b7-01` };
const unsampled = { traceparent: `00-${callerTrace}-00f067aa0ba902b7-00` };

/** The trace ids of `/metrics` after calls with these headers; the one with `fails` fails. */
const exemplarsAfter = async (t: Parameters<typeof throughOne>[0], calls: readonly Record<string, string>[], options: EchoOptions) => {
  const { client, outrider } = await throughOne(
    t,
    (call) => (call.headers['fails'] === undefined ? answerOk(call, 'four') : answerTrailersOnly(call, 13)),
    options,
  );
  for (const headers of calls) await client.call({ headers });
  const { text } = await outrider.admin('GET', '/metrics?format=openmetrics');
  return [...text.matchAll(/# \{trace_id="([0-9a-f]{32})"\}/g)].map(([, id]) => id);
};

const tracing = async (more: Record<string, string>): Promise<EchoOptions> => ({
  environment: {
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `http://127.0.0.1:${await closedPort()}/v1/traces`,
    OTEL_BSP_EXPORT_TIMEOUT: '100',
    ...more,
  },
});

test('where there are traces, an exemplar is the trace of a call that is recorded', async (t) => {
  const ids = await exemplarsAfter(t, [{}], await tracing({ OTEL_TRACES_SAMPLER: 'always_on' }));
  assert.equal(ids.length, 1);
  assert.notEqual(ids[0], '0'.repeat(32));
});

test('a call that fails and is kept for that has one as well, and one that is not recorded has none', async (t) => {
  const options = await tracing({ OTEL_TRACES_SAMPLER: 'always_off' });
  assert.deepEqual(await exemplarsAfter(t, [unsampled], options), []);
  assert.deepEqual(await exemplarsAfter(t, [{ ...unsampled, fails: '1' }], options), [callerTrace]);
});

test('without traces of our own the caller says which calls are sampled, where METRICS_EXEMPLARS is on', async (t) => {
  const on = { environment: { METRICS_EXEMPLARS: 'on' } };
  assert.deepEqual(await exemplarsAfter(t, [sampled], on), [callerTrace]);
  assert.deepEqual(await exemplarsAfter(t, [unsampled, {}], on), []);
  assert.deepEqual(await exemplarsAfter(t, [sampled], {}), []);
});

test('METRICS_EXEMPLARS=off keeps none, whatever is recorded', async (t) => {
  const options = await tracing({ OTEL_TRACES_SAMPLER: 'always_on', METRICS_EXEMPLARS: 'off' });
  assert.deepEqual(await exemplarsAfter(t, [{}], options), []);
});
