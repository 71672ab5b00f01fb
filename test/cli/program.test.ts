import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createServer, type IncomingMessage } from 'node:http';
import { type AddressInfo, createServer as createSocketServer } from 'node:net';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { freePort } from '../harness/ports.ts';

const main = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

interface Result {
  readonly code: number | null;
  readonly out: string;
  readonly error: string;
}

/** Runs the program as somebody at a shell would, with nothing of this test's environment. */
const outrider = (parameters: readonly string[], environment: Readonly<Record<string, string>> = {}): Promise<Result> =>
  new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [main, ...parameters], { env: environment, stdio: ['ignore', 'pipe', 'pipe'] });
    let out = '';
    let error = '';
    child.stdout.on('data', (chunk: Buffer) => (out += chunk));
    child.stderr.on('data', (chunk: Buffer) => (error += chunk));
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, out, error }));
  });

type Answer = (request: IncomingMessage) => { readonly status?: number; readonly body: string };

/** An admin port that answers as told and remembers what it was asked. */
const adminPort = async (t: TestContext, answer: Answer): Promise<{ readonly port: number; readonly asked: readonly string[] }> => {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`);
    const { status = 200, body } = answer(request);
    response.writeHead(status).end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  return { port: (server.address() as AddressInfo).port, asked };
};

test('help goes to stdout with exit code 0, for the program and for every command', async () => {
  const commands = [
    [],
    ['sidecar'],
    ['demo'],
    ['stats'],
    ['clusters'],
    ['routes'],
    ['breaker'],
    ['breaker', 'open'],
    ['drain'],
    ['verify'],
    ['up'],
    ['down'],
  ];
  const results = await Promise.all(commands.map((command) => outrider([...command, '--help'])));
  for (const [i, { code, out, error }] of results.entries()) {
    assert.equal(code, 0, `${commands[i]}: ${error}`);
    assert.match(out, new RegExp(`^Usage: outrider ${commands[i]?.join(' ')}`));
    assert.equal(error, '');
  }
  const [program] = results;
  for (const command of ['sidecar', 'certs', 'policy', 'stats', 'clusters', 'routes', 'breaker', 'drain', 'demo', 'verify', 'up', 'down']) {
    assert.match(program?.out ?? '', new RegExp(`^ {2}${command} `, 'm'));
  }
  assert.doesNotMatch(program?.out ?? '', /demo-service/);
});

test('the help of the sidecar lists every variable with its default', async () => {
  const { out } = await outrider(['sidecar', '--help']);
  assert.match(out, /^ {2}GRPC_PORT +inbound listener \(50051\)$/m);
  assert.match(out, /^ {2}JAEGER_HOST +host of Jaeger, which gets traces by UDP$/m);
});

test('the version is that of the package', async () => {
  const { code, out } = await outrider(['--version']);
  assert.equal(code, 0);
  assert.match(out, /^\d+\.\d+\.\d+/);
});

test('wrong usage says what was meant on stderr and ends with 2', async () => {
  const cases: readonly (readonly [readonly string[], RegExp])[] = [
    [[], /^Usage: outrider/],
    [['clustres'], /unknown command 'clustres'\n\(Did you mean clusters\?\)/],
    [['stats', '--filtr', 'x'], /unknown option '--filtr'\n\(Did you mean --filter\?\)/],
    [['breaker'], /^Usage: outrider breaker/],
    [['breaker', 'open'], /missing required argument 'cluster'/],
    [['breaker', 'open', 'auth-svc', '--ttl', '60'], /--ttl 60: expected a duration with its unit\nwrite --ttl 60s/],
    [['stats', '--admin', 'nonsense:port'], /--admin nonsense:port: expected host:port\nwrite --admin 127\.0\.0\.1:9901/],
    [['demo', '--for', 'ever'], /--for ever: expected a duration/],
    [['demo', '--fault', 'kil:learner-svc@1s'], /no fault is called kil\nwrite kill/],
    [['demo', '--fault', 'kill:learner@1s'], /no service is called learner/],
    [['demo-service', '--name', 'nobody'], /--name nobody: no service of the demo/],
  ];
  const results = await Promise.all(cases.map(([parameters]) => outrider(parameters)));
  for (const [i, { code, out, error }] of results.entries()) {
    assert.equal(code, 2, `${cases[i]?.[0].join(' ')}: ${error}`);
    assert.match(error, cases[i]?.[1] ?? /./);
    assert.equal(out, '');
  }
});

test('a sidecar that is configured wrongly says everything that is wrong, and ends with 2', async () => {
  const { code, out, error } = await outrider(['sidecar'], {
    SERVICE_NAME: 'auth-svc',
    INBOUND_TLS: 'off',
    GRPC_PORT: 'http',
    DRAIN_TIMEOUT: '30',
  });
  assert.equal(code, 2);
  assert.equal(out, '');
  assert.equal(
    error,
    `error: the configuration has 2 problems:
  GRPC_PORT: "http" is not allowed: expected a port from 0 to 65535 (0: the system chooses); write GRPC_PORT=50051
  DRAIN_TIMEOUT: "30" is not allowed: expected a duration with its unit, 0s to 24h (units: ms, s, m, h); write DRAIN_TIMEOUT=30s
"outrider sidecar --help" lists every variable
`,
  );
});

test('a sidecar whose files are missing names them, and ends with 2', async () => {
  const { code, error } = await outrider(['sidecar'], {
    SERVICE_NAME: 'auth-svc',
    INBOUND_TLS: 'off',
    POLICY_PATH: '/nowhere',
    STARTUP_WAIT: '300ms',
  });
  assert.equal(code, 2);
  assert.match(error, /missing after 300ms:\n {2}POLICY_PATH: \/nowhere: no such file or folder\n/);
});

test('commands that find no sidecar say where they looked and how to name another, and end with 1', async () => {
  const port = await freePort();
  const { code, error } = await outrider(['clusters'], { ADMIN_PORT: String(port), ADMIN_ADDRESS: '0.0.0.0' });
  assert.equal(code, 1);
  assert.equal(
    error,
    `error: no sidecar answers at http://127.0.0.1:${port}: nobody listens there\nstart a sidecar there, or name its admin port with --admin host:port or with ADMIN_ADDRESS and ADMIN_PORT\n`,
  );
});

