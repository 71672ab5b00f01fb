import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import type { Client } from '@grpc/grpc-js';
import type { ComposeMesh } from './compose-mesh.ts';
import { docker } from './docker.ts';
import { SteadyCalls } from './steady-calls.ts';

const callsPerSecond = 500;
const mostBytes = 100e6;

/** `31.2MiB` as docker prints it: memory of the control group without what the page cache could give back. */
const bytesOf = (text: string): number => {
  const [, digits, unit = ''] = /^([\d.]+)([KMG]iB)$/.exec(text) ?? [];
  return Number(digits) * ({ KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 }[unit] ?? Number.NaN);
};

/** Calls the mesh 500 times a second for a while, and holds the memory of these sidecars' containers against 100 MB. */
export const staysSmall = async (t: TestContext, mesh: ComposeMesh, client: Client, services: readonly string[]): Promise<void> => {
  const calls = new SteadyCalls(client, callsPerSecond);
  const highest = new Map(services.map((service) => [mesh.container(service), 0]));
  try {
    await calls.complete(2_000);
    for (let i = 0; i < 8; i++) {
      await calls.complete(500);
      for (const line of (await docker('stats', '--no-stream', '--format', '{{.Name}} {{.MemUsage}}', ...highest.keys())).split('\n')) {
        const [name = '', usage = ''] = line.split(' ');
        highest.set(name, Math.max(highest.get(name) ?? 0, bytesOf(usage)));
      }
    }
  } finally {
    await calls.stop();
  }
  t.diagnostic(`${calls.describe()}; ${[...highest].map(([name, bytes]) => `${name} ${(bytes / 1e6).toFixed(1)} MB`).join(', ')}`);
  for (const [name, bytes] of highest) assert.ok(bytes > 0 && bytes <= mostBytes, `${name}: ${bytes} bytes`);
  // On a machine that is short of CPU some calls are shed, which is no failure of the mesh.
  assert.deepEqual(
    [...calls.tally.failures.keys()].filter((why) => !/overloaded|short of CPU/.test(why)),
    [],
  );
};
