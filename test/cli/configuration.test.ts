import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { type Environment, readSidecarConfiguration, type SidecarConfiguration } from '../../src/cli/configuration.ts';
import { settingNames, settings } from '../../src/cli/settings.ts';
import { awaitStartupFiles } from '../../src/cli/startup-wait.ts';
import { ConfigurationError, VirtualClock } from '../../src/core/index.ts';

const identity = { CA_CERT_PATH: '/certs/ca.crt', CLIENT_CERT_PATH: '/certs/auth.crt', CLIENT_KEY_PATH: '/certs/auth.pem' };
const smallest = { SERVICE_NAME: 'auth-svc', ...identity };

const read = (environment: Environment, configPath?: string): SidecarConfiguration =>
  readSidecarConfiguration({ environment, ...(configPath === undefined ? {} : { configPath }) });

const problemsOf = (environment: Environment, configPath?: string): readonly string[] => {
  try {
    read(environment, configPath);
  } catch (error) {
    assert.ok(error instanceof ConfigurationError, String(error));
    return error.message
      .split('\n')
      .slice(1)
      .map((line) => line.trim());
  }
  return [];
};

const folder = (t: TestContext): string => {
  const path = mkdtempSync(join(tmpdir(), 'outrider-configuration-'));
  t.after(() => rmSync(path, { recursive: true }));
  return path;
};

const yamlFile = (t: TestContext, text: string): string => {
  const path = join(folder(t), 'sidecar.yaml');
  writeFileSync(path, text);
  return path;
};

test('a name and an identity are enough, and everything else has its documented default', () => {
  assert.deepEqual(read(smallest), {
    serviceName: 'auth-svc',
    serviceVersion: undefined,
    grpcPort: 50051,
    localServicePort: 8080,
    localServiceHost: '127.0.0.1',
    localServiceHealthIntervalMs: 5_000,
    outboundPort: 15001,
    adminPort: 9901,
    adminAddress: '127.0.0.1',
    adminAllowedHosts: [],
    adminGrpcPort: undefined,
    identity: { caCertPath: '/certs/ca.crt', clientCertPath: '/certs/auth.crt', clientKeyPath: '/certs/auth.pem' },
    inboundTls: 'strict',
    tlsMinimum: 'TLSv1.3',
    trustDomain: 'mesh.local',
    policyPath: undefined,
    policyConsulKv: undefined,
    policyConsulEntries: false,
    policyConsulIntentions: false,
    drainTimeoutMs: 30_000,
    drainDelayMs: 0,
    startupWaitMs: 0,
    maxConnections: undefined,
    maxConnectionsPerListener: undefined,
    maxConnectionsPerSource: 0,
    maxMemoryBytes: undefined,
    logLevel: 'info',
    consul: undefined,
    registration: undefined,
    tracing: undefined,
    accessLog: undefined,
    statsd: undefined,
    otlpMetrics: undefined,
    metricsExemplars: undefined,
    locality: undefined,
    warnings: [],
  });
});

test('every variable is understood', () => {
  const configuration = read({
    ...smallest,
    SERVICE_VERSION: 'v1.2.3',
    GRPC_PORT: '0',
    LOCAL_SERVICE_PORT: '9090',
    LOCAL_SERVICE_HOST: '[::1]',
    OUTBOUND_PORT: '15002',
    ADMIN_PORT: '9902',
    ADMIN_ADDRESS: '0.0.0.0',
    ADMIN_ALLOWED_HOSTS: 'admin.internal, Ops.Internal',
    CRL_PATH: '/certs/crl.pem',
    INBOUND_TLS: 'permissive',
    TRUST_DOMAIN: 'prod.example',
    POLICY_PATH: '/policies',
    DRAIN_TIMEOUT: '1m',
    DRAIN_DELAY: '1.5s',
    STARTUP_WAIT: '250ms',
    LOG_LEVEL: 'WARN',
  });
  const { grpcPort, localServiceHost, adminAllowedHosts, drainTimeoutMs, drainDelayMs, startupWaitMs, logLevel } = configuration;
  assert.deepEqual(
    { grpcPort, localServiceHost, adminAllowedHosts, drainTimeoutMs, drainDelayMs, startupWaitMs, logLevel },
    {
      grpcPort: 0,
      localServiceHost: '::1',
      adminAllowedHosts: ['admin.internal', 'ops.internal'],
      drainTimeoutMs: 60_000,
      drainDelayMs: 1_500,
      startupWaitMs: 250,
      logLevel: 'warning',
    },
  );
  assert.equal(configuration.identity?.crlPath, '/certs/crl.pem');
  assert.deepEqual(configuration.warnings, []);
});