test('stats prints the lines of the admin port, and passes the filter on', async (t) => {
  const { port, asked } = await adminPort(t, () => ({ body: 'cluster.auth-svc.upstream_rq_total: 5\n' }));
  const { code, out } = await outrider(['stats', '--filter', 'rq_total$', '--admin', `127.0.0.1:${port}`]);
  assert.equal(code, 0);
  assert.equal(out, 'cluster.auth-svc.upstream_rq_total: 5\n');
  assert.deepEqual(asked, ['GET /stats?filter=rq_total%24']);
});

const clusters = JSON.stringify({
  cluster_statuses: [
    {
      name: 'auth-svc',
      circuit_breaker: { state: 'OPEN', consecutive_failures: 5, scope: 'cluster' },
      host_statuses: [
        {
          address: { socket_address: { address: '10.0.0.4', port_value: 50051 } },
          health_status: { eds_health_status: 'HEALTHY' },
          stats: [
            { name: 'rq_active', value: '2' },
            { name: 'rq_total', value: 120 },
            { name: 'rq_error', value: 5 },
          ],
        },
      ],
    },
    {
      name: 'learner-svc',
      circuit_breakers: [
        { method: '/a/B', state: 'CLOSED', consecutive_failures: 0 },
        { method: '/a/C', state: 'HALF_OPEN', consecutive_failures: 5 },
      ],
    },
  ],
});

test('clusters prints a table for people, and the answer itself with --json', async (t) => {
  const { port } = await adminPort(t, () => ({ body: clusters }));
  const [table, json] = await Promise.all([
    outrider(['clusters'], { ADMIN_PORT: String(port) }),
    outrider(['clusters', '--json'], { ADMIN_PORT: String(port) }),
  ]);
  assert.equal(
    table.out,
    `CLUSTER      BREAKER          FAILURES  ENDPOINT        HEALTH   ACTIVE  CALLS  ERRORS
auth-svc     OPEN             5         10.0.0.4:50051  healthy  2       120    5
learner-svc  HALF_OPEN (1/2)  5         none            -        -       -      -
`,
  );
  assert.deepEqual(JSON.parse(json.out), JSON.parse(clusters));
});

