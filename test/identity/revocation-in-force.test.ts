import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { JsonLogger, VirtualClock } from '../../src/core/index.ts';
import { CertificateAuthority, IdentityFiles } from '../../src/identity/index.ts';
import { parseRevocationLists } from '../../src/identity/revocation.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { judgeClient, judgeServer } from './handshake-bench.ts';
import {
  authorityExtensions,
  chained,
  craft,
  identityOf,
  issue,
  issueWithOpenssl,
  type Pair,
  revocationList,
  type TestAuthority,
  trustDomain,
} from './hostile-certificates.ts';

checkLeaks();

/** The day on which the mesh of these tests was set up; its certificates are valid from then until long after today. */
const pastMs = Date.UTC(2025, 0, 10);
/** When a list of that day was due to be replaced, which has not happened. */
const shortList = '20250110000100Z';
const validDays = 3_600;

const { authority, issued } = await CertificateAuthority.create({ trustDomain, keyType: 'p256', nowMs: pastMs });
const mesh: TestAuthority = { authority, cert: issued.certPem, key: issued.keyPem };
const issueThen = (name: string): Promise<Pair> => issue(mesh, name, { atMs: pastMs, validDays });
const [first, second, revoked, other] = [
  await issueThen('auth-svc'),
  await issueThen('auth-svc'),
  await issueThen('learner-svc'),
  await issueThen('learner-svc'),
];

/** A sidecar that began on that day, on a clock that a test moves. */
class Scene implements Disposable {
  readonly lines: { readonly level: string; readonly msg: string }[] = [];
  readonly #clock = new VirtualClock(pastMs);
  readonly #folder = temporaryFolder();
  readonly files: IdentityFiles;

  constructor() {
    this.replace('ca.crt', mesh.cert);
    this.replace('tls.crt', first.cert);
    this.replace('tls.key', first.key);
    this.replace('crl.pem', revocationList(mesh, [revoked], shortList));
    const [caCertPath, clientCertPath, clientKeyPath, crlPath] = ['ca.crt', 'tls.crt', 'tls.key', 'crl.pem'].map((name) =>
      join(this.#folder.path, name),
    ) as [string, string, string, string];
    const log = new JsonLogger(this.#clock, (line) => this.lines.push(JSON.parse(line)));
    this.files = new IdentityFiles({ caCertPath, clientCertPath, clientKeyPath, crlPath }, { clock: this.#clock, log });
  }

  replace(name: string, text: string): void {
    writeFileSync(join(this.#folder.path, `.${name}.tmp`), text, { mode: 0o600 });
    renameSync(join(this.#folder.path, `.${name}.tmp`), join(this.#folder.path, name));
  }

  passMs(ms: number): void {
    this.#clock.advance(ms);
  }

  logged(msg: string): number {
    return this.lines.filter((line) => line.msg === msg).length;
  }

  [Symbol.dispose](): void {
    this.files.close();
    assert.equal(this.#clock.pending, 0);
    this.#folder[Symbol.dispose]();
  }
}

const outOfDate = 'revocation list out of date, it stays in force';
const kept = 'certificates not reloaded, the last good ones stay';

test('a list that goes out of date while it is in force still refuses whom it names, and nobody else', async () => {
  using scene = new Scene();
  const identity = scene.files.value;
  for (const judge of [judgeClient, judgeServer]) {
    const refusal = await judge(identity, revoked);
    assert.equal(refusal.ok, false);
    assert.match('why' in refusal ? refusal.why : '', /^its certificate was revoked$/);
    assert.equal((await judge(identity, other)).ok, true);
  }
});

test('a list that goes out of date is told once', () => {
  using scene = new Scene();
  scene.passMs(59_000);
  assert.equal(scene.logged(outOfDate), 0);
  scene.passMs(60_000);
  assert.equal(scene.logged(outOfDate), 1);
  assert.equal(scene.files.value.revocations.size, 1);
});

test('certificates rotate under a list that is out of date: the new pair is taken, the list stays', () => {
  using scene = new Scene();
  scene.passMs(90_000);
  scene.replace('tls.key', second.key);
  scene.replace('tls.crt', second.cert);
  scene.passMs(2_000);
  assert.equal(scene.files.value.certPem, second.cert);
  assert.equal(scene.files.value.revocations.size, 1);
  assert.deepEqual([scene.files.reloadOk, scene.files.reloadFailed], [1, 1]);
  assert.match(scene.files.lastError ?? '', /^CRL_PATH: .*crl\.pem has expired on 2025-01-10T00:01:00\.000Z$/);
  assert.equal(scene.logged(kept), 1);
});

test('a list that is deleted or broken stays in force', () => {
  using scene = new Scene();
  scene.replace('crl.pem', 'no list at all');
  scene.passMs(2_000);
  assert.equal(scene.files.value.revocations.size, 1);
  assert.deepEqual([scene.files.reloadOk, scene.files.reloadFailed], [0, 1]);
});

test('what an authority signed that was revoked itself is refused', async () => {
  const root = issueWithOpenssl(undefined, { extensions: authorityExtensions, subject: '/CN=root' });
  const between = issueWithOpenssl(root, { extensions: authorityExtensions, subject: '/CN=between' });
  const own = await craft(root, { commonName: 'auth-svc' });
  const peer = chained(await craft(between), between);
  assert.equal((await judgeClient(identityOf(own, root.cert, revocationList(root, [])), peer)).ok, true);
  const strict = identityOf(own, root.cert, revocationList(root, [between]));
  for (const judge of [judgeClient, judgeServer]) {
    const refusal = await judge(strict, peer);
    assert.match('why' in refusal ? refusal.why : '', /^its certificate was revoked$/);
  }
});

test('a list that covers only a part is not taken for a whole one', () => {
  using folder = temporaryFolder();
  const write = (name: string, text: string): void => writeFileSync(join(folder.path, name), text);
  write('ca', mesh.cert);
  write('ca-key', mesh.key);
  write('index', '');
  write(
    'config',
    '[ca]\ndefault_ca=d\n[d]\ndatabase=index\ndefault_md=sha256\ncrl_extensions=x\n[x]\nissuingDistributionPoint=critical,@p\n[p]\nonlyuser=TRUE\n',
  );
  const args = ['ca', '-gencrl', '-config', 'config', '-cert', 'ca', '-keyfile', 'ca-key', '-crldays', '10'];
  const list = execFileSync('openssl', args, { cwd: folder.path, stdio: 'pipe' }).toString();
  assert.throws(() => parseRevocationLists(list), /critical extension 2\.5\.29\.28 of a list is not known/);
});
