import assert from 'node:assert/strict';
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { ConfigurationError, JsonLogger } from '../../src/core/index.ts';
import { type Identity, IdentityFiles, type IdentityPaths } from '../../src/identity/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { clock, issue, makeAuthority, type Pair, revocationList } from './hostile-certificates.ts';

checkLeaks();

const mesh = await makeAuthority();
const [first, second, third] = [await issue(mesh, 'auth-svc'), await issue(mesh, 'auth-svc'), await issue(mesh, 'auth-svc')];

interface Line {
  readonly level: string;
  readonly msg: string;
  readonly why?: string;
  readonly remedy?: string;
}

class Scene {
  readonly folder: string;
  readonly paths: IdentityPaths;
  readonly lines: Line[] = [];
  #heard = Promise.withResolvers<void>();
  readonly #log = new JsonLogger(clock, (line) => {
    this.lines.push(JSON.parse(line));
    this.#heard.resolve();
    this.#heard = Promise.withResolvers();
  });

  constructor(t: TestContext, withList = false) {
    const folder = temporaryFolder();
    t.after(() => folder[Symbol.dispose]());
    this.folder = folder.path;
    this.paths = {
      caCertPath: this.path('ca.crt'),
      clientCertPath: this.path('tls.crt'),
      clientKeyPath: this.path('tls.key'),
      ...(withList ? { crlPath: this.path('crl.pem') } : {}),
    };
    this.write('ca.crt', mesh.cert);
    this.write('tls.crt', first.cert);
    this.write('tls.key', first.key);
    if (withList) this.write('crl.pem', revocationList(mesh, []));
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  write(name: string, text: string): void {
    writeFileSync(this.path(name), text, { mode: 0o600 });
  }

  /** As certificate managers do it: beside it, then renamed over it. */
  replace(name: string, text: string): void {
    this.write(`.${name}.tmp`, text);
    renameSync(this.path(`.${name}.tmp`), this.path(name));
  }

  open(t: TestContext, paths = this.paths): IdentityFiles {
    const files = new IdentityFiles(paths, { clock, log: this.#log });
    t.after(() => files.close());
    return files;
  }

  /** Waits for a log line, as an operator would. */
  async line(msg: string): Promise<Line> {
    for (;;) {
      const found = this.lines.find((line) => line.msg === msg);
      if (found !== undefined) return found;
      await this.#held(this.#heard.promise);
    }
  }

  /** The clock's timers keep no process alive, but a test that waits for one must live. */
  async #held(promise: Promise<unknown>): Promise<void> {
    const hold = setInterval(() => {}, 60_000);
    try {
      await promise;
    } finally {
      clearInterval(hold);
    }
  }

  async next(files: IdentityFiles, act: () => void): Promise<Identity> {
    const { promise, resolve } = Promise.withResolvers<Identity>();
    const end = files.subscribe(resolve);
    act();
    await this.#held(promise);
    end();
    return promise;
  }
}

const keptMessage = 'certificates not reloaded, the last good ones stay';
const certOf = ({ cert }: Pair): string => cert;

test('a rotation of both files is taken up, counted and logged', async (t) => {
  const scene = new Scene(t);
  const files = scene.open(t);
  assert.equal(files.value.certPem, first.cert);
  const next = await scene.next(files, () => {
    scene.replace('tls.key', second.key);
    scene.replace('tls.crt', second.cert);
  });
  assert.equal(next.certPem, certOf(second));
  assert.equal(files.value, next);
  assert.equal(files.reloadOk, 1);
  assert.equal(files.lastError, undefined);
  assert.deepEqual(Object.keys(await scene.line('certificates reloaded')), ['time', 'level', 'msg', 'fingerprint', 'not_after']);
});

test('a new certificate beside the old key is refused and the old pair kept, until the key follows', async (t) => {
  const scene = new Scene(t);
  const files = scene.open(t);
  scene.replace('tls.crt', second.cert);
  const line = await scene.line(keptMessage);
  assert.equal(line.level, 'warning');
  assert.match(line.why ?? '', /^CLIENT_KEY_PATH: .* is not the key of the certificate in/);
  assert.ok(line.remedy);
  assert.equal(files.value.certPem, first.cert);
  assert.equal(files.reloadFailed, 1);
  assert.equal(files.reloadOk, 0);
  assert.equal(files.lastError, line.why);
  const next = await scene.next(files, () => scene.replace('tls.key', second.key));
  assert.equal(next.certPem, second.cert);
  assert.equal(files.reloadOk, 1);
  assert.equal(files.lastError, undefined);
});

test('a swap of the folder behind a symbolic link is seen, as Kubernetes does it', async (t) => {
  const scene = new Scene(t);
  const version = (name: string, pair: Pair): void => {
    mkdirSync(scene.path(name));
    scene.write(join(name, 'tls.crt'), pair.cert);
    scene.write(join(name, 'tls.key'), pair.key);
    scene.write(join(name, 'ca.crt'), mesh.cert);
  };
  const pointTo = (name: string): void => {
    symlinkSync(name, scene.path('..data_tmp'));
    renameSync(scene.path('..data_tmp'), scene.path('..data'));
  };
  for (const name of ['ca.crt', 'tls.crt', 'tls.key']) rmSync(scene.path(name));
  version('..1', first);
  pointTo('..1');
  for (const name of ['ca.crt', 'tls.crt', 'tls.key']) symlinkSync(join('..data', name), scene.path(name));
  const files = scene.open(t);
  assert.equal(files.value.certPem, first.cert);
  version('..2', second);
  assert.equal((await scene.next(files, () => pointTo('..2'))).certPem, second.cert);
  version('..3', third);
  const next = await scene.next(files, () => {
    pointTo('..3');
    rmSync(scene.path('..2'), { recursive: true });
  });
  assert.equal(next.certPem, third.cert);
  assert.equal(files.reloadFailed, 0);
});

test('files that are deleted leave the last good identity in force, and are taken up when they are back', async (t) => {
  const scene = new Scene(t);
  const files = scene.open(t);
  rmSync(scene.path('tls.crt'));
  assert.match((await scene.line(keptMessage)).why ?? '', /^CLIENT_CERT_PATH: .* does not exist$/);
  assert.equal(files.value.certPem, first.cert);
  const next = await scene.next(files, () => {
    scene.replace('tls.key', second.key);
    scene.replace('tls.crt', second.cert);
  });
  assert.equal(next.certPem, second.cert);
});

test('a certificate that every peer would refuse is not taken up', async (t) => {
  const scene = new Scene(t);
  const files = scene.open(t);
  const expired = await issue(mesh, 'auth-svc', { atMs: clock.wallNow() - 86_400_000 * 9, validDays: 1 });
  scene.replace('tls.key', expired.key);
  scene.replace('tls.crt', expired.cert);
  // Whichever of the two states is read: neither is good.
  await scene.line(keptMessage);
  assert.equal(files.reload(), false);
  assert.match(files.lastError ?? '', /^CLIENT_CERT_PATH: .* has expired on /);
  assert.equal(files.value.certPem, first.cert);
});

test('a reload by hand of files that are the same changes and counts nothing', (t) => {
  const scene = new Scene(t);
  const files = scene.open(t);
  const before = files.value;
  files.subscribe(() => assert.fail('nothing has changed'));
  assert.equal(files.reload(), true);
  scene.write('tls.crt', first.cert);
  assert.equal(files.reload(), true);
  assert.equal(files.value, before);
  assert.deepEqual([files.reloadOk, files.reloadFailed], [0, 0]);
});

test('a new revocation list is taken up; one that has expired is not', async (t) => {
  const scene = new Scene(t, true);
  const files = scene.open(t);
  assert.equal(files.value.revocations.size, 0);
  const next = await scene.next(files, () => scene.replace('crl.pem', revocationList(mesh, [second])));
  assert.equal(next.revocations.size, 1);
  scene.replace('crl.pem', revocationList(mesh, [], '20250201000000Z'));
  await scene.line(keptMessage);
  assert.equal(files.value.revocations.size, 1);
});

test('a first reading that fails throws, and leaves no watch behind', (t) => {
  const scene = new Scene(t);
  rmSync(scene.path('ca.crt'));
  assert.throws(() => scene.open(t), ConfigurationError);
});

test('a certificate that peers will stumble over is taken, with a warning in the log', async (t) => {
  const scene = new Scene(t);
  const foreign = await issue(await makeAuthority(), 'auth-svc');
  scene.write('tls.crt', foreign.cert);
  scene.write('tls.key', foreign.key);
  scene.open(t);
  assert.equal((await scene.line('certificate')).why, 'our certificate was signed by another authority of the name mesh.local root');
});
