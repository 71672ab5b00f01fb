import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { freePort } from '../harness/ports.ts';
import { type ProgramExit, type ProgramOptions, runProgram, spawnProgram } from '../harness/program.ts';
import { type TemporaryFolder, temporaryFolder } from '../harness/temporary-folder.ts';

const root = resolve(import.meta.dirname, '../..');
const npmPatienceMs = 240_000;

/** npm of this machine, without what its user has configured, and without a registry where one cannot be reached. */
const npm = (args: readonly string[], options: ProgramOptions = {}): Promise<ProgramExit> =>
  runProgram('npm', [...args, '--no-audit', '--no-fund', '--loglevel=error'], { patienceMs: npmPatienceMs, ...options });

const succeeded = async (exit: Promise<ProgramExit>): Promise<ProgramExit> => {
  const result = await exit;
  assert.equal(result.code, 0, `${result.stdout}${result.stderr}`);
  return result;
};

/** Another Node, of which the package says that it is enough. */
const oldestNode = '24';

describe('the package, packed and installed in an empty folder', () => {
  let folder: TemporaryFolder;
  let tarball: string;
  let files: readonly string[];
  let installed: string;
  before(async () => {
    folder = temporaryFolder();
    const { stdout } = await succeeded(npm(['pack', '--json', '--ignore-scripts', '--pack-destination', folder.path], { cwd: root }));
    const [packed] = JSON.parse(stdout) as readonly { readonly filename: string; readonly files: readonly { readonly path: string }[] }[];
    tarball = join(folder.path, packed?.filename ?? '');
    files = (packed?.files ?? []).map(({ path }) => path);
    // As an installation leaves it, with the production packages that lie here already: no registry is asked for what it is made of.
    installed = join(folder.path, 'app');
    mkdirSync(join(installed, 'node_modules'), { recursive: true });
    await succeeded(runProgram('tar', ['-xzf', tarball, '-C', join(installed, 'node_modules')]));
    const target = join(installed, 'node_modules/outrider');
    cpSync(join(installed, 'node_modules/package'), target, { recursive: true });
    const { stdout: tree } = await runProgram('npm', ['ls', '--omit=dev', '--all', '--parseable'], { cwd: root });
    for (const path of tree.split('\n').filter((line) => line.startsWith(join(root, 'node_modules/')))) {
      const to = join(installed, 'node_modules', path.slice(join(root, 'node_modules/').length));
      if (existsSync(to)) continue;
      mkdirSync(resolve(to, '..'), { recursive: true });
      cpSync(path, to, { recursive: true, filter: (source) => source === path || !source.slice(path.length).startsWith('/node_modules/') });
    }
    mkdirSync(join(installed, 'node_modules/.bin'), { recursive: true });
    symlinkSync('../outrider/bin/outrider', join(installed, 'node_modules/.bin/outrider'));
  });
  after(() => folder?.[Symbol.dispose]());

  test('holds the program, policies and documents, and neither tests nor sources nor what is only for development', () => {
    for (const wanted of [
      'bin/outrider',
      'dist/main.js',
      'policies/outrider.schema.json',
      'proto/auth.proto',
      'LICENSE',
      'README.md',
      'package.json',
    ])
      assert.ok(files.includes(wanted), wanted);
    const strange = files.filter(
      (path) => !/^(bin|deploy|dist|policies|certs-scripts|proto)\/|^(LICENSE|README\.md|CHANGELOG\.md|package\.json)$/.test(path),
    );
    assert.deepEqual(strange, []);
    assert.deepEqual(
      files.filter((path) => /\.(ts|map|test\.js)$|(^|\/)(test|\.built|\.lock)/.test(path)),
      [],
    );
  });

  /** The nodes of this test: the one that runs it, and the oldest one that the package allows where npm can get it. */
  const nodes: readonly { readonly version: string; readonly find: () => Promise<string | undefined> }[] = [
    { version: 'this', find: async () => process.execPath },
    {
      version: oldestNode,
      find: async () => {
        // Kept as other foreign programs are: 120 MB that need not come again.
        const at = join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'outrider', `node-${oldestNode}`);
        const binary = join(at, 'node_modules/node/bin/node');
        if (existsSync(binary)) return binary;
        mkdirSync(at, { recursive: true });
        writeFileSync(join(at, 'package.json'), '{"private":true,"allowScripts":{"node":true}}');
        await npm(['install', '--prefix', at, `node@${oldestNode}`], { cwd: at });
        return existsSync(binary) ? binary : undefined;
      },
    },
  ];
  for (const { version, find } of nodes) {
    test(`runs on Node ${version}: help, check of policies, a sidecar that gets ready and drains`, async (t) => {
      const node = await find();
      if (node === undefined) return t.skip('npm cannot get that Node here');
      const work = join(folder.path, `work-${version}`);
      mkdirSync(join(work, 'bin'), { recursive: true });
      symlinkSync(node, join(work, 'bin/node'));
      const env = { PATH: `${join(work, 'bin')}:/usr/bin:/bin`, HOME: work };
      const program = join(installed, 'node_modules/.bin/outrider');
      const outrider = (...args: readonly string[]): Promise<ProgramExit> => runProgram(program, args, { cwd: work, env });
      assert.match((await succeeded(outrider('--help'))).stdout, /^Usage: outrider/);
      const { version: packageVersion } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { readonly version: string };
      assert.equal((await succeeded(outrider('--version'))).stdout.trim(), packageVersion);
      await succeeded(outrider('policy', 'check', join(installed, 'node_modules/outrider/policies/retry-writes.yaml')));
      await succeeded(outrider('certs', 'init', '--output-dir', 'certs', 'auth-svc'));
      const adminPort = await freePort();
      await using sidecar = spawnProgram(program, ['sidecar'], {
        cwd: work,
        env: {
          ...env,
          SERVICE_NAME: 'auth-svc',
          GRPC_PORT: '0',
          OUTBOUND_PORT: '0',
          ADMIN_PORT: String(adminPort),
          CA_CERT_PATH: 'certs/ca/ca.crt',
          CLIENT_CERT_PATH: 'certs/services/auth-svc.crt',
          CLIENT_KEY_PATH: 'certs/services/auth-svc-key.pem',
          // Loads what exports traces and metrics.
          JAEGER_HOST: '127.0.0.1',
          METRICS_HOST: '127.0.0.1',
        },
      });
      await sidecar.waitFor(/"msg":"ready"/);
      const answer = await fetch(`http://127.0.0.1:${adminPort}/ready`, { headers: { connection: 'close' } });
      assert.equal(answer.status, 200);
      const info = (await (await fetch(`http://127.0.0.1:${adminPort}/server_info`, { headers: { connection: 'close' } })).json()) as {
        readonly runtime: string;
      };
      if (version !== 'this') assert.match(info.runtime, new RegExp(`^node v${version}\\.`));
      assert.equal((await sidecar.stop()).code, 0);
      assert.deepEqual(readdirSync(work).sort(), ['bin', 'certs']);
    });
  }

  test('npx runs it from the tarball, in an empty folder', async (t) => {
    const empty = join(folder.path, 'empty');
    mkdirSync(empty);
    const ping = await npm(['view', 'commander@14.0.3', 'version', '--fetch-retries=0', '--fetch-timeout=10000'], { cwd: empty });
    if (ping.code !== 0) return t.skip('no registry of npm can be reached');
    // What npx starts is the first node of PATH.
    const env = { ...process.env, PATH: `${dirname(process.execPath)}:${process.env['PATH']}` };
    const { stdout } = await succeeded(
      npm(['exec', '--yes', '--package', tarball, '--', 'outrider', 'policy', 'check', '--help'], { cwd: empty, env }),
    );
    assert.match(stdout, /^Usage: outrider policy check/);
    assert.deepEqual(readdirSync(empty), []);
  });
});
