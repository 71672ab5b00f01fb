import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { SystemClock } from '../../src/core/index.ts';
import { DemoService } from '../../src/demo/service.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { freePort } from '../harness/ports.ts';
import { type ProgramExit, runProgram } from '../harness/program.ts';
import { peerProgram } from './peer-programs.ts';
import { type Mesh, startMesh } from './sidecar-processes.ts';

checkLeaks();

const curl = await peerProgram('curl');

/** A line for `sh`, in which `curl` is the one that was found. */
const shell = (line: string): Promise<ProgramExit> => runProgram('sh', ['-c', `curl() { '${curl.path}' "$@"; }; ${line}`]);

describe('curl', { skip: curl.skip }, () => {
  const owned = new AsyncDisposableStack();
  let learnerPort: number;
  let mesh: Mesh;
  before(async () => {
    // Nobody listens there before a test starts the service.
    learnerPort = await freePort();
    mesh = owned.use(await startMesh({ 'learner-svc': learnerPort }));
  });
  after(() => owned.disposeAsync());

  /** What runbooks say, with the port of this sidecar for 9901. */
  const admin = async (line: string): Promise<string> => {
    const { code, stdout, stderr } = await shell(line.replaceAll('localhost:9901', `localhost:${mesh.caller.adminPort}`));
    assert.equal(code, 0, `${line}: ${stderr}`);
    return stdout;
  };

  const headers = `-H 'content-type: application/grpc' -H 'te: trailers' -H 'grpc-timeout: 5S'`;
  const target = (): string => `--connect-to learner-svc:80:${mesh.entrance} http://learner-svc/learner.LearnerService/GetProfile`;

  /** One gRPC call by hand: a message of five bytes in a frame, HTTP/2 without TLS. Prints headers, body and trailers. */
  const call = async (): Promise<string> => {
    const frame = String.raw`printf '\0\0\0\0\5\n\3ada'`;
    return (await shell(`${frame} | curl -s -i --http2-prior-knowledge --data-binary @- ${headers} ${target()} --output -`)).stdout;
  };

  /**
   * The same without a message, for answers that do not wait for one: curl 7.88 prints nothing of an answer that comes, with
   * RST_STREAM(NO_ERROR) behind it, while it still sends (RFC 9113 8.1 wants it to).
   */
  const callWithoutMessage = async (): Promise<string> =>
    (await shell(`curl -s -i --http2-prior-knowledge -X POST ${headers} ${target()} --output -`)).stdout;

  test('sees why a call failed, and after five failures an open circuit breaker', async () => {
    for (let failures = 0; failures < 5; failures++) {
      const answer = await callWithoutMessage();
      assert.match(answer, /^HTTP\/2 200/);
      assert.match(answer, /^grpc-status: 14\r$/m);
      assert.match(answer, /^x-outrider-reason: connect_failure\r$/m);
    }
    const refused = await callWithoutMessage();
    assert.match(refused, /^x-outrider-reason: circuit_open\r$/m);
    assert.match(refused, /^grpc-message: .*Circuit breaker OPEN/m);
    const stats = await admin('curl localhost:9901/stats | grep circuit_breaker');
    assert.match(stats, /^cluster\.learner-svc\.circuit_breaker\.state: 1$/m);
    assert.match(stats, /^cluster\.learner-svc\.circuit_breakers\.default\.rq_open: 0$/m);
    assert.match(await admin('curl localhost:9901/clusters'), /^learner-svc::circuit_breaker::state::OPEN$/m);
  });

  test('resets the circuit breaker, and the next call gets through', async () => {
    using _service = await startLearner(learnerPort);
    const answer = JSON.parse(await admin('curl -X POST localhost:9901/clusters/learner-svc/circuit_breakers/reset')) as {
      readonly circuit_breaker: { readonly state: string };
    };
    assert.equal(answer.circuit_breaker.state, 'CLOSED');
    assert.match(await admin('curl localhost:9901/stats | grep circuit_breaker'), /^cluster\.learner-svc\.circuit_breaker\.state: 0$/m);
    const served = await call();
    assert.match(served, /Learner ada/);
    assert.match(served, /grpc-status: 0\r\n/);
  });

  test('reads clusters, listeners and the configuration, as text and as JSON', async () => {
    const { inboundPort, outboundPort, adminPort } = mesh.caller;
    const calleePort = mesh.callee('learner-svc').inboundPort;
    assert.equal(
      await admin('curl localhost:9901/listeners'),
      `inbound::0.0.0.0:${inboundPort}\noutbound::127.0.0.1:${outboundPort}\nadmin::127.0.0.1:${adminPort}\n`,
    );
    const text = await admin('curl localhost:9901/clusters');
    assert.match(text, new RegExp(`^learner-svc::127\\.0\\.0\\.1:${calleePort}::rq_total::6$`, 'm'));
    assert.match(text, new RegExp(`^learner-svc::127\\.0\\.0\\.1:${calleePort}::health_flags::healthy$`, 'm'));
    // Scripts that were written for Envoy read these as unsigned numbers of 32 bits.
    for (const [, limit] of text.matchAll(/::default_priority::max_\w+::(.*)$/gm)) assert.match(String(limit), /^\d{1,10}$/);

    const dump = JSON.parse(await admin('curl localhost:9901/config_dump')) as { readonly configs: readonly Record<string, unknown>[] };
    assert.deepEqual(
      dump.configs.map((config) => String(config['@type']).split('.').at(-1)),
      ['BootstrapConfigDump', 'ListenersConfigDump', 'ClustersConfigDump', 'RoutesConfigDump'],
    );
    assert.doesNotMatch(JSON.stringify(dump), /PRIVATE KEY/);
    assert.doesNotMatch(JSON.stringify(dump), /:null/, 'a number that JSON cannot say');
    const statuses = JSON.parse(await admin(`curl 'localhost:9901/clusters?format=json'`)) as {
      readonly cluster_statuses: readonly { readonly name: string; readonly circuit_breaker: { readonly state: string } }[];
    };
    const learner = statuses.cluster_statuses.find(({ name }) => name === 'learner-svc');
    assert.equal(learner?.circuit_breaker.state, 'CLOSED');
  });

  test('is told of a wrong name, a wrong method and a foreign origin', async () => {
    const statusOf = (line: string): Promise<string> => admin(line.replace('curl ', `curl -s -o /dev/null -w '%{http_code}' `));
    assert.equal(await statusOf('curl localhost:9901/ready'), '200');
    assert.equal(await statusOf('curl -X POST localhost:9901/clusters/lerner-svc/circuit_breakers/reset'), '404');
    assert.equal(await statusOf('curl localhost:9901/clusters/learner-svc/circuit_breakers/reset'), '405');
    assert.equal(await statusOf('curl -X POST -H "Origin: http://evil.example" localhost:9901/drain'), '403');
    assert.equal(await statusOf('curl -H "Host: evil.example" localhost:9901/config_dump'), '403');
  });

  test('that takes a port of gRPC for a web server is told what it is', async () => {
    const { ca, cert, key } = mesh.identity('mesh-client');
    const tls = `--cacert '${ca}' --cert '${cert}' --key '${key}' https://localhost:${mesh.callee('learner-svc').inboundPort}/`;
    assert.match((await shell(`curl -s -i http://${mesh.entrance}/`)).stdout, /^HTTP\/1\.1 505 .*This port speaks gRPC over HTTP\/2 only/s);
    for (const target of [`http://${mesh.entrance}/`, tls]) {
      const answer = (await shell(`curl -s -i --http2-prior-knowledge ${target}`)).stdout;
      assert.match(answer, /^HTTP\/2 415 .*x-outrider-reason: unsupported_content_type.*content-type must begin with application\/grpc/s);
    }
  });

  test('asks for a drain, and the sidecar ends', async () => {
    await admin('curl -X POST localhost:9901/drain');
    await mesh.caller.ended();
    await mesh.callee('learner-svc').stop();
  });
});

const startLearner = async (port: number): Promise<Disposable> => {
  const service = await DemoService.start({ name: 'learner-svc', clock: new SystemClock(), port });
  return { [Symbol.dispose]: () => service.stop() };
};
