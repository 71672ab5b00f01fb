import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, symlinkSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { test } from 'node:test';
import { checkLeaks } from '../../harness/leak-check.ts';
import { outriderPath, runProgram } from '../../harness/program.ts';
import { temporaryFolder } from '../../harness/temporary-folder.ts';
import { type DockerAnswers, StandInDocker } from './stand-in-docker.ts';

checkLeaks();

const checks = ['compose version --short', 'version --format {{.Server.Version}}'];
const compose = 'compose --file <ours>';
const up = `${compose} up --detach --wait --wait-timeout 180`;

const container = (Service: string, more: object = {}) => ({
  Service,
  State: 'running',
  Health: 'healthy',
  ExitCode: 0,
  Publishers: [],
  ...more,
});
const published = (TargetPort: number, PublishedPort: number, URL = '127.0.0.1') => ({ URL, TargetPort, PublishedPort, Protocol: 'tcp' });
const running = [
  container('auth-svc-pod', { Publishers: [published(50051, 50051), published(9901, 9901)] }),
  container('auth-svc-sidecar'),
  container('certificates', { State: 'exited', Health: '' }),
  container('consul', {
    Publishers: [published(8500, 18500, '0.0.0.0'), { URL: '', TargetPort: 8600, PublishedPort: 0, Protocol: 'udp' }],
  }),
];

