/** Chains with an intermediate authority that is not sound, at a real sidecar: from a client, and from a server that it calls. */
import assert from 'node:assert/strict';
import { createPrivateKey, sign, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import http2 from 'node:http2';
import net, { type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import tls from 'node:tls';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { childrenOf, readDer } from '../../src/identity/der.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { authorityExtensions, chained, craft, issueWithOpenssl, type Pair } from '../identity/hostile-certificates.ts';
import { atEnd } from './at-end.ts';
import { startSidecar } from './mesh.ts';
import { answerOk, startUpstream, until } from './upstream.ts';

checkLeaks();

const root = issueWithOpenssl(undefined, { extensions: authorityExtensions, subject: '/CN=root' });
const between = issueWithOpenssl(root, { extensions: authorityExtensions, subject: '/CN=between' });
const named = (commonName: string): Parameters<typeof craft>[1] => ({
  commonName,
  kind: { kind: 'leaf', dnsNames: [commonName], uris: [], ips: [] },
});
const leafOf = (issuer: Pair): Promise<Pair> => craft(issuer, named('orders'));

const element = (tag: number, ...contents: readonly Uint8Array[]): Buffer => {
  const content = Buffer.concat(contents);
  const { length } = content;
  const head = length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, length >> 8, length & 255];
  return Buffer.concat([Buffer.from([tag, ...head]), content]);
};

const pemOf = (der: Uint8Array): string =>
  `-----BEGIN CERTIFICATE-----\n${Buffer.from(der).toString('base64').replace(/.{64}/g, '$&\n')}\n-----END CERTIFICATE-----\n`;

/** The same certificate with its bytes changed; signed anew by `signer`, or left with a signature that does not belong to it. */
const spoilt = ({ cert, key }: Pair, change: (signed: Buffer) => void, signer?: Pair): Pair => {
  const [whole] = readDer(new X509Certificate(cert).raw);
  assert.ok(whole);
  const [signed, algorithm, signature] = childrenOf(whole.whole);
  assert.ok(signed && algorithm && signature);
  const changed = Buffer.from(signed.whole);
  change(changed);
  const bits =
    signer === undefined ? signature.whole : element(0x03, Buffer.from([0]), sign('sha256', changed, createPrivateKey(signer.key)));
  return { cert: pemOf(element(0x30, changed, algorithm.whole, bits)), key };
};

/** Flips the last byte of its public key: the point does not lie on the curve any more. */
const offTheCurve = (pair: Pair) => (signed: Buffer) => {
  const publicKey = new X509Certificate(pair.cert).publicKey.export({ type: 'spki', format: 'der' });
  const at = signed.indexOf(publicKey);
  assert.ok(at > 0, 'the key stands in what is signed');
  const last = at + publicKey.length - 1;
  signed[last] = (signed[last] as number) ^ 1;
};

/** Another serial number than the one that was signed. */
const otherSerial = (signed: Buffer): void => {
  const at = signed.indexOf(Buffer.from([0x02, 0x02, 0x12, 0x67]));
  assert.ok(at > 0, 'serial number 4711');
  signed[at + 3] = 0x68;
};

const stranger = issueWithOpenssl(root, { extensions: authorityExtensions, subject: '/CN=between' });
const sound = chained(await leafOf(between), between);
const broken: readonly (readonly [what: string, chain: Pair])[] = [
  ['an intermediate whose signature does not belong to it', chained(await leafOf(between), spoilt(between, otherSerial))],
  ['an intermediate whose key is no point of its curve', chained(await leafOf(between), spoilt(between, offTheCurve(between), root))],
  ['an intermediate whose key was changed after it was signed', chained(await leafOf(between), spoilt(between, offTheCurve(between)))],
  ['a leaf that another key of the intermediate\u2019s name has signed', chained(await leafOf({ ...between, key: stranger.key }), between)],
  [
    'an intermediate that another key of the root\u2019s name has signed',
    chained(
      await leafOf(between),
      spoilt(between, () => {}, stranger),
    ),
  ],
  ['a leaf without its intermediate', await leafOf(between)],
];

/** The variables of a sidecar that has these certificates and trusts the root. */
const variables = (t: TestContext, { cert, key }: Pair): Readonly<Record<string, string>> => {
  const folder = temporaryFolder();
  atEnd(t, () => folder[Symbol.dispose]());
  const put = (file: string, text: string): string => {
    writeFileSync(join(folder.path, file), text, { mode: 0o600 });
    return join(folder.path, file);
  };
  return { CA_CERT_PATH: put('ca.crt', root.cert), CLIENT_CERT_PATH: put('tls.crt', cert), CLIENT_KEY_PATH: put('tls.key', key) };
};

// What they show is theirs to choose: they look at nothing.
const blind = { ALPNProtocols: ['h2'], ciphers: 'DEFAULT@SECLEVEL=0', rejectUnauthorized: false } as const;

test('a client behind a sound intermediate is served, and none with a chain that does not hold', async (t) => {
  const service = await startUpstream(t, (call) => answerOk(call));
  const outrider = await startSidecar(t, { name: 'orders', localService: service.port, certificates: variables(t, sound) });
  const pem = { ca: root.cert, servername: 'orders' };
  const { status } = await outrider.inboundCaller({ ...pem, ...sound }).call({ authority: 'orders' });
  assert.equal(status, GrpcStatus.OK);
  const served = outrider.stat('listener.inbound.downstream_rq_total');
  const sentBytes: number[] = [];
  for (const [i, [what, chain]] of broken.entries()) {
    const raw = net.connect(outrider.inboundPort, '127.0.0.1');
    const socket = tls.connect({ ...blind, ...chain, socket: raw, servername: 'orders' });
    socket.on('error', () => {});
    socket.resume();
    await new Promise((resolve) => socket.once('close', resolve));
    await until(() => outrider.stat('listener.inbound.ssl.fail_verify_error') === i + 1, `the refusal of ${what}`);
    sentBytes.push(raw.bytesWritten);
  }
  const [withoutIntermediate = 0, ...others] = sentBytes.reverse();
  for (const bytes of others) assert.ok(bytes > withoutIntermediate + 250, 'the intermediate was sent, however broken');
  assert.equal(outrider.stat('listener.inbound.downstream_rq_total'), served);
});

/** A service over TLS that shows this chain and answers whatever comes. */
const serviceOver = async (t: TestContext, chain: Pair): Promise<{ readonly port: number; readonly calls: () => number }> => {
  let calls = 0;
  const server = http2.createSecureServer({ ...blind, ...chain, requestCert: true });
  const sessions = new Set<http2.Http2Session>();
  server.on('session', (session) => sessions.add(session));
  server.on('sessionError', () => {});
  server.on('stream', (stream: http2.ServerHttp2Stream) => {
    calls++;
    stream.on('error', () => {});
    stream.respond({ ':status': 200, 'content-type': 'application/grpc', 'grpc-status': '0' }, { endStream: true });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  atEnd(t, async () => {
    for (const session of sessions) session.destroy();
    server.close();
    await once(server, 'close');
  });
  return { port: (server.address() as AddressInfo).port, calls: () => calls };
};

test('a server behind a sound intermediate is called, and none with a chain that does not hold', async (t) => {
  const services = [];
  for (const chain of [sound, ...broken.map(([, each]) => each)]) services.push(await serviceOver(t, chain));
  const clusters = services.map(
    ({ port }, i) => `  c${i}: { endpoints: ["127.0.0.1:${port}"], tls: { match_subject_alt_names: [orders] } }`,
  );
  const certificates = variables(t, chained(await craft(between, named('caller')), between));
  const outrider = await startSidecar(t, { name: 'caller', policies: `clusters:\n${clusters.join('\n')}\n`, certificates });
  const caller = outrider.caller();
  assert.equal((await caller.call({ authority: 'c0' })).status, GrpcStatus.OK);
  for (const [i, [what]] of broken.entries()) {
    const cluster = `c${i + 1}`;
    const answer = await caller.call({ authority: cluster });
    assert.equal(answer.status, GrpcStatus.UNAVAILABLE, what);
    assert.equal(answer.reason, 'tls_handshake_failed', what);
    assert.ok(outrider.stat(`cluster.${cluster}.ssl.fail_verify_error`) > 0, what);
    assert.equal(services[i + 1]?.calls(), 0, what);
  }
});
