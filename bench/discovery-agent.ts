/**
 * A stand-in for an agent of Consul in a process of its own, for `bench/discovery.ts`: answers every question about a service with as many
 * instances as the first argument says, each about as long as a real one. A line on stdin changes that many instances.
 *
 *     node bench/discovery-agent.ts 5000
 */
import { createInterface } from 'node:readline';
import { healthEntry, StandInConsul } from '../test/discovery/stand-in-consul.ts';

const size = Number(process.argv[2] ?? 5_000);
const instance = (i: number, version: number) =>
  healthEntry({
    host: `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`,
    port: 50_051,
    id: `learner-svc-${i}`,
    service: { Meta: { version: `1.${version}.0`, zone: 'abc'[i % 3] as string } },
  });
const instances = Array.from({ length: size }, (_, i) => instance(i, 0));
const consul = await StandInConsul.start();
consul.say(instances);
process.stdout.write(`${consul.address}\n`);

let version = 0;
const input = createInterface({ input: process.stdin });
// Whoever measures is gone.
input.on('close', () => process.exit());
input.on('line', (line) => {
  version++;
  for (let i = 0; i < Number(line); i++) instances[i] = instance(i, version);
  consul.say(instances);
});
