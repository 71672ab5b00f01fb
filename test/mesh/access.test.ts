/** Who may call the local service: rules of policy files, and intentions of a real Consul. */
import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { ConsulProcess } from '../peers/consul-process.ts';
import { peerProgram } from '../peers/peer-programs.ts';
import { MeshCertificates, startSidecar } from './mesh.ts';
import { answerOk, startUpstream, until } from './upstream.ts';

checkLeaks();

const consulProgram = await peerProgram('consul');

const setUp = async (t: TestContext, options: Parameters<typeof startSidecar>[1] & { readonly tls?: string }) => {
  const certificates = await MeshCertificates.create(t);
  const service = await startUpstream(t, (call) => answerOk(call));
  const { tls = 'strict', ...rest } = options;
  const own = { ...(await certificates.issue('echo')), INBOUND_TLS: tls };
  const outrider = await startSidecar(t, { name: 'echo', localService: service.port, certificates: own, ...rest });
  const reloads = (): number => outrider.log.filter(({ msg }) => msg === 'policies reloaded').length;
  const rewrite = async (text: string): Promise<void> => {
    const before = reloads();
    outrider.writePolicies(text);
    await until(() => reloads() > before, 'the reload');
  };
  const callerNamed = async (name: string) => {
    const { certPem, keyPem } = await certificates.pair(name);
    return outrider.inboundCaller({ ca: certificates.authority.certPem, cert: certPem, key: keyPem, servername: 'echo' });
  };
  return { outrider, service, callerNamed, reloads, rewrite };
};

const access = (text: string): string => `inbound: { access: ${text} }\n`;

test('the first rule that names the caller counts, and who is named by none is denied unless the default says otherwise', async (t) => {
  const { outrider, service, callerNamed, rewrite } = await setUp(t, {
    policies: access(
      '{ rules: [{ from: shop, action: allow }, { from: "spiffe://mesh.local/service/pay", action: allow }, { from: mail, action: deny }] }',
    ),
  });
  const [shop, pay, mail, other] = [
    await callerNamed('shop'),
    await callerNamed('pay'),
    await callerNamed('mail'),
    await callerNamed('other'),
  ];
  assert.equal((await shop.call()).status, GrpcStatus.OK);
  assert.equal((await pay.call()).status, GrpcStatus.OK);
  const denied = await mail.call();
  assert.equal(denied.status, GrpcStatus.PERMISSION_DENIED);
  assert.equal(denied.reason, 'denied');
  assert.match(
    String(denied.message),
    /spiffe:\/\/mesh\.local\/service\/mail may not call this service: the rule for mail in inbound\.access denies it/,
  );
  assert.match(String((await other.call()).message), /no rule of inbound\.access names it/);
  assert.equal(service.received.length, 2);
  assert.deepEqual(outrider.fates('inbound'), { ok: 2, denied: 2 });
  const { text } = await outrider.admin('GET', '/routes');
  assert.deepEqual(JSON.parse(text).inbound_access.rules[0], { from: 'shop', action: 'allow' });
  // On the connections that there are, too.
  await rewrite(access('{ default: allow, rules: [{ from: shop, action: deny }] }'));
  assert.equal((await shop.call()).status, GrpcStatus.PERMISSION_DENIED);
  assert.equal((await mail.call()).status, GrpcStatus.OK);
});

test('who shows no certificate is named by "*" alone', async (t) => {
  const { outrider, rewrite } = await setUp(t, { tls: 'permissive', policies: access('{ rules: [{ from: shop, action: allow }] }') });
  const plain = outrider.inboundCaller();
  assert.match(String((await plain.call()).message), /a caller without a certificate may not call/);
  await rewrite(access('{ rules: [{ from: "*", action: allow }] }'));
  assert.equal((await plain.call()).status, GrpcStatus.OK);
});

test('calls of the local service to others are nobody else\u2019s business', async (t) => {
  const other = await startUpstream(t, (call) => answerOk(call));
  const { outrider } = await setUp(t, {
    policies: `${access('{}')}clusters: { echo: { endpoints: ["${other.address}"], tls: { mode: disable } } }\n`,
  });
  assert.equal((await outrider.caller().call()).status, GrpcStatus.OK);
});

describe('intentions of Consul', { skip: consulProgram.skip }, () => {
  const start = async (t: TestContext, configuration: Readonly<Record<string, unknown>> = {}) => {
    const consul = await ConsulProcess.start({ path: String(consulProgram.path), configuration });
    t.after(() => consul[Symbol.asyncDispose]());
    const write = (...sources: readonly Readonly<Record<string, unknown>>[]) =>
      consul.ask('PUT', '/config', { Kind: 'service-intentions', Name: 'echo', Sources: sources });
    return { consul, write };
  };
  const environment = (consul: ConsulProcess) => ({
    CONSUL_HTTP_ADDR: consul.address,
    POLICY_CONSUL_INTENTIONS: 'true',
    REGISTRATION: 'off',
  });

  test('decide by their precedence from the first call on, follow changes, and outlive Consul', async (t) => {
    const { consul, write } = await start(t);
    await write({ Name: 'shop', Action: 'deny' }, { Name: '*', Action: 'allow' });
    const { outrider, callerNamed, reloads } = await setUp(t, { environment: environment(consul) });
    const [shop, other] = [await callerNamed('shop'), await callerNamed('other')];
    assert.equal((await shop.call()).reason, 'denied');
    assert.equal((await other.call()).status, GrpcStatus.OK);
    await write({ Name: 'shop', Action: 'allow' }, { Name: '*', Action: 'deny' });
    await until(() => reloads() >= 2, 'the change');
    assert.equal((await shop.call()).status, GrpcStatus.OK);
    assert.equal((await other.call()).reason, 'denied');
    await consul.kill();
    await until(() => outrider.log.some(({ msg }) => String(msg).includes('the last ones stay in force')), 'told of the outage');
    assert.equal((await shop.call()).status, GrpcStatus.OK);
    assert.equal((await other.call()).reason, 'denied');
  });

  test('with permissions deny their source, and say so; without any the default of Consul holds', async (t) => {
    const { consul, write } = await start(t);
    await consul.ask('PUT', '/config', { Kind: 'service-defaults', Name: 'echo', Protocol: 'grpc' });
    await write({ Name: 'shop', Permissions: [{ Action: 'allow', HTTP: { PathPrefix: '/a' } }] });
    const { outrider, callerNamed } = await setUp(t, { environment: environment(consul) });
    assert.equal((await (await callerNamed('shop')).call()).reason, 'denied');
    // An agent without ACLs allows what no intention is about.
    assert.equal((await (await callerNamed('other')).call()).status, GrpcStatus.OK);
    const { text } = await outrider.admin('GET', '/policies');
    assert.match(text, /Permissions are not translated; the source is denied|Permissions are not translated/);
  });

  test('that were never read let nobody in', async (t) => {
    const { consul } = await start(t);
    await consul.kill();
    const { callerNamed } = await setUp(t, { environment: environment(consul) });
    assert.equal((await (await callerNamed('shop')).call()).reason, 'denied');
  });
});
