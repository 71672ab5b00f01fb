import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { checkLeaks } from '../harness/leak-check.ts';
import { freePort } from '../harness/ports.ts';
import { outriderPath, spawnProgram } from '../harness/program.ts';
import { agentKinds, type CatalogueAgent, type Instance, instancesOf } from '../registry/catalogue-agents.ts';
import { ask } from '../registry/consul-api-suite.ts';
import { atEnd } from './at-end.ts';
import { MeshCertificates, startSidecar, type TestSidecar } from './mesh.ts';
import { answerOk, answerTrailersOnly, type ReceivedCall, startUpstream, until } from './upstream.ts';

checkLeaks();

/** A service without the health protocol: it is well as long as it answers. */
const serve = (call: ReceivedCall): void => {
  if (call.headers[':path']?.startsWith('/grpc.health.') === true) answerTrailersOnly(call, 12);
  else answerOk(call);
};

const quick = { LOCAL_SERVICE_HEALTH_INTERVAL: '200ms', REGISTRATION_TTL: '3s', SERVICE_ADDRESS: '127.0.0.1' };

const untilTrue = async (what: string, look: () => Promise<boolean>, patienceMs = 15_000): Promise<void> => {
  const deadline = performance.now() + patienceMs;
  while (!(await look())) {
    assert.ok(performance.now() < deadline, `not within ${patienceMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
};

const only = async (agent: CatalogueAgent, name: string): Promise<Instance | undefined> => {
  const instances = await instancesOf(agent, name);
  assert.ok(instances.length <= 1, `one registration for one service, not ${instances.map(({ id }) => id).join(', ')}`);
  return instances[0];
};

const untilStatus = (agent: CatalogueAgent, name: string, status: string): Promise<void> =>
  untilTrue(`${name} ${status}`, async () => (await only(agent, name))?.status === status);

interface ServerInfo {
  readonly registration?: { readonly state: string; readonly id: string; readonly error?: string };
}
const registrationOf = async (sidecar: TestSidecar): Promise<ServerInfo['registration']> =>
  (JSON.parse((await sidecar.admin('GET', '/server_info')).text) as ServerInfo).registration;

const statOf = async (sidecar: TestSidecar, name: string): Promise<number> => {
  const { text } = await sidecar.admin('GET', '/stats');
  return Number(new RegExp(`^${name.replaceAll('.', '\\.')}: (\\d+)$`, 'm').exec(text)?.[1]);
};

const logged = (sidecar: TestSidecar, msg: string): number => sidecar.log.filter((line) => line['msg'] === msg).length;

for (const kind of agentKinds) {
  const startAgent = async (t: TestContext): Promise<CatalogueAgent> => {
    const agent = await kind.start();
    atEnd(t, () => agent[Symbol.asyncDispose]());
    return agent;
  };
  const agentTest = (name: string, run: (t: TestContext) => Promise<void>): void =>
    void test(`${kind.name}: ${name}`, { skip: kind.skip }, run);

  agentTest('a service stands in the catalogue with all that its peers want to know', async (t) => {
    const agent = await startAgent(t);
    const service = await startUpstream(t, serve);
    const sidecar = await startSidecar(t, {
      name: 'echo',
      localService: service.port,
      environment: {
        ...quick,
        CONSUL_HTTP_ADDR: agent.address,
        SERVICE_VERSION: '2.1',
        SERVICE_TAGS: 'blue',
        SERVICE_WEIGHT: '7',
        LOCALITY: 'eu/eu-1a',
      },
    });
    await untilStatus(agent, 'echo', 'passing');
    const found = await only(agent, 'echo');
    const id = `echo-127.0.0.1-${sidecar.inboundPort}`;
    assert.equal(found?.id, id);
    assert.equal(found?.address, '127.0.0.1');
    assert.equal(found?.port, sidecar.inboundPort);
    assert.deepEqual(found?.tags, ['protocol=grpc', 'version=2.1', 'blue']);
    assert.equal(found?.weight, 7);
    assert.deepEqual(found?.meta, {
      admin_port: String(sidecar.adminPort),
      protocol: 'grpc',
      region: 'eu',
      trust_domain: 'mesh.local',
      version: '2.1',
      zone: 'eu-1a',
    });
    const view = await registrationOf(sidecar);
    assert.equal(view?.state, 'registered');
    assert.equal(view?.id, id);
    assert.equal(await statOf(sidecar, 'registration.registered'), 1);
    assert.equal(logged(sidecar, 'registered'), 1);
  });

  agentTest('the death of the service makes it critical, its return passing', async (t) => {
    const agent = await startAgent(t);
    const port = await freePort();
    const first = await startUpstream(t, serve, { port });
    await startSidecar(t, { name: 'echo', localService: port, environment: { ...quick, CONSUL_HTTP_ADDR: agent.address } });
    await untilStatus(agent, 'echo', 'passing');
    await first.stop();
    await untilStatus(agent, 'echo', 'critical');
    assert.match((await only(agent, 'echo'))?.output ?? '', /refused|connect|closed/i);
    await startUpstream(t, serve, { port });
    await untilStatus(agent, 'echo', 'passing');
  });

  agentTest('a drain takes it out of the catalogue first, and says GOAWAY later', async (t) => {
    const agent = await startAgent(t);
    const service = await startUpstream(t, serve);
    const sidecar = await startSidecar(t, {
      name: 'echo',
      localService: service.port,
      endsItself: true,
      environment: { ...quick, CONSUL_HTTP_ADDR: agent.address },
    });
    await untilStatus(agent, 'echo', 'passing');
    const client = sidecar.inboundCaller();
    assert.equal((await client.call()).status, 0);
    let servedAfterwards = 0;
    let sentAway = false;
    const drained = sidecar.sidecar.drain();
    await untilTrue('out of the catalogue', async () => (await only(agent, 'echo')) === undefined);
    sentAway = client.goAways.length > 0;
    if ((await sidecar.inboundCaller().call()).status === 0) servedAfterwards++;
    assert.equal(sentAway, false, 'peers are sent away when the catalogue has forgotten it');
    assert.equal(servedAfterwards, 1, 'who has asked the catalogue a moment before is still served');
    await until(() => client.goAways.length > 0, 'GOAWAY');
    await drained;
    assert.equal(await only(agent, 'echo'), undefined);
    assert.equal(logged(sidecar, 'deregistered'), 1);
  });

  agentTest('an agent that comes back empty has its services again at once', async (t) => {
    const agent = await startAgent(t);
    const service = await startUpstream(t, serve);
    const sidecar = await startSidecar(t, {
      name: 'echo',
      localService: service.port,
      environment: { ...quick, CONSUL_HTTP_ADDR: agent.address },
    });
    await untilStatus(agent, 'echo', 'passing');
    await agent.kill();
    await untilTrue('lost', async () => (await registrationOf(sidecar))?.state === 'lost');
    assert.equal((await sidecar.admin('GET', '/ready')).status, 200, 'a sidecar without Consul serves');
    assert.equal((await sidecar.inboundCaller().call()).status, 0);
    await agent.begin();
    await untilStatus(agent, 'echo', 'passing');
    assert.ok(logged(sidecar, 'not registered, trying again') <= 2, 'an outage is told once');
    assert.equal((await registrationOf(sidecar))?.state, 'registered');
  });

  agentTest('a registration that somebody takes away comes back', async (t) => {
    const agent = await startAgent(t);
    const service = await startUpstream(t, serve);
    const sidecar = await startSidecar(t, {
      name: 'echo',
      localService: service.port,
      environment: { ...quick, CONSUL_HTTP_ADDR: agent.address },
    });
    await untilStatus(agent, 'echo', 'passing');
    const lostBefore = await statOf(sidecar, 'registration.lost');
    await ask(agent, 'PUT', `/agent/service/deregister/echo-127.0.0.1-${sidecar.inboundPort}`);
    await untilTrue('noticed', async () => (await statOf(sidecar, 'registration.lost')) > lostBefore);
    await untilStatus(agent, 'echo', 'passing');
  });

  agentTest('a sidecar serves without an agent, and registers once there is one', async (t) => {
    const agent = await startAgent(t);
    await agent.kill();
    const service = await startUpstream(t, serve);
    const sidecar = await startSidecar(t, {
      name: 'echo',
      localService: service.port,
      environment: { ...quick, CONSUL_HTTP_ADDR: agent.address },
    });
    assert.equal((await sidecar.admin('GET', '/ready')).status, 200);
    assert.equal((await sidecar.inboundCaller().call()).status, 0);
    await untilTrue('tried again', async () => (await statOf(sidecar, 'registration.failure')) > 2);
    assert.equal(logged(sidecar, 'not registered, trying again'), 1);
    const view = await registrationOf(sidecar);
    assert.equal(view?.state, 'registering');
    assert.match(view?.error ?? '', /cannot be reached/);
    await agent.begin();
    await untilStatus(agent, 'echo', 'passing');
    assert.equal((await registrationOf(sidecar))?.error, undefined);
  });

  agentTest('maintenance stays until whoever began it ends it', async (t) => {
    const agent = await startAgent(t);
    const port = await freePort();
    const service = await startUpstream(t, serve, { port });
    const sidecar = await startSidecar(t, {
      name: 'echo',
      localService: port,
      environment: { ...quick, CONSUL_HTTP_ADDR: agent.address },
    });
    await untilStatus(agent, 'echo', 'passing');
    const path = `/agent/service/maintenance/echo-127.0.0.1-${sidecar.inboundPort}`;
    assert.equal((await ask(agent, 'PUT', `${path}?enable=true`)).status, 200);
    await untilStatus(agent, 'echo', 'critical');
    // The service goes and comes back meanwhile, which is told to the check and not to the maintenance.
    await service.stop();
    await untilTrue('not serving', async () => (await statOf(sidecar, 'local_service.health.not_serving')) === 1);
    await startUpstream(t, serve, { port });
    await untilTrue('serving', async () => (await statOf(sidecar, 'local_service.health.serving')) === 1);
    const reports = await statOf(sidecar, 'registration.report');
    await untilTrue('reported', async () => (await statOf(sidecar, 'registration.report')) > reports + 1);
    assert.equal((await only(agent, 'echo'))?.status, 'critical');
    assert.equal((await ask(agent, 'PUT', `${path}?enable=false`)).status, 200);
    await untilStatus(agent, 'echo', 'passing');
  });

  agentTest('two sidecars of one service are two instances, and one may go', async (t) => {
    const agent = await startAgent(t);
    const environment = { ...quick, CONSUL_HTTP_ADDR: agent.address };
    const service = await startUpstream(t, serve);
    const first = await startSidecar(t, { name: 'echo', localService: service.port, environment, endsItself: true });
    const second = await startSidecar(t, { name: 'echo', localService: service.port, environment });
    const ports = async () => (await instancesOf(agent, 'echo')).filter(({ status }) => status === 'passing').map(({ port }) => port);
    await untilTrue('both', async () => (await ports()).length === 2);
    assert.deepEqual((await ports()).sort(), [first.inboundPort, second.inboundPort].sort());
    await first.sidecar.drain();
    assert.deepEqual(await ports(), [second.inboundPort]);
  });

  agentTest('a sidecar that is killed runs out', async (t) => {
    const agent = await startAgent(t);
    const service = await startUpstream(t, serve);
    const program = spawnProgram(outriderPath, ['sidecar'], {
      env: {
        PATH: process.env['PATH'],
        ...quick,
        SERVICE_NAME: 'echo',
        GRPC_PORT: '0',
        OUTBOUND_PORT: '0',
        ADMIN_PORT: '0',
        INBOUND_TLS: 'off',
        LOCAL_SERVICE_PORT: String(service.port),
        CONSUL_HTTP_ADDR: agent.address,
      },
    });
    atEnd(t, () => program[Symbol.asyncDispose]());
    await program.waitFor(/"msg":"ready"/);
    await untilStatus(agent, 'echo', 'passing');
    await program.stop('SIGKILL');
    await untilStatus(agent, 'echo', 'critical');
    assert.match((await only(agent, 'echo'))?.output ?? '', /TTL expired/);
  });

  agentTest('Consul checks by itself where it is told to, and the sidecar beside the service', async (t) => {
    const agent = await startAgent(t);
    const service = await startUpstream(t, serve);
    for (const check of ['tcp', 'http', 'grpc', 'none']) {
      const sidecar = await startSidecar(t, {
        name: check,
        localService: service.port,
        environment: { ...quick, CONSUL_HTTP_ADDR: agent.address, REGISTRATION_CHECK: check },
      });
      // The service of this test has no health protocol, which a check of Consul's by gRPC insists on.
      await untilStatus(agent, check, check === 'grpc' ? 'critical' : 'passing');
      const checks = (await ask(agent, 'GET', `/health/checks/${check}`)).json as { CheckID: string; Status: string; Type: string }[];
      const id = `service:${check}-127.0.0.1-${sidecar.inboundPort}`;
      const types = checks.map(({ CheckID, Type }) => [CheckID, Type]);
      assert.deepEqual(types, check === 'none' ? [] : [[id, check], [`${id}:sidecar`, 'tcp']]); // biome-ignore format: pairs
      assert.equal(await statOf(sidecar, 'registration.report'), 0);
    }
  });

  agentTest('nothing is registered where the registration is off', async (t) => {
    const agent = await startAgent(t);
    const service = await startUpstream(t, serve);
    const environment = { ...quick, CONSUL_HTTP_ADDR: agent.address };
    const off = await startSidecar(t, { name: 'off', localService: service.port, environment: { ...environment, REGISTRATION: 'off' } });
    await startSidecar(t, { name: 'on', localService: service.port, environment });
    await untilStatus(agent, 'on', 'passing');
    assert.deepEqual(await instancesOf(agent, 'off'), []);
    assert.equal(await registrationOf(off), undefined);
  });

  agentTest('a name, certificates and an agent are enough to call another service', async (t) => {
    const agent = await startAgent(t);
    const certificates = await MeshCertificates.create(t);
    const environment = { ...quick, CONSUL_HTTP_ADDR: agent.address };
    const service = await startUpstream(t, serve);
    await startSidecar(t, { name: 'echo', localService: service.port, certificates: await certificates.issue('echo'), environment });
    const caller = await startSidecar(t, {
      name: 'caller',
      localService: service.port,
      certificates: await certificates.issue('caller'),
      environment,
    });
    await untilStatus(agent, 'echo', 'passing');
    const client = caller.caller();
    for (const authority of ['echo', 'echo.default.svc.cluster.local', 'echo:50051']) {
      const answer = await client.call({ authority });
      assert.equal(answer.status, 0, `${authority}: ${answer.message}`);
    }
    const unknown = await client.call({ authority: 'nobody' });
    assert.equal(unknown.reason, 'no_endpoint');
  });
}
