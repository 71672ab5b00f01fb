/** Endpoints through the DNS port of a real Consul. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { SystemClock, silentLogger } from '../../src/core/index.ts';
import { createEndpointSource, type EndpointSource } from '../../src/discovery/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { ConsulProcess } from './consul-process.ts';
import { peerProgram } from './peer-programs.ts';

checkLeaks();

const program = await peerProgram('consul');
const base = { kind: 'dns', names: [], family: 'all', refreshMs: 1_000, allAddresses: true, keepLastMs: 60_000 } as const;

const until = async (source: EndpointSource, isSo: (text: string) => boolean): Promise<void> => {
  const giveUpAt = performance.now() + 20_000;
  const text = (): string => source.value.endpoints.map(({ host, port, weight }) => `${host}:${port}/${weight}`).join(' ');
  while (!isSo(text())) {
    assert.ok(performance.now() < giveUpAt, JSON.stringify(source.value));
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
};

describe('DNS of Consul', { skip: program.skip }, () => {
  test('SRV records and addresses of a service are followed, and outlive the agent', async () => {
    await using consul = await ConsulProcess.start({ path: String(program.path) });
    const instance = (n: number) => ({ Name: 'auth', ID: `auth-${n}`, Address: `127.0.1.${n}`, Port: 50_050 + n, Tags: ['grpc'] });
    await consul.register({ ...instance(1), Weights: { Passing: 7, Warning: 1 } });
    await consul.register(instance(2));
    const servers = [`127.0.0.1:${consul.ports.dns}`];
    const options = { clock: new SystemClock(), log: silentLogger };
    const sources = {
      services: createEndpointSource({ ...base, services: ['auth.service.consul'], servers }, options),
      tagged: createEndpointSource({ ...base, services: ['_auth._grpc.service.consul'], servers }, options),
      addresses: createEndpointSource({ ...base, names: [{ host: 'auth.service.consul', port: 9, weight: 1 }], servers }, options),
      nobody: createEndpointSource({ ...base, services: ['nobody.service.consul'], servers }, options),
    };
    try {
      await until(sources.services, (text) => text === '127.0.1.1:50051/7 127.0.1.2:50052/1');
      await until(sources.tagged, (text) => text === '127.0.1.1:50051/7 127.0.1.2:50052/1');
      await until(sources.addresses, (text) => text === '127.0.1.1:9/1 127.0.1.2:9/1');
      await until(sources.nobody, () => sources.nobody.value.error !== undefined);
      assert.match(sources.nobody.value.error ?? '', /nobody\.service\.consul has no SRV record/);
      await consul.deregister('auth-1');
      await until(sources.services, (text) => text === '127.0.1.2:50052/1');
      await until(sources.addresses, (text) => text === '127.0.1.2:9/1');
      await consul.kill();
      await until(sources.services, () => sources.services.value.error !== undefined);
      assert.equal(sources.services.value.endpoints.length, 1);
    } finally {
      for (const source of Object.values(sources)) source.close();
    }
  });

  test('a hundred instances do not fit into a datagram, and come all the same', async () => {
    await using consul = await ConsulProcess.start({ path: String(program.path) });
    for (let n = 1; n <= 100; n++) await consul.register({ Name: 'many', ID: `many-${n}`, Address: `127.0.2.${n}`, Port: 50_051 });
    const source = createEndpointSource(
      { ...base, services: ['many.service.consul'], servers: [`127.0.0.1:${consul.ports.dns}`] },
      { clock: new SystemClock(), log: silentLogger },
    );
    try {
      await until(source, () => source.value.endpoints.length === 100);
    } finally {
      source.close();
    }
  });
});