test('all problems are told at once, each with the value, what is allowed and what to write', () => {
  const problems = problemsOf({
    GRPC_PORT: '70000',
    LOCAL_SERVICE_PORT: '0',
    LOCAL_SERVICE_HOST: 'http://localhost',
    ADMIN_ADDRESS: '127.0.0.1:9901',
    INBOUND_TLS: 'stric',
    TLS_MINIMUM: '1.1',
    DRAIN_TIMEOUT: '30',
    DRAIN_DELAY: '-1s',
    TRUST_DOMAIN: 'spiffe://Mesh.Local/service',
    LOG_LEVEL: 'verbose',
    CA_CERT_PATH: '/certs/ca.crt',
  });
  assert.deepEqual(problems, [
    'SERVICE_NAME: not set; write the name of the service beside this sidecar, such as SERVICE_NAME=auth-svc',
    'INBOUND_TLS: "stric" is not allowed: expected strict | permissive | off; write INBOUND_TLS=strict',
    'GRPC_PORT: "70000" is not allowed: expected a port from 0 to 65535 (0: the system chooses); write GRPC_PORT=50051',
    'LOCAL_SERVICE_PORT: "0" is not allowed: expected a port from 1 to 65535; write LOCAL_SERVICE_PORT=8080',
    'LOCAL_SERVICE_HOST: "http://localhost" is not allowed: expected a host name or an IP address, without scheme and port; write LOCAL_SERVICE_HOST=127.0.0.1',
    'ADMIN_ADDRESS: "127.0.0.1:9901" is not allowed: expected a host name or an IP address, without scheme and port; write ADMIN_ADDRESS=127.0.0.1',
    'TLS_MINIMUM: "1.1" is not allowed: expected 1.3 | 1.2; write TLS_MINIMUM=1.3',
    'TRUST_DOMAIN: "spiffe://Mesh.Local/service" is not allowed: expected a SPIFFE trust domain (lower case, no scheme, no path); write TRUST_DOMAIN=mesh.local',
    'DRAIN_TIMEOUT: "30" is not allowed: expected a duration with its unit, 0s to 24h (units: ms, s, m, h); write DRAIN_TIMEOUT=30s',
    'LOG_LEVEL: "verbose" is not allowed: expected trace | debug | info | warning | error | off; write LOG_LEVEL=info',
    'DRAIN_DELAY: "-1s" is not allowed: expected a duration with its unit, 0s to 24h (units: ms, s, m, h); write DRAIN_DELAY=1s',
    'CLIENT_CERT_PATH, CLIENT_KEY_PATH: not set, and the three files of an identity belong together; write the paths of the PEM files ("outrider certs issue" makes them), or INBOUND_TLS=off without any of them',
  ]);
});

test('without TLS inbound and without any certificate variable there is no identity', () => {
  assert.equal(read({ SERVICE_NAME: 'auth-svc', INBOUND_TLS: 'off' }).identity, undefined);
  assert.notEqual(read({ ...smallest, INBOUND_TLS: 'off' }).identity, undefined);
});

test('an identity is required wherever TLS is', () => {
  const [problem] = problemsOf({ SERVICE_NAME: 'auth-svc' });
  assert.match(
    problem ?? '',
    /^CA_CERT_PATH, CLIENT_CERT_PATH, CLIENT_KEY_PATH: not set, and every connection of the mesh is authenticated;/,
  );
});

test('two listeners on one port, or a service on the port of its own sidecar, are refused', () => {
  assert.deepEqual(problemsOf({ ...smallest, ADMIN_PORT: '15001', LOCAL_SERVICE_PORT: '50051' }), [
    'GRPC_PORT and LOCAL_SERVICE_PORT are both 50051: each needs a port of its own; change one of them',
    'OUTBOUND_PORT and ADMIN_PORT are both 15001: each needs a port of its own; change one of them',
  ]);
  assert.equal(read({ ...smallest, GRPC_PORT: '0', OUTBOUND_PORT: '0', ADMIN_PORT: '0' }).adminPort, 0);
  assert.equal(read({ ...smallest, LOCAL_SERVICE_PORT: '50051', LOCAL_SERVICE_HOST: 'auth' }).localServicePort, 50051);
});

test('an empty variable counts as not set, which is how compose files unset one', () => {
  assert.equal(read({ ...smallest, GRPC_PORT: '', CRL_PATH: ' ' }).grpcPort, 50051);
  assert.equal(problemsOf({ ...smallest, SERVICE_NAME: '' }).length, 1);
});

