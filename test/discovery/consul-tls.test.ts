import assert from 'node:assert/strict';
import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { SystemClock, silentLogger } from '../../src/core/index.ts';
import { ConsulClient, type ConsulClientOptions, ConsulError, parseConsulAddress } from '../../src/discovery/index.ts';
import { CertificateAuthority } from '../../src/identity/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { freePort } from '../harness/ports.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { ConsulProcess } from '../peers/consul-process.ts';
import { peerProgram } from '../peers/peer-programs.ts';

checkLeaks();
const { path, skip } = await peerProgram('consul');

/** A certificate and its key as files, replaced as an editor does where they are there already. */
const writePair = async (authority: CertificateAuthority, folder: string, name: string) => {
  const { certPem, keyPem } = await authority.issue({ name, trustDomain: 'mesh.local', validDays: 1, keyType: 'p256', nowMs: Date.now() });
  const put = (file: string, text: string): string => {
    const target = join(folder, file);
    writeFileSync(`${target}.new`, text);
    renameSync(`${target}.new`, target);
    return target;
  };
  return { clientCertPath: put(`${name}.crt`, certPem), clientKeyPath: put(`${name}.key`, keyPem) };
};
const createAuthority = async () =>
  (await CertificateAuthority.create({ trustDomain: 'mesh.local', keyType: 'p256', nowMs: Date.now() })).authority;

test('an agent that demands certificates is asked by HTTPS, with files that may be replaced', { skip }, async () => {
  using folder = temporaryFolder();
  const [authority, stranger] = [await createAuthority(), await createAuthority()];
  const caCertPath = join(folder.path, 'ca.crt');
  writeFileSync(caCertPath, authority.certPem);
  const agent = await writePair(authority, folder.path, 'consul');
  const https = await freePort();
  await using consul = await ConsulProcess.start({
    path,
    configuration: {
      addresses: { https: '127.0.0.1' },
      tls: { https: { ca_file: caCertPath, cert_file: agent.clientCertPath, key_file: agent.clientKeyPath, verify_incoming: true } },
    },
    httpsPort: https,
  });
  assert.ok(consul);
  const open = (options: Partial<ConsulClientOptions>) => {
    const address = parseConsulAddress(`127.0.0.1:${https}`, true);
    assert.ok(address);
    const client = new ConsulClient({ address, clock: new SystemClock(), log: silentLogger, ...options });
    return { client, ask: () => client.call((api, ctx) => api.status.leader({ ctx })), [Symbol.dispose]: () => client.close() };
  };
  const pair = await writePair(authority, folder.path, 'caller');
  {
    using trusted = open({ caCertPath, ...pair, tlsServerName: 'consul' });
    assert.equal((await trusted.ask()).status, 200);
  }
  const refused = async (why: RegExp, options: Partial<ConsulClientOptions>): Promise<void> => {
    using client = open(options);
    await assert.rejects(client.ask(), (error) => error instanceof ConsulError && error.kind === 'unreachable' && why.test(error.message));
  };
  await refused(/alert|ECONNRESET|socket hang up/, { caCertPath });
  await refused(/self-signed certificate|unable to (get|verify)/, pair);
  await refused(/does not match certificate/, { caCertPath, ...pair, tlsServerName: 'somebody-else' });
  // A certificate of another authority, replaced by the right one while the client lives.
  const wrong = await writePair(stranger, folder.path, 'late');
  using late = open({ caCertPath, ...wrong });
  await assert.rejects(late.ask(), ConsulError);
  const changed = new Promise<void>((resolve) => void late.client.credentials.onChange(resolve));
  await writePair(authority, folder.path, 'late');
  await changed;
  // The two files are replaced one after the other, and may be read in between.
  for (let i = 0; ; i++) {
    try {
      assert.equal((await late.ask()).status, 200);
      break;
    } catch (error) {
      assert.ok(error instanceof ConsulError && i < 500, String(error));
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
});
