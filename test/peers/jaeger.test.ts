import assert from 'node:assert/strict';
import { after, type TestContext, test } from 'node:test';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import type { Caller } from '../mesh/caller.ts';
import { MeshCertificates, startSidecar, type TestSidecar } from '../mesh/mesh.ts';
import { answerOk, answerTrailersOnly, type Handler, startUpstream } from '../mesh/upstream.ts';
import { JaegerProcess, type JaegerSpan, type JaegerTrace } from './jaeger-process.ts';
import { peerProgram } from './peer-programs.ts';

const program = await peerProgram('jaeger');
let started: Promise<JaegerProcess> | undefined;
/** One for all tests: traces have ids. */
const jaegerOfAll = (): Promise<JaegerProcess> => {
  started ??= JaegerProcess.start(program.path);
  return started;
};
after(async () => {
  await (await started)?.[Symbol.asyncDispose]();
});
// After that one.
checkLeaks();

const traceOf = (i: number): string => (0xabc000 + i).toString(16).padStart(32, '0');
const callerSpan = '00f067aa0ba902b7';

const policiesFor = (endpoint: string): string => `routes:
  - name: next
    match: { prefix: / }
    route:
      cluster: next
      timeout: 20s
      idempotent: true
      retry_policy: { retry_on: unavailable, num_retries: 2, retry_back_off: { base_interval: 1ms } }
clusters:
  next: { endpoints: ["${endpoint}"] }
`;

interface Chain {
  readonly client: Caller;
  readonly sidecars: readonly TestSidecar[];
}

/**
 * A client, its sidecar, the sidecar of a first service over mutual TLS, that service, which calls on through its own sidecar with the
 * trace that it got, and a second service behind a third sidecar.
 */
const startChain = async (t: TestContext, environment: Readonly<Record<string, string>>, answer: Handler): Promise<Chain> => {
  const certificates = await MeshCertificates.create(t);
  const common = { environment: { OTEL_BSP_SCHEDULE_DELAY: '20', ...environment } };
  const last = await startUpstream(t, answer);
  const learner = await startSidecar(t, {
    ...common,
    name: 'learner-svc',
    localService: last.port,
    certificates: await certificates.issue('next'),
  });
  let onward: Caller | undefined;
  const first = await startUpstream(t, (call) => {
    const traceparent = call.headers['traceparent'] as string;
    void (onward as Caller)
      .call({ headers: { traceparent } })
      .then(({ status }) => (status === GrpcStatus.OK ? answerOk(call) : answerTrailersOnly(call, status)));
  });
  const auth = await startSidecar(t, {
    ...common,
    name: 'auth-svc',
    localService: first.port,
    certificates: await certificates.issue('next'),
    policies: policiesFor(`127.0.0.1:${learner.inboundPort}`),
  });
  onward = auth.caller();
  const entrance = await startSidecar(t, {
    ...common,
    name: 'gateway',
    certificates: await certificates.issue('gateway'),
    policies: policiesFor(`127.0.0.1:${auth.inboundPort}`),
  });
  return { client: entrance.caller(), sidecars: [entrance, auth, learner] };
};

const tag = (span: JaegerSpan, key: string): unknown => span.tags.find((each) => each.key === key)?.value;

/** The tree below `parent`, one line a span: who says it, what it is, its name. */
const treeOf = (trace: JaegerTrace, parent: string, depth = 0): readonly string[] =>
  trace.spans
    .filter(({ references }) => references[0]?.spanID === parent)
    .toSorted((a, b) => a.startTime - b.startTime || Number(tag(a, 'outrider.attempt') ?? 0) - Number(tag(b, 'outrider.attempt') ?? 0))
    .flatMap((span) => [
      `${'  '.repeat(depth)}${trace.processes[span.processID]?.serviceName} ${tag(span, 'span.kind')} ${span.operationName}`,
      ...treeOf(trace, span.spanID, depth + 1),
    ]);

const wholeTree = `
gateway client acme.Echo/Call
  gateway client Attempt.acme.Echo/Call
    auth-svc server acme.Echo/Call
      auth-svc client acme.Echo/Call
        auth-svc client Attempt.acme.Echo/Call
          learner-svc server acme.Echo/Call`
  .trim()
  .split('\n');

