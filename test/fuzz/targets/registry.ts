import assert from 'node:assert/strict';
import { silentLogger, VirtualClock } from '../../../src/core/index.ts';
import { Catalogue } from '../../../src/registry/catalogue.ts';
import { ChangeIndex } from '../../../src/registry/change-index.ts';
import { CheckRunner } from '../../../src/registry/check-runner.ts';
import { parseBody, readCheckDefinition, readCheckUpdate, readServiceDefinition } from '../../../src/registry/definitions.ts';
import { compileFilter } from '../../../src/registry/filter.ts';
import { formatGoDuration, parseGoDurationMs } from '../../../src/registry/go-duration.ts';
import { defaultLimits, longestName, metaPairs } from '../../../src/registry/limits.ts';
import { RegistryProblem } from '../../../src/registry/reply.ts';
import { sampleHealthEntry } from '../../../src/registry/samples.ts';
import { healthEntryJson } from '../../../src/registry/shapes.ts';
import { mutateBytes } from '../mutators/bytes.ts';
import { mutateYaml } from '../mutators/text.ts';
import type { Random } from '../random.ts';
import type { FuzzTarget } from '../target.ts';

/** A value, or a refusal with a status and words; anything else that is thrown is a find. */
const readOrRefused = <T>(read: () => T): T | undefined => {
  try {
    return read();
  } catch (error) {
    assert.ok(error instanceof RegistryProblem, `thrown: ${error instanceof Error ? error.stack : error}`);
    assert.ok([400, 404, 429, 500].includes(error.status) && error.message !== '', `${error.status} ${error.message}`);
    return undefined;
  }
};

const node = { id: 'id', name: 'node', address: '127.0.0.1', datacenter: 'dc1' };

/** What was registered is found, and gone when it is taken out. */
const checkRegistration = (body: unknown): void => {
  const definition = readOrRefused(() => readServiceDefinition(body));
  if (definition === undefined) return;
  assert.ok(definition.name !== '' && definition.id !== '' && definition.name.length <= longestName);
  assert.ok(definition.weights.Passing >= 1 && Object.keys(definition.meta).length <= metaPairs);
  const clock = new VirtualClock();
  const index = new ChangeIndex();
  const catalogue = new Catalogue(clock, index, defaultLimits);
  const runner = new CheckRunner(catalogue, { clock, log: silentLogger, random: () => 0.5 });
  // Fed by nobody: a check of this kind would open a socket.
  const fed = definition.checks.every(({ ttlMs }) => ttlMs > 0);
  if (fed) catalogue.listener = runner;
  const ownChecks = (): number => catalogue.checksFor(definition.id).filter((check) => check.definition.serviceId !== '').length;
  const before = index.current;
  if (readOrRefused(() => catalogue.register(definition, false) ?? true) !== undefined) {
    assert.ok(index.current > before);
    const [service] = catalogue.instancesOf(definition.name);
    assert.ok(service !== undefined && catalogue.healthIndex(definition.name) <= index.current);
    // The check of the node has an id that a registration might take.
    const ids = new Set(definition.checks.map(({ id }) => id));
    assert.ok(ownChecks() <= ids.size);
    const entry = healthEntryJson(service, catalogue.checksFor(definition.id), () => service, node);
    assert.deepEqual(JSON.parse(JSON.stringify(entry)).Service.ID, definition.id);
    const registered = index.current;
    catalogue.register(definition, true);
    if (ids.size === definition.checks.length) assert.equal(index.current, registered, 'to register the same again is no change');
    catalogue.deregister(definition.id);
    assert.equal(catalogue.services.length, 0);
    assert.equal(ownChecks(), 0);
    assert.ok(index.current > registered);
  }
  runner.close();
  assert.equal(clock.pending, 0);
};

const checkFilter = (text: string): void => {
  const filter = readOrRefused(() => compileFilter(text, sampleHealthEntry));
  if (filter === undefined) return;
  const matches = filter(sampleHealthEntry);
  assert.equal(typeof matches, 'boolean');
  assert.equal(filter({}), filter({}));
  const negated = readOrRefused(() => compileFilter(`not (${text})`, sampleHealthEntry));
  // One level more may be one too many.
  if (negated !== undefined) assert.equal(negated(sampleHealthEntry), !matches);
};

const checkDuration = (text: string): void => {
  const ms = parseGoDurationMs(text);
  if (ms === undefined || Math.abs(ms) > 1e12) return;
  const again = parseGoDurationMs(formatGoDuration(ms));
  assert.ok(again !== undefined, `${text} is written as ${formatGoDuration(ms)}`);
  assert.ok(Math.abs(again - ms) <= Math.max(1e-6, Math.abs(ms) * 1e-6), `${text}: ${ms} becomes ${again}`);
};

/** An input is the body of a registration, of a check or of a report, or a filter, or a duration; each is tried as all of them. */
export class RegistryTarget implements FuzzTarget {
  readonly name = 'registry';
  readonly longestInputBytes = 4_000;

  seeds(): readonly Buffer[] {
    const service = {
      ID: 'web-1',
      Name: 'web',
      Port: 8080,
      Address: '10.0.0.1',
      Tags: ['a'],
      Meta: { version: '1' },
      Weights: { Passing: 5, Warning: 2 },
      TaggedAddresses: { lan: { Address: '10.0.0.1', Port: 1 } },
      Checks: [
        { TTL: '10s', DeregisterCriticalServiceAfter: '1m' },
        { CheckID: 'own', ttl: 1_000_000_000 },
      ],
    };
    const check = { Name: 'c', ServiceID: 'web-1', HTTP: 'http://a/', Interval: '10s', Header: { a: ['b'] }, TLSSkipVerify: true };
    return [
      JSON.stringify(service),
      JSON.stringify(check),
      '{"Name":"x","Check":{"GRPC":"127.0.0.1:1/acme","GRPCUseTLS":true,"Interval":"1.5s"}}',
      '{"Status":"passing","Output":"well"}',
      'Service.Meta.version == "2" and not ("old" in Service.Tags or Service.Port != 1)',
      'Checks.Status matches "^(a|b)$" and Service.Tags is not empty',
      'Service.Meta["a"] contains `b`',
      '1h2m3.5s',
    ].map((text) => Buffer.from(text));
  }

  mutate(random: Random, input: Buffer, other: Buffer): Buffer {
    return random.oneIn(2) ? mutateBytes(random, input, other) : mutateYaml(random, input, other);
  }

  run(input: Buffer): void {
    const text = input.toString('utf8');
    checkFilter(text);
    checkDuration(text);
    const parsed = readOrRefused(() => ({ body: parseBody(input) }));
    if (parsed === undefined) return;
    readOrRefused(() => readCheckUpdate(parsed.body));
    const check = readOrRefused(() => readCheckDefinition(parsed.body));
    if (check !== undefined) assert.ok(check.name !== '' && check.id !== '');
    checkRegistration(parsed.body);
  }
}