test('routes prints them in their order', async (t) => {
  const route = {
    name: 'login',
    match: { prefix: '/auth.AuthService/' },
    cluster: 'auth-svc',
    timeout: '5s',
    location: { file: 'mesh.yaml', line: 3, column: 5 },
  };
  const { port } = await adminPort(t, () => ({ body: JSON.stringify({ outbound: [route], inbound: [] }) }));
  const { out } = await outrider(['routes', '--admin', String(port)]);
  assert.equal(
    out,
    `DIRECTION  ROUTE  MATCH                      CLUSTER   TIMEOUT  RETRIES  WRITTEN AT
outbound   login  prefix /auth.AuthService/  auth-svc  5s       none     mesh.yaml:3
`,
  );
});

test('breaker asks by POST for the cluster, endpoint, method and time that it was told', async (t) => {
  const { port, asked } = await adminPort(t, () => ({ body: '{}' }));
  const environment = { ADMIN_PORT: String(port) };
  const opened = await outrider(['breaker', 'open', 'auth svc', '--ttl', '60s', '--endpoint', '10.0.0.4:50051'], environment);
  const reset = await outrider(['breaker', 'reset', 'auth-svc', '--method', '/a.B/C'], environment);
  assert.deepEqual(asked, [
    'POST /clusters/auth%20svc/circuit_breakers/open?ttl=60s&endpoint=10.0.0.4%3A50051',
    'POST /clusters/auth-svc/circuit_breakers/reset?method=%2Fa.B%2FC',
  ]);
  assert.equal(opened.out, 'circuit breaker of auth svc for 10.0.0.4:50051 held open for 60s or until a reset\n');
  assert.equal(reset.out, 'circuit breaker of auth-svc for /a.B/C reset\n');
});

test('clusters uneject takes an endpoint back, and says where there was nothing to take', async (t) => {
  let unejected = true;
  const { port, asked } = await adminPort(t, () => ({ body: JSON.stringify({ cluster: 'auth-svc', endpoint: 'x', unejected }) }));
  const environment = { ADMIN_PORT: String(port) };
  const first = await outrider(['clusters', 'uneject', 'auth-svc', '10.0.0.4:50051'], environment);
  unejected = false;
  const second = await outrider(['clusters', 'uneject', 'auth svc', '[fd00::4]:50051', '--admin', `127.0.0.1:${port}`]);
  const third = await outrider(['clusters', 'uneject', 'auth-svc', '10.0.0.4:50051', '--json'], environment);
  assert.deepEqual(asked, [
    'POST /clusters/auth-svc/endpoints/10.0.0.4%3A50051/uneject',
    'POST /clusters/auth%20svc/endpoints/%5Bfd00%3A%3A4%5D%3A50051/uneject',
    'POST /clusters/auth-svc/endpoints/10.0.0.4%3A50051/uneject',
  ]);
  assert.deepEqual([first.out, first.code], ['10.0.0.4:50051 of auth-svc takes calls again\n', 0]);
  assert.equal(second.out, '[fd00::4]:50051 of auth svc was not ejected\n');
  assert.equal(JSON.parse(third.out).unejected, false);
});

test('what the admin port refuses is a failure with its own words', async (t) => {
  const { port } = await adminPort(t, () => ({ status: 404, body: '{"error":"no cluster is called x"}' }));
  const { code, error } = await outrider(['breaker', 'reset', 'x', '--admin', `localhost:${port}`]);
  assert.equal(code, 1);
  assert.equal(error, `error: POST http://localhost:${port}/clusters/x/circuit_breakers/reset answered 404: no cluster is called x\n`);
});

test('something else than an admin port is told apart from nobody', async (t) => {
  const garbage = createSocketServer((socket) => socket.end('220 mail.example ESMTP\r\n'));
  await new Promise<void>((resolve) => garbage.listen(0, '127.0.0.1', resolve));
  t.after(() => garbage.close());
  const { port } = garbage.address() as AddressInfo;
  const { code, error } = await outrider(['drain', '--admin', `127.0.0.1:${port}`]);
  assert.equal(code, 1);
  assert.match(error, /what listens there does not speak HTTP/);
});

test('a reader that leaves early is no failure', async (t) => {
  const { port } = await adminPort(t, () => ({ body: 'name: 1\n'.repeat(100_000) }));
  const child = spawn(process.execPath, [main, 'stats', '--admin', String(port)], { env: {}, stdio: ['ignore', 'pipe', 'pipe'] });
  let error = '';
  child.stderr.on('data', (chunk: Buffer) => (error += chunk));
  child.stdout.once('data', () => child.stdout.destroy());
  const code = await new Promise((resolve) => child.on('close', resolve));
  assert.deepEqual({ code, error }, { code: 0, error: '' });
});