type EnvironmentOf = (jaeger: JaegerProcess) => Readonly<Record<string, string>>;

const ways: Readonly<Record<string, EnvironmentOf>> = {
  'by UDP to JAEGER_HOST': ({ ports }) => ({ JAEGER_HOST: '127.0.0.1', OTEL_EXPORTER_JAEGER_AGENT_PORT: String(ports.binary) }),
  'by HTTP to its collector': ({ ports }) => ({ OTEL_EXPORTER_JAEGER_ENDPOINT: `http://127.0.0.1:${ports.collectorHttp}/api/traces` }),
  'by OTLP over gRPC': ({ ports }) => ({
    OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${ports.otlpGrpc}`,
    OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc',
  }),
  'by OTLP over HTTP, compressed': ({ ports }) => ({
    OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${ports.otlpHttp}`,
    OTEL_EXPORTER_OTLP_COMPRESSION: 'gzip',
  }),
};

for (const [i, [way, environmentOf]] of Object.entries(ways).entries()) {
  test(`one call through three sidecars is one trace in Jaeger, ${way}`, { skip: program.skip }, async (t) => {
    const jaeger = await jaegerOfAll();
    const { client, sidecars } = await startChain(t, environmentOf(jaeger), (call) => answerOk(call));
    const traceparent = `00-${traceOf(i)}-${callerSpan}-01`;
    assert.equal((await client.call({ headers: { traceparent } })).status, GrpcStatus.OK);
    const trace = await jaeger.trace(traceOf(i), wholeTree.length);
    assert.deepEqual(treeOf(trace, callerSpan), wholeTree);
    const server = trace.spans.find((span) => trace.processes[span.processID]?.serviceName === 'learner-svc') as JaegerSpan;
    assert.equal(tag(server, 'rpc.method'), 'acme.Echo/Call');
    assert.equal(tag(server, 'rpc.status_code'), 'OK');
    assert.equal(tag(server, 'outrider.fate'), 'ok');
    for (const sidecar of sidecars) assert.equal(sidecar.stat('tracing.spans_failed'), 0, sidecar.name);
  });
}

test('a call that fails is in Jaeger with its attempts and why, though nobody wanted it recorded', { skip: program.skip }, async (t) => {
  const jaeger = await jaegerOfAll();
  const environment = { JAEGER_HOST: '127.0.0.1', OTEL_EXPORTER_JAEGER_AGENT_PORT: String(jaeger.ports.binary) };
  const { client } = await startChain(t, environment, (call) => answerTrailersOnly(call, GrpcStatus.UNAVAILABLE));
  const id = traceOf(100);
  await client.call({ headers: { traceparent: `00-${id}-${callerSpan}-00` } });
  // Retries happen on the last hop alone: two spans of the entrance, two and three attempts of the middle, three of the last.
  const trace = await jaeger.trace(id, 10);
  assert.deepEqual(treeOf(trace, callerSpan), [
    'gateway client acme.Echo/Call',
    '  gateway client Attempt.acme.Echo/Call',
    '    auth-svc server acme.Echo/Call',
    '      auth-svc client acme.Echo/Call',
    '        auth-svc client Attempt.acme.Echo/Call',
    '          learner-svc server acme.Echo/Call',
    '        auth-svc client Attempt.acme.Echo/Call',
    '          learner-svc server acme.Echo/Call',
    '        auth-svc client Attempt.acme.Echo/Call',
    '          learner-svc server acme.Echo/Call',
  ]);
  for (const span of trace.spans) assert.equal(tag(span, 'error'), true, span.operationName);
  const calling = trace.spans.find((span) => tag(span, 'outrider.attempts') === 3) as JaegerSpan;
  assert.equal(tag(calling, 'outrider.kept'), 'failed');
  assert.equal(tag(calling, 'outrider.retries_exhausted'), true);
  const events = calling.logs.map(({ fields }) => fields.find(({ key }) => key === 'event')?.value);
  assert.deepEqual(events, ['outrider.retry', 'outrider.retry', 'outrider.no_retry']);
});
