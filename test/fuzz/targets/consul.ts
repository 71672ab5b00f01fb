import assert from 'node:assert/strict';
import { isIP } from 'node:net';
import { type InstanceList, type InstanceSelection, readInstances } from '../../../src/discovery/consul/instance-list.ts';
import { sameEndpoints } from '../../../src/discovery/endpoints.ts';
import { decodeEndpoints } from '../../../src/discovery/reading/decode-endpoints.ts';
import { mutateBytes } from '../mutators/bytes.ts';
import { mutateYaml } from '../mutators/text.ts';
import type { Random } from '../random.ts';
import type { FuzzTarget } from '../target.ts';

const selections: readonly InstanceSelection[] = [
  { passingOnly: true, nearest: 0, priority: 0 },
  { passingOnly: false, nearest: 0, priority: 2 },
];

const readOrRefused = (text: string, selection: InstanceSelection, known = ''): InstanceList | undefined => {
  try {
    return readInstances(text, selection, known);
  } catch (error) {
    assert.ok(error instanceof Error && error.message !== '', 'a refusal says why');
    return undefined;
  }
};

const entry = (id: string, host: string, status: string) => ({
  Node: { Address: '10.0.0.9', Datacenter: 'dc1' },
  Service: { ID: id, Address: host, Port: 50_051, Tags: ['v2', 'a=b'], Meta: { zone: 'a' }, Weights: { Passing: 3, Warning: 1 } },
  Checks: [{ Status: status }],
});

/** An input is an answer of Consul about a service, or of a prepared query. */
export class ConsulTarget implements FuzzTarget {
  readonly name = 'consul';
  readonly longestInputBytes = 4_000;

  seeds(): readonly Buffer[] {
    const entries = [entry('a', '10.0.0.1', 'passing'), entry('b', 'auth.internal', 'warning'), entry('c', '', 'critical')];
    return [entries, { Service: 'auth', Nodes: entries, Failovers: 0 }, [], { Nodes: null }].map((answer) =>
      Buffer.from(JSON.stringify(answer)),
    );
  }

  mutate(random: Random, input: Buffer, other: Buffer): Buffer {
    return random.oneIn(2) ? mutateBytes(random, input, other) : mutateYaml(random, input, other);
  }

  async run(input: Buffer): Promise<void> {
    const text = input.toString('utf8');
    for (const selection of selections) {
      const list = readOrRefused(text, selection);
      if (list !== undefined) await this.#check(text, selection, list);
    }
  }

  async #check(text: string, selection: InstanceSelection, list: InstanceList): Promise<void> {
    assert.equal(list.refused === 0, list.problem === undefined, 'what is left out is told');
    assert.ok(list.count <= list.instances);
    const { endpoints } = await decodeEndpoints(list.lines ?? '', new Map());
    assert.equal(endpoints.length, list.count);
    for (const [i, { host, port, weight, priority = 0, instance, metadata = {} }] of endpoints.entries()) {
      assert.ok(isIP(host) !== 0 || /^[\w.-]{1,253}$/.test(host), host);
      assert.ok(Number.isInteger(port) && port >= 1 && port <= 65_535, String(port));
      assert.ok(Number.isInteger(weight) && weight >= 1 && weight <= 65_535, String(weight));
      assert.equal(priority, selection.priority);
      assert.ok(typeof instance === 'string' && instance.length <= 256);
      assert.ok(Object.keys(metadata).length <= 64);
      for (const [key, value] of Object.entries(metadata)) assert.ok(typeof value === 'string' && value.length <= 512 && key.length <= 128);
      const before = endpoints[i - 1];
      if (before !== undefined) assert.ok(before.host < host || (before.host === host && before.port < port), 'sorted, and none twice');
    }
    assert.equal(readOrRefused(text, selection, list.digest)?.lines, undefined, 'what is known is not told again');
    const answer = JSON.parse(text) as unknown;
    const entries = Array.isArray(answer) ? answer : ((answer as { readonly Nodes: unknown[] | null }).Nodes ?? []);
    const reversed = readOrRefused(JSON.stringify(entries.toReversed()), selection);
    assert.ok(reversed !== undefined);
    // Two that claim the same place and the same id may differ in anything else.
    if (list.count === list.instances)
      assert.ok(sameEndpoints((await decodeEndpoints(reversed.lines ?? '', new Map())).endpoints, endpoints));
  }
}