test('the file has the same names in lower case, and the environment wins over it', (t) => {
  const path = yamlFile(
    t,
    `# beside the environment
service_name: from-file
grpc_port: 50052
tls_minimum: 1.3
inbound_tls: off
admin_allowed_hosts: [a.internal, b.internal]
drain_timeout: 5s
policy_path:
`,
  );
  const configuration = read({ SERVICE_NAME: 'auth-svc' }, path);
  assert.equal(configuration.serviceName, 'auth-svc');
  assert.equal(configuration.grpcPort, 50052);
  assert.equal(configuration.inboundTls, 'off');
  assert.equal(configuration.drainTimeoutMs, 5_000);
  assert.equal(configuration.policyPath, undefined);
  assert.deepEqual(configuration.adminAllowedHosts, ['a.internal', 'b.internal']);
});

test('problems of the file have line and column, and unknown keys the word that was meant', (t) => {
  const path = yamlFile(
    t,
    'service_name: auth-svc\ninbound_tsl: off\ngrpc_port: many\nadmin_port: { number: 1 }\nzebra: 1\nGRPC_PORT: 1\n',
  );
  assert.deepEqual(
    problemsOf(identity, path).map((problem) => problem.replace(path, 'sidecar.yaml')),
    [
      'sidecar.yaml:2:1: unknown key inbound_tsl; did you mean inbound_tls?',
      'sidecar.yaml:4:1: admin_port: expected one value, found a map; write admin_port: 9901',
      'sidecar.yaml:5:1: unknown key zebra; see "outrider sidecar --help" for those there are',
      'sidecar.yaml:6:1: unknown key GRPC_PORT; did you mean grpc_port?',
      'sidecar.yaml:3:1: grpc_port: "many" is not allowed: expected a port from 0 to 65535 (0: the system chooses); write grpc_port: 50051',
    ],
  );
});

test('a file that is no map, no YAML, or not there is refused with its place', (t) => {
  assert.match(problemsOf(smallest, yamlFile(t, '- one\n- two\n'))[0] ?? '', /sidecar\.yaml:1:1: expected a map of settings/);
  assert.match(
    problemsOf(smallest, yamlFile(t, 'grpc_port: 1\ngrpc_port: 2\n'))[0] ?? '',
    /sidecar\.yaml:2:1: not YAML: Map keys must be unique/,
  );
  assert.throws(() => read(smallest, '/nowhere/sidecar.yaml'), {
    name: 'ConfigurationError',
    message: '--config /nowhere/sidecar.yaml: no such file',
  });
  assert.equal(read(smallest, yamlFile(t, '# nothing yet\n')).grpcPort, 50051);
});

test('a near miss of a name is a warning, and so is what is left for a migration', () => {
  const warnings = read({ ...smallest, GRPC_PROT: '5', HOME: '/root' }).warnings;
  assert.deepEqual(warnings, ['GRPC_PROT is no variable of Outrider; did you mean GRPC_PORT?']);
  assert.deepEqual(read({ ...smallest, GRPC_PROT: '5', GRPC_PORT: '50051' }).warnings, []);
  assert.match(read({ ...smallest, TLS_MINIMUM: '1.2' }).warnings[0] ?? '', /^TLS_MINIMUM is 1\.2/);
});

test('what every object has is no word of a setting', () => {
  for (const variable of ['INBOUND_TLS', 'LOG_LEVEL', 'OTEL_TRACES_SAMPLER', 'METRICS_FORMAT'])
    for (const word of ['__proto__', 'constructor', 'toString'])
      assert.throws(() => read({ ...smallest, [variable]: word }), ConfigurationError, `${variable}=${word}`);
});

test('whatever the values are, the answer is a configuration or a configuration error', () => {
  const value = fc.oneof(fc.string(), fc.constantFrom('0', '65536', '1e3', '-1', 'off', '1.2', '5s', '__proto__', 'a,b'));
  const variables = settingNames.map((name) => settings[name].variable);
  fc.assert(
    fc.property(fc.dictionary(fc.constantFrom(...variables), value), (environment) => {
      try {
        assert.ok(Object.isFrozen(read({ ...smallest, ...environment })));
      } catch (error) {
        assert.ok(error instanceof ConfigurationError, String(error));
      }
    }),
  );
});

