import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkLeaks } from '../harness/leak-check.ts';
import { runProgram } from '../harness/program.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { type PeerName, type PeerProgram, peerProgram } from './peer-programs.ts';

checkLeaks();

/** What a program answers when it is asked for its version or its usage: enough to know that it runs on this machine. */
const answers: Readonly<Record<string, { readonly args: readonly string[]; readonly says: RegExp }>> = {
  'grpc-interop-client': { args: ['-help'], says: /test_case/ },
  'grpc-interop-server': { args: ['-help'], says: /tls_cert_file/ },
  grpcurl: { args: ['-version'], says: /grpcurl/ },
  h2spec: { args: ['--version'], says: /Version: 2\./ },
  ghz: { args: ['--version'], says: /\S/ },
  consul: { args: ['version'], says: /^Consul v/ },
  jaeger: { args: ['version'], says: /git-version|gitVersion|commit/i },
  'nomad-jobspec': { args: [], says: /usage: nomad-jobspec FILE/ },
  'statsd-exporter': { args: ['--version'], says: /statsd_exporter/ },
  prometheus: { args: ['--version'], says: /^prometheus, version/ },
  promtool: { args: ['--version'], says: /^promtool, version/ },
  'prometheus-with-consul': { args: ['--version'], says: /^prometheus, version/ },
  curl: { args: ['--version'], says: /^curl / },
  openssl: { args: ['version'], says: /^OpenSSL / },
  'python-grpc': { args: ['-c', 'import grpc; print(grpc.__version__)'], says: /^1\./ },
  'python-openmetrics': { args: ['-c', 'import prometheus_client.openmetrics.parser; print("openmetrics")'], says: /openmetrics/ },
  h2load: { args: ['--version'], says: /nghttp2/ },
  nghttp: { args: ['--version'], says: /nghttp2/ },
  nghttpd: { args: ['--version'], says: /nghttp2/ },
};

// All of them before the first test: while one is built, those that were registered would come to an end, and with them the file.
const programs = new Map<string, PeerProgram>();
for (const name of Object.keys(answers)) programs.set(name, await peerProgram(name as PeerName));

for (const [name, program] of programs) {
  const { args, says } = answers[name] as { readonly args: readonly string[]; readonly says: RegExp };
  test(`${name} is at hand and runs`, { skip: program.skip }, async () => {
    const { stdout, stderr } = await runProgram(program.path, args);
    assert.match(stdout + stderr, says);
  });
}

/** What `peerProgram` says in a process with nothing on PATH and an empty cache. */
const askWithout = async (name: PeerName, env: Readonly<Record<string, string>>) => {
  using folder = temporaryFolder();
  const script = `import { peerProgram } from '${import.meta.dirname}/peer-programs.ts';
    const { skip, ...rest } = await peerProgram('${name}'); console.log(JSON.stringify(skip));`;
  const all = { PATH: folder.path, XDG_CACHE_HOME: folder.path, HOME: folder.path, ...env };
  return await runProgram(process.execPath, ['--input-type=module', '-e', script], { env: all });
};

test('without Go, a program in Go is skipped in a line that says how to get it', async () => {
  const { stdout } = await askWithout('grpcurl', {});
  assert.match(stdout, /grpcurl is missing: install Go .*test\/peers\/go\/grpcurl.*GRPCURL_BIN/);
});

test('without Python, its packages are skipped likewise', async () => {
  const { stdout } = await askWithout('python-grpc', {});
  assert.match(stdout, /python-grpc is missing: install Python 3 .*test\/peers\/python\/grpc.*PYTHON_GRPC_BIN/);
});

test('a missing program of Debian names its package', async () => {
  assert.match((await askWithout('nghttp', {})).stdout, /apt-get install nghttp2-client/);
});

test('in CI what is slow to build is used where it is, and not built', async () => {
  const { code, stdout } = await askWithout('prometheus-with-consul', { CI: 'true' });
  assert.equal(code, 0);
  assert.match(stdout, /prometheus-with-consul is not here, and takes minutes to build: run npm test once without CI=true/);
});

test('in CI a missing program is a failure, not a skip', async () => {
  const { code, stderr } = await askWithout('grpcurl', { CI: 'true' });
  assert.notEqual(code, 0);
  assert.match(stderr, /grpcurl is missing/);
});

test('a binary that the environment names wins, and must be one', async () => {
  assert.match((await askWithout('grpcurl', { GRPCURL_BIN: process.execPath })).stdout, /false/);
  assert.match(
    (await askWithout('grpcurl', { GRPCURL_BIN: '/nonexistent' })).stderr,
    /GRPCURL_BIN=\/nonexistent is not an executable file/,
  );
});
