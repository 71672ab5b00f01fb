import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { copyFileSync, cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { checkLeaks } from '../harness/leak-check.ts';
import { outriderPath, type ProgramExit, runProgram } from '../harness/program.ts';
import { type TemporaryFolder, temporaryFolder } from '../harness/temporary-folder.ts';

checkLeaks();

/** `outrider certs ...` in a folder of its own, with nothing of this test's environment. */
const certs = (cwd: string, ...parameters: string[]): Promise<ProgramExit> =>
  runProgram(outriderPath, ['certs', ...parameters], { cwd, env: { PATH: '/usr/local/bin:/usr/bin:/bin' } });

const prepared = temporaryFolder();
after(() => prepared[Symbol.dispose]());
await certs(prepared.path, 'init', 'a-svc', 'b-svc', 'auth-svc');

/** A folder in which "certs init a-svc b-svc auth-svc" has been called: one call for all tests. */
const preparedFolder = (): TemporaryFolder => {
  const folder = temporaryFolder();
  cpSync(prepared.path, folder.path, { recursive: true });
  return folder;
};

const leafOf = (...path: string[]): X509Certificate => new X509Certificate(readFileSync(join(...path)));

const daysOf = (certificate: X509Certificate): number =>
  Math.floor((certificate.validToDate.getTime() - certificate.validFromDate.getTime()) / 86_400_000);

test('init makes the folder of the contract: names, kinds of keys, modes, lifetimes, alternative names', async () => {
  using folder = temporaryFolder();
  const { code, stdout, stderr } = await certs(folder.path, 'init');
  assert.equal(code, 0, stderr);
  assert.equal(stderr, '');
  assert.match(
    stdout,
    /^NAME +CERTIFICATE +KEY +VALID UNTIL\nauthority \(new\) +certs\/ca\/ca\.crt +certs\/ca\/ca-key\.pem +\d{4}-\d\d-\d\d\nauth-svc /,
  );
  const root = join(folder.path, 'certs');
  assert.deepEqual(readdirSync(root).sort(), ['ca', 'mesh-client-key.pem', 'mesh-client.crt', 'services']);
  assert.deepEqual(readdirSync(join(root, 'ca')).sort(), ['ca-key.pem', 'ca.crt']);
  assert.deepEqual(
    readdirSync(join(root, 'services')).sort(),
    ['auth-svc', 'event-collector-svc', 'learner-svc'].flatMap((name) => [`${name}-key.pem`, `${name}.crt`]),
  );
  for (const key of ['ca/ca-key.pem', 'services/auth-svc-key.pem', 'mesh-client-key.pem'])
    assert.equal(statSync(join(root, key)).mode & 0o777, 0o600);
  assert.equal(daysOf(leafOf(root, 'ca/ca.crt')), 3_650);
  const leaf = leafOf(root, 'services/learner-svc.crt');
  assert.equal(daysOf(leaf), 365);
  assert.equal(leaf.publicKey.asymmetricKeyDetails?.namedCurve, 'prime256v1');
  assert.equal(
    leaf.subjectAltName,
    [
      ...['learner-svc', 'learner-svc.default', 'learner-svc.default.svc', 'learner-svc.default.svc.cluster.local', 'localhost'].map(
        (name) => `DNS:${name}`,
      ),
      'IP Address:127.0.0.1',
      'URI:spiffe://mesh.local/service/learner-svc',
    ].join(', '),
  );
});

test('init takes services, folder, days, trust domain and RSA, and prints JSON', async () => {
  using folder = temporaryFolder();
  const options = ['--output-dir', 'out/here', '--valid-days', '30', '--trust-domain', 'prod.example', '--key-type', 'rsa', '--json'];
  const { code, stdout, stderr } = await certs(folder.path, 'init', ...options, 'billing-svc');
  assert.equal(code, 0, stderr);
  const told = JSON.parse(stdout);
  assert.equal(told.authority.created, true);
  assert.deepEqual(
    told.certificates.map(({ name }: { name: string }) => name),
    ['billing-svc', 'mesh-client'],
  );
  assert.deepEqual(Object.keys(told.certificates[0]), ['name', 'cert', 'key', 'not_after']);
  const leaf = leafOf(folder.path, 'out/here/services/billing-svc.crt');
  assert.equal(daysOf(leaf), 30);
  assert.equal(leaf.publicKey.asymmetricKeyType, 'rsa');
  assert.match(leaf.subjectAltName ?? '', /URI:spiffe:\/\/prod\.example\/service\/billing-svc/);
});

test('a second init keeps the authority; issue signs with it, in its trust domain', async () => {
  using folder = temporaryFolder();
  await certs(folder.path, 'init', '--trust-domain', 'prod.example', 'a-svc');
  const ca = readFileSync(join(folder.path, 'certs/ca/ca.crt'), 'utf8');
  const again = await certs(folder.path, 'init', 'a-svc');
  assert.match(again.stdout, /^authority \(kept\) /m);
  const issued = await certs(folder.path, 'issue', 'b-svc', 'mesh-client');
  assert.equal(issued.code, 0, issued.stderr);
  assert.equal(readFileSync(join(folder.path, 'certs/ca/ca.crt'), 'utf8'), ca);
  for (const name of ['services/a-svc', 'services/b-svc', 'mesh-client']) {
    const leaf = leafOf(folder.path, 'certs', `${name}.crt`);
    assert.match(leaf.subjectAltName ?? '', /URI:spiffe:\/\/prod\.example\/service\//);
    assert.equal(leaf.verify(new X509Certificate(ca).publicKey), true);
  }
});

test('certificates that end with their authority are said to', async () => {
  using folder = temporaryFolder();
  const { code, stderr } = await certs(folder.path, 'init', '--valid-days', '9000', 'a-svc');
  assert.equal(code, 0);
  assert.match(stderr, /^note: the authority ends on \d{4}-\d\d-\d\d, and its certificates with it\n$/);
});

test('wrong usage ends with 2, says what to do, and writes nothing', async () => {
  using folder = temporaryFolder();
  const cases: readonly (readonly [readonly string[], RegExp])[] = [
    [[], /^Usage: outrider certs /],
    [['iniy'], /unknown command 'iniy'\n\(Did you mean init\?\)/],
    [['init', '--valid-days', '0'], /--valid-days 0: expected whole days, from 1 to 36500\nwrite --valid-days 365/],
    [['init', '--valid-days', '1e3'], /--valid-days 1e3: expected whole days/],
    [['init', 'Auth_Svc'], /"Auth_Svc" cannot be the name of a service\nuse lower-case letters/],
    [['init', 'good-svc', '../evil'], /"\.\.\/evil" cannot be the name of a service/],
    [['init', 'ca'], /"ca" is the name of the authority and cannot be that of a service/],
    [['init', '--trust-domain', 'spiffe://x'], /"spiffe:\/\/x" cannot be a trust domain/],
    [['init', '--key-type', 'dsa'], /Allowed choices are p256, rsa/],
    [['issue'], /missing required argument 'names'/],
    [['issue', 'a-svc'], /certs has no authority that could sign .*\nmake one with "outrider certs init --output-dir \.\/certs"/],
    [['verify'], /\.\/certs does not exist\nmake certificates with "outrider certs init"/],
    [['verify', '.'], /holds no certificates \(\*\.crt, \*\.cer, \*\.pem\)/],
  ];
  const results = await Promise.all(cases.map(([parameters]) => certs(folder.path, ...parameters)));
  for (const [i, { code, stdout, stderr }] of results.entries()) {
    assert.equal(code, 2, `${cases[i]?.[0].join(' ')}: ${stderr}`);
    assert.match(stderr, cases[i]?.[1] ?? /./);
    assert.equal(stdout, '');
  }
  assert.deepEqual(readdirSync(folder.path), []);
});

test('half an authority is an error with a remedy, and the half is left alone', async () => {
  using folder = preparedFolder();
  const [cert, key] = [join(folder.path, 'certs/ca/ca.crt'), join(folder.path, 'certs/ca/ca-key.pem')];
  const before = readFileSync(cert, 'utf8');
  rmSync(key);
  for (const action of ['init', 'issue']) {
    const { code, stderr } = await certs(folder.path, action, 'a-svc');
    assert.equal(code, 2);
    assert.equal(
      stderr,
      'error: certs/ca/ca.crt is there, but certs/ca/ca-key.pem is missing: half an authority cannot sign\nbring certs/ca/ca-key.pem back from your backup, or choose another --output-dir so that a new authority is made\n',
    );
  }
  assert.equal(readFileSync(cert, 'utf8'), before);
  assert.equal(existsSync(key), false);
});

test('a folder that cannot be written to is named', async () => {
  using folder = temporaryFolder();
  writeFileSync(join(folder.path, 'file'), '');
  const { code, stderr } = await certs(folder.path, 'init', '--output-dir', 'file');
  assert.equal(code, 2);
  assert.match(stderr, /^error: file\/ca\/ca-key\.pem cannot be written: .*\nchoose a folder that you may write to with --output-dir\n$/);
});

test('verify ticks what init made and ends with 0', async () => {
  using folder = preparedFolder();
  const { code, stdout, stderr } = await certs(folder.path, 'verify');
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^certs\/ca\/ca\.crt\n {2}✓ chain +mesh\.local root, an authority\n {2}✓ dates +until /);
  assert.match(
    stdout,
    /^certs\/services\/a-svc\.crt\n {2}✓ chain +signed by mesh\.local root\n {2}✓ dates .*\n {2}✓ key +belongs to it\n {2}✓ strength +P-256\n {2}✓ names +a-svc, .*\n {2}✓ purposes +server and client$/m,
  );
  assert.match(stdout, /\n5 certificates, all good\n$/);
  const single = await certs(folder.path, 'verify', 'certs/services/a-svc.crt', '--json');
  assert.equal(single.code, 0);
  const told = JSON.parse(single.stdout);
  assert.equal(told.ok, true);
  assert.equal(told.certificates[0].path, 'certs/services/a-svc.crt');
  assert.deepEqual(told.certificates[0].findings[2], { check: 'key', result: 'good', detail: 'belongs to it' });
});

test('verify says what is wrong with which file and ends with 1', async () => {
  using folder = preparedFolder();
  const at = (name: string): string => join(folder.path, 'certs', name);
  await certs(folder.path, 'init', '--output-dir', 'other', 'a-svc');
  copyFileSync(join(folder.path, 'other/services/a-svc.crt'), at('services/a-svc.crt'));
  copyFileSync(at('mesh-client.crt'), at('services/b-svc.crt'));
  const { code, stdout } = await certs(folder.path, 'verify', './certs');
  assert.equal(code, 1);
  assert.match(
    stdout,
    /a-svc\.crt\n {2}✗ chain +was signed by another authority of the name mesh\.local root; compare the CA_CERT_PATH of both sides/,
  );
  assert.match(
    stdout,
    /b-svc\.crt\n {2}✓ chain .*\n {2}✓ dates .*\n {2}✗ key +belongs to another certificate; .*\n {2}✓ strength .*\n {2}✗ names +is for mesh-client, .*, not for b-svc; /,
  );
  assert.match(stdout, /\n5 certificates, 2 of them wrong\n$/);
  const json = await certs(folder.path, 'verify', '--json');
  assert.equal(json.code, 1);
  assert.equal(JSON.parse(json.stdout).ok, false);
});

test('verify finds the authority near a file, takes --ca, and says where it looked in vain', async () => {
  using folder = preparedFolder();
  mkdirSync(join(folder.path, 'pod'));
  copyFileSync(join(folder.path, 'certs/services/a-svc.crt'), join(folder.path, 'pod/tls.crt'));
  copyFileSync(join(folder.path, 'certs/services/a-svc-key.pem'), join(folder.path, 'pod/tls.key'));
  const lost = await certs(folder.path, 'verify', 'pod/tls.crt');
  assert.equal(lost.code, 2);
  assert.match(lost.stderr, /^error: no authority to check pod\/tls\.crt against: .*\nname the certificate of the authority with --ca\n$/);
  const named = await certs(folder.path, 'verify', 'pod', '--ca', 'certs/ca/ca.crt');
  assert.equal(named.code, 0, named.stderr);
  assert.match(named.stdout, /✓ key +belongs to it/);
  copyFileSync(join(folder.path, 'certs/ca/ca.crt'), join(folder.path, 'pod/ca.crt'));
  assert.equal((await certs(folder.path, 'verify', 'pod/tls.crt')).code, 0);
  const noCa = await certs(folder.path, 'verify', 'pod', '--ca', 'pod/tls.key');
  assert.equal(noCa.code, 2);
  assert.match(noCa.stderr, /pod\/tls\.key holds no certificate of an authority \(PEM\)/);
});

test('the examples of the help work as they stand', async () => {
  for (const action of ['init', 'issue', 'verify']) {
    using folder = preparedFolder();
    const { stdout } = await certs(folder.path, action, '--help');
    const examples = [...stdout.matchAll(/^ {2}outrider certs (.*)$/gm)].map(([, words = '']) =>
      words.replace('/etc/mesh', 'etc/mesh').split(' '),
    );
    assert.ok(examples.length >= 2, stdout);
    for (const words of examples) {
      const { code, stderr } = await certs(folder.path, ...words);
      assert.equal(code, 0, `${words.join(' ')}: ${stderr}`);
    }
  }
});
