import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Client } from '@grpc/grpc-js';
import { ask, ComposeMesh } from './compose-mesh.ts';
import { docker, eventually, withoutEngine } from './docker.ts';
import { staysSmall } from './sidecar-memory.ts';
import { type CallTally, SteadyCalls } from './steady-calls.ts';

const callsPerSecond = 50;
const enough = 100;

describe('containers that are killed under load, with two instances of learner-svc', { skip: withoutEngine }, () => {
  let mesh: ComposeMesh;
  let client: Client;
  before(async () => {
    const prepared = await ComposeMesh.prepare();
    mesh = prepared;
    await prepared.up({ overrides: [join(import.meta.dirname, 'second-learner.yaml')], env: { MESH_FOLDER: prepared.folder } });
    client = await mesh.client();
  });
  after(async () => {
    client?.close();
    await mesh?.[Symbol.asyncDispose]();
  });

  /** Both instances of learner-svc have answered calls of auth-svc. */
  const bothServe = (): Promise<boolean> =>
    eventually('both instances', async () => {
      await Promise.all(Array.from({ length: 8 }, () => mesh.authenticate()));
      const { cluster_statuses } = JSON.parse(await ask(mesh.port('AUTH_ADMIN_PORT'), '/clusters?format=json')) as {
        readonly cluster_statuses: readonly {
          readonly name: string;
          readonly host_statuses: readonly { readonly stats: readonly { readonly name: string; readonly value: string | number }[] }[];
        }[];
      };
      const hosts = cluster_statuses.find(({ name }) => name === 'learner-svc')?.host_statuses ?? [];
      return hosts.length === 2 && hosts.every(({ stats }) => stats.some(({ name, value }) => name === 'rq_success' && Number(value) > 0));
    });

  const underLoad = async (act: (calls: SteadyCalls) => Promise<void>): Promise<CallTally> => {
    const calls = new SteadyCalls(client, callsPerSecond);
    try {
      await calls.complete(enough);
      await act(calls);
      await calls.complete(enough);
    } finally {
      await calls.stop();
    }
    return calls.tally;
  };
  const resetBreakers = (): Promise<string> =>
    mesh.compose('exec', '-T', 'auth-svc-sidecar', 'outrider', 'breaker', 'reset', 'learner-svc');

  test('a service container that is killed costs no call while another instance lives', async (t) => {
    await bothServe();
    const tally = await underLoad(async (calls) => {
      await docker('kill', mesh.container('learner-svc-b'));
      await calls.complete(enough);
      await docker('start', mesh.container('learner-svc-b'));
    });
    t.diagnostic(`${tally.asked} calls`);
    assert.deepEqual([...tally.failures], []);
    assert.equal(tally.complete, tally.asked);
  });

  test('a sidecar that is killed costs no call while another instance lives', async (t) => {
    await resetBreakers();
    await bothServe();
    const tally = await underLoad(async (calls) => {
      await docker('kill', mesh.container('learner-svc-b-sidecar'));
      await calls.complete(enough);
      await docker('start', mesh.container('learner-svc-b-sidecar'));
    });
    t.diagnostic(`${tally.asked} calls`);
    assert.deepEqual([...tally.failures], []);
    assert.equal(tally.complete, tally.asked);
  });

  test('Consul that is killed costs no call, and what it has forgotten is registered again when it is back', async (t) => {
    const tally = await underLoad(async (calls) => {
      await docker('kill', mesh.container('consul'));
      await calls.complete(2 * enough);
      await docker('start', mesh.container('consul'));
      await eventually('both instances in the new Consul', async () => {
        try {
          const found = JSON.parse(await ask(mesh.port('CONSUL_PORT'), '/v1/health/service/learner-svc?passing=1')) as readonly unknown[];
          return found.length === 2;
        } catch {
          return false;
        }
      });
    });
    t.diagnostic(`${tally.asked} calls`);
    assert.deepEqual([...tally.failures], []);
  });

  test('without any instance calls say why, and go on when one is back', async () => {
    await Promise.all(['learner-svc', 'learner-svc-b'].map((name) => docker('kill', mesh.container(name))));
    const reply = await eventually('a reply without profile', async () => {
      const answer = await mesh.authenticate();
      return answer.withoutProfile ? answer : undefined;
    });
    assert.match(reply.reason, /^(connect_failure|no_endpoint|circuit_open|route_timeout|per_try_timeout|connection_lost|upstream_reset)$/);
    await Promise.all(['learner-svc', 'learner-svc-b'].map((name) => docker('start', mesh.container(name))));
    await eventually('calls with profiles', async () => {
      await resetBreakers();
      return !(await mesh.authenticate()).withoutProfile;
    });
  });

  test('a sidecar that serves 500 calls a second stays below 100 MB', async (t) => {
    await resetBreakers();
    await staysSmall(t, mesh, client, ['auth-svc-sidecar', 'learner-svc-sidecar', 'learner-svc-b-sidecar']);
  });
});
