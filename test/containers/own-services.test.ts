import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Client, credentials } from '@grpc/grpc-js';
import { freePort } from '../harness/ports.ts';
import { runProgram } from '../harness/program.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { call } from './compose-mesh.ts';
import { eventually, withoutEngine } from './docker.ts';
import { root } from './images.ts';

// What somebody had before: two services with ports and a network of their own.
const ownCompose = `
services:
  orders:
    image: outrider
    healthcheck: { disable: true }
    command: [demo-service, --name, auth-svc, --port, "8080", --outbound, "127.0.0.1:15001"]
    ports: ["127.0.0.1:18080:8080"]
    networks: [backend]
  billing:
    image: outrider
    healthcheck: { disable: true }
    command: [demo-service, --name, learner-svc, --port, "8080", --outbound, "127.0.0.1:15001"]
    networks: [backend]
networks:
  backend:
`;
const policies = `
routes:
  - match: { prefix: /learner.LearnerService/ }
    route: { cluster: billing, timeout: 5s }
clusters:
  billing: { connect_timeout: 1s }
`;

test("compose.override.example.yaml puts sidecars beside two services of somebody's own", { skip: withoutEngine }, async (t) => {
  const folder = temporaryFolder();
  const port = await freePort();
  writeFileSync(join(folder.path, 'compose.yaml'), ownCompose);
  const example = readFileSync(join(root, 'deploy/compose/compose.override.example.yaml'), 'utf8');
  writeFileSync(join(folder.path, 'compose.override.yaml'), example.replace('"127.0.0.1:50051:50051"', `"127.0.0.1:${port}:50051"`));
  mkdirSync(join(folder.path, 'policies'));
  writeFileSync(join(folder.path, 'policies/mesh.yaml'), policies);
  const compose = async (...args: readonly string[]): Promise<string> => {
    const { code, stdout, stderr } = await runProgram('docker', ['compose', '-p', `outrider-own-${process.pid}`, ...args], {
      cwd: folder.path,
      patienceMs: 180_000,
    });
    assert.equal(code, 0, `${args.join(' ')}: ${stdout}${stderr}`);
    return stdout.trim();
  };
  t.after(async () => {
    await compose('down', '--volumes', '--timeout', '1');
    folder[Symbol.dispose]();
  });
  // The services here have no health check of their own, which "up --wait" would miss.
  await compose('up', '--no-build', '--pull', 'never', '--detach', '--wait', 'orders-sidecar', 'billing-sidecar', 'consul');
  await compose('up', '--no-build', '--pull', 'never', '--detach', 'orders', 'billing');
  await compose('cp', 'certificates:/etc/outrider/certs/mesh-client/.', 'client');
  const file = (name: string): Buffer => readFileSync(join(folder.path, 'client', name));
  const client = new Client(
    `127.0.0.1:${port}`,
    credentials.createSsl(file('certs/ca.crt'), file('private/service.key'), file('certs/service.crt')),
    { 'grpc.ssl_target_name_override': 'orders' },
  );
  t.after(() => client.close());
  let last = '';
  const reply = await eventually(
    'a call through both sidecars',
    async () => {
      const answer = await call(client).catch((error: Error) => error.message);
      if (typeof answer !== 'string' && !answer.withoutProfile) return answer;
      last = typeof answer === 'string' ? answer : answer.reason;
      return undefined;
    },
    { describe: async () => `${last}\n${await compose('logs', '--tail', '15')}`, withinMs: 20_000 },
  );
  assert.equal(reply.displayName, 'Learner ada');
  assert.equal(await compose('port', 'orders-pod', '50051'), `127.0.0.1:${port}`);
  assert.doesNotMatch(await compose('ps', '--format', '{{.Ports}}'), /18080/);
});