test('services, sidecars and Consul are started, awaited, and told where they are', async () => {
  using docker = new StandInDocker({ containers: running });
  const { code, stdout, stderr } = await docker.outrider('up');
  assert.equal(code, 0, stderr);
  assert.deepEqual(docker.asked, [...checks, `${up} --build`, `${compose} ps --all --format json`]);
  // What docker says while it works is for people, and not a result.
  assert.match(stderr, /Container outrider-consul-1 {2}Healthy/);
  assert.match(
    stdout,
    /^the mesh is up\n\nWHAT +WHERE\nConsul +http:\/\/127\.0\.0\.1:18500\/ui\nauth-svc \(mTLS\) +127\.0\.0\.1:50051\ndashboard of auth-svc +http:\/\/127\.0\.0\.1:9901\n\nNext:\n/,
  );
  assert.match(
    stdout,
    /\n {2}docker compose --file \S+\/deploy\/compose\/compose\.yaml run --rm --no-deps auth-svc-sidecar verify --via 127\.0\.0\.1:15001 {2}# /,
  );
  assert.match(stdout, /\n {2}outrider down {2}# end it\n$/);
});

test('components of operators are started by name beside all others, and Envoy by nothing', async () => {
  const services = ['consul', 'auth-svc-pod', 'auth-svc-sidecar'];
  using docker = new StandInDocker({ services, containers: [...running, container('jaeger', { Health: '' }), container('prometheus')] });
  const { code, stdout, stderr } = await docker.outrider('up', '--components', 'envoy,consul,jaeger,prometheus');
  assert.equal(code, 0, stderr);
  assert.match(stderr, /^note: envoy: the sidecars of Outrider take its place; nothing else is started for it\n/);
  assert.deepEqual(docker.asked.slice(2), [
    `${compose} config --services`,
    `${up} --build auth-svc-pod auth-svc-sidecar consul jaeger prometheus`,
    `${compose} ps --all --format json`,
  ]);
  assert.match(stdout, / verify --via 127\.0\.0\.1:15001 --prometheus http:\/\/prometheus:9090 --jaeger http:\/\/jaeger:16686 /);
});

test('StatsD and Grafana bring the Prometheus that they need', async () => {
  using docker = new StandInDocker({ services: ['consul'] });
  await docker.outrider('up', '--components', 'grafana,statsd');
  assert.equal(docker.asked[3], `${up} --build consul grafana prometheus statsd-exporter`);
});

test('--json has addresses, commands and containers', async () => {
  using docker = new StandInDocker({ containers: running });
  const { stdout } = await docker.outrider('up', '--json', '--no-build', '--timeout', '90s', '--project', 'mine');
  assert.deepEqual(docker.asked.slice(2, 4), [
    'image inspect --format {{.Id}} outrider',
    `${compose} --project-name mine up --detach --wait --wait-timeout 90 --no-build`,
  ]);
  const { addresses, next, containers } = JSON.parse(stdout) as { addresses: object[]; next: { command: string }[]; containers: object[] };
  assert.deepEqual(addresses[0], { what: 'Consul', address: 'http://127.0.0.1:18500/ui' });
  assert.match(next[0]?.command ?? '', /--project-name mine run --rm --no-deps auth-svc-sidecar verify/);
  assert.equal(containers.length, 4);
  // Another project than the one that was started would be ended otherwise.
  assert.equal(next.at(-1)?.command, 'outrider down --project mine');
});

test('down ends what was started with components, too, and keeps certificates unless told otherwise', async () => {
  using docker = new StandInDocker();
  const kept = await docker.outrider('down');
  assert.equal(kept.code, 0, kept.stderr);
  assert.match(kept.stdout, /^the mesh is down; its certificates are kept/);
  const all = await docker.outrider('down', '--volumes');
  assert.equal(all.stdout, 'the mesh is down\n');
  assert.deepEqual(docker.asked, [...checks, `${compose} --profile * down`, ...checks, `${compose} --profile * down --volumes`]);
});

const refusals: readonly (readonly [name: string, answers: DockerAnswers, message: RegExp])[] = [
  [
    'no compose plugin',
    { compose: undefined },
    /^error: this docker has no compose plugin \("docker compose"\)\ninstall it: sudo apt-get install docker-compose-plugin/m,
  ],
  [
    'an old compose',
    { compose: 'v2.17.3' },
    /^error: Docker Compose is v2\.17\.3, and 2\.26 is needed: .*\nupdate it: .*docker-compose-plugin/m,
  ],
  ['an old engine', { engine: '24.0.7' }, /^error: the Docker engine is 24\.0\.7, and 26\.0 is needed: .*\nupdate it: /m],
  [
    'an engine that does not run',
    { engineError: 'Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?' },
    /^error: the Docker engine does not answer: Cannot connect .*\nstart it: sudo systemctl start docker/m,
  ],
  [
    'an engine that this user may not use',
    { engineError: 'permission denied while trying to connect to the Docker daemon socket' },
    /^error: the Docker engine does not answer: permission denied .*\nlet this user talk to it: sudo usermod -aG docker/m,
  ],
  [
    'a port that is taken',
    {
      upError:
        'Error response from daemon: driver failed programming external connectivity: Bind for 127.0.0.1:8500 failed: port is already allocated',
    },
    /^error: a port of the mesh is taken: 127\.0\.0\.1:8500\nfind who has it \(ss -ltnp\), or choose others: CONSUL_PORT/m,
  ],
  [
    'a container that does not become healthy',
    {
      upError: 'container outrider-auth-svc-sidecar-1 is unhealthy',
      containers: [
        container('auth-svc-sidecar', { Health: 'unhealthy' }),
        container('certificates', { State: 'exited', ExitCode: 2, Health: '' }),
        container('consul'),
      ],
    },
    /^error: not everything came up: auth-svc-sidecar is unhealthy, certificates is exited with 2\nsee why: docker compose --file \S+ logs auth-svc-sidecar certificates$/m,
  ],
  [
    'anything else',
    { upError: 'no space left on device' },
    /^error: docker compose up failed: no space left on device\nsee what there is: docker compose --file \S+ ps --all$/m,
  ],
];

for (const [name, answers, message] of refusals) {
  test(`${name} is said with what to do, and ends with 1`, async () => {
    using docker = new StandInDocker(answers);
    const { code, stdout, stderr } = await docker.outrider('up');
    assert.equal(code, 1);
    assert.equal(stdout, '');
    assert.match(stderr, message);
  });
}

test('an image that is not there and may not be built is said with how to make it', async () => {
  using docker = new StandInDocker({ hasImage: false });
  const { code, stderr } = await docker.outrider('up', '--no-build');
  assert.equal(code, 1);
  assert.match(
    stderr,
    /^error: there is no image "outrider", and --no-build forbids building it\nmake it in a checkout of Outrider: docker build --tag outrider \.$/m,
  );
});

test('no docker at all is said with where to get it', async () => {
  using folder = temporaryFolder();
  // The tools that the launcher needs, and no docker.
  const bin = join(folder.path, 'bin');
  mkdirSync(bin);
  chmodSync(bin, 0o755);
  const folders = (process.env['PATH'] ?? '').split(delimiter);
  for (const tool of ['sh', 'readlink', 'dirname', 'find', 'head', 'node']) {
    const { stdout } = await runProgram('sh', ['-c', `command -v ${tool}`], { env: { PATH: folders.join(delimiter) } });
    if (stdout.trim() !== '') symlinkSync(stdout.trim(), join(bin, tool));
  }
  const { code, stderr } = await runProgram(outriderPath, ['up'], { env: { PATH: bin } });
  assert.equal(code, 1, stderr);
  assert.match(stderr, /^error: there is no docker on PATH\ninstall Docker 26 or later/m);
});

test('wrong usage asks docker nothing, and ends with 2', async () => {
  using docker = new StandInDocker();
  const cases: readonly (readonly [readonly string[], RegExp])[] = [
    [['up', '--components', 'consul,jeager'], /--components consul,jeager: there is no component "jeager"\ndid you mean jaeger\?/],
    [
      ['up', '--components', 'linkerd'],
      /there is no component "linkerd"\nwrite one of consul, services, sidecars, envoy, jaeger, prometheus, grafana, statsd/,
    ],
    [['up', '--file', '/nowhere/compose.yaml'], /\/nowhere\/compose\.yaml does not exist\nname a compose file with --file/],
    [['up', '--timeout', '60'], /--timeout 60: expected a duration with its unit/],
    [['down', '--project', 'My Mesh'], /--project My Mesh: expected lower-case letters/],
  ];
  for (const [parameters, message] of cases) {
    const { code, stderr } = await docker.outrider(...parameters);
    assert.equal(code, 2, `${parameters.join(' ')}: ${stderr}`);
    assert.match(stderr, message);
  }
  assert.deepEqual(docker.asked, []);
});