test('a start without waiting names every file that is missing', async () => {
  const consul = { CONSUL_HTTP_ADDR: 'consul', CONSUL_HTTP_TOKEN_FILE: '/nowhere/token', CONSUL_CACERT: '/nowhere/consul.crt' };
  const configuration = read({ ...smallest, POLICY_PATH: '/nowhere/policies', ...consul });
  await assert.rejects(awaitStartupFiles(configuration, new VirtualClock()), {
    name: 'ConfigurationError',
    message: `files of the configuration are missing:
  CA_CERT_PATH: /certs/ca.crt: no such file or folder
  CLIENT_CERT_PATH: /certs/auth.crt: no such file or folder
  CLIENT_KEY_PATH: /certs/auth.pem: no such file or folder
  POLICY_PATH: /nowhere/policies: no such file or folder
  CONSUL_HTTP_TOKEN_FILE: /nowhere/token: no such file or folder
  CONSUL_CACERT: /nowhere/consul.crt: no such file or folder`,
  });
});

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('a start that may wait goes on as soon as the file is there, and gives up at its time', async (t) => {
  const path = join(folder(t), 'policies.yaml');
  const configuration = read({ SERVICE_NAME: 'auth-svc', INBOUND_TLS: 'off', POLICY_PATH: path, STARTUP_WAIT: '10s' });
  const clock = new VirtualClock();
  const patient = awaitStartupFiles(configuration, clock);
  clock.advance(1_000);
  writeFileSync(path, 'routes: []\n');
  await turn();
  clock.advance(1_000);
  await patient;
  assert.equal(clock.pending, 0);

  rmSync(path);
  const disappointed = assert.rejects(awaitStartupFiles(configuration, clock), /missing after 10s:\n {2}POLICY_PATH/);
  for (let i = 0; i < 60; i++) {
    clock.advance(200);
    await turn();
  }
  await disappointed;
});

test('where there is a Consul the service is registered, with a second for peers to hear of its end', () => {
  const plain = read({ ...smallest, CONSUL_HTTP_ADDR: 'consul.internal' });
  assert.deepEqual(plain.consul?.address, { secure: false, host: 'consul.internal', port: 8500, pathPrefix: '' });
  assert.deepEqual(plain.registration, {
    address: undefined,
    tags: [],
    weight: 1,
    locality: undefined,
    check: 'ttl',
    target: undefined,
    ttlMs: 12_000,
    deregisterAfterMs: 300_000,
  });
  assert.equal(plain.drainDelayMs, 1_000);
  assert.equal(read({ ...smallest, CONSUL_HTTP_ADDR: 'consul.internal', DRAIN_DELAY: '0s' }).drainDelayMs, 0);
  const off = read({ ...smallest, CONSUL_HTTP_ADDR: 'consul.internal', REGISTRATION: 'off' });
  assert.equal(off.registration, undefined);
  assert.equal(off.drainDelayMs, 0);
  assert.notEqual(off.consul, undefined);
  const told = read({
    ...smallest,
    CONSUL_HTTP_ADDR: 'https://consul.internal:8501',
    SERVICE_ADDRESS: '10.0.0.4',
    SERVICE_TAGS: 'blue, canary',
    SERVICE_WEIGHT: '7',
    LOCALITY: 'eu/eu-1',
    REGISTRATION_CHECK: 'grpc',
    REGISTRATION_CHECK_TARGET: 'tls://10.0.0.4:50051',
    REGISTRATION_DEREGISTER_AFTER: '0s',
  }).registration;
  assert.deepEqual(told, {
    address: '10.0.0.4',
    tags: ['blue', 'canary'],
    weight: 7,
    locality: 'eu/eu-1',
    check: 'grpc',
    target: 'tls://10.0.0.4:50051',
    ttlMs: 12_000,
    deregisterAfterMs: 0,
  });
});

test('a registration that cannot mean anything is refused with what to write', () => {
  const wrong = (variables: Record<string, string>, problem: RegExp): void =>
    assert.throws(() => read({ ...smallest, CONSUL_HTTP_ADDR: 'consul', ...variables }), problem);
  wrong({ REGISTRATION: 'maybe' }, /REGISTRATION: "maybe" is not allowed: expected on \| off/);
  wrong({ REGISTRATION_CHECK: 'htp' }, /expected ttl \| grpc \| tcp \| http \| none; write REGISTRATION_CHECK=http/);
  wrong({ REGISTRATION_CHECK_TARGET: '10.0.0.4:1' }, /REGISTRATION_CHECK=ttl asks nobody; write REGISTRATION_CHECK=grpc, tcp or http/);
  wrong({ REGISTRATION_CHECK: 'http', REGISTRATION_CHECK_TARGET: '10.0.0.4:1' }, /is nothing for REGISTRATION_CHECK=http; write http:/);
  wrong({ REGISTRATION_CHECK: 'tcp', REGISTRATION_CHECK_TARGET: 'http://a/' }, /is nothing for REGISTRATION_CHECK=tcp; write 127/);
  wrong({ REGISTRATION_TTL: '100ms' }, /REGISTRATION_TTL: less than 1s .* write REGISTRATION_TTL=12s/);
  wrong({ SERVICE_WEIGHT: '0' }, /expected a number from 1 to 65535; write SERVICE_WEIGHT=10/);
  wrong({ SERVICE_TAGS: 'a b' }, /at most 32 tags without blanks, separated by commas; write SERVICE_TAGS=blue,canary/);
  wrong({ CONSUL_HTTP_ADDR: 'ftp://x' }, /expected host:port, http:.*write CONSUL_HTTP_ADDR=127\.0\.0\.1:8500/);
});
