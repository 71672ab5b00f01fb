import assert from 'node:assert/strict';
import { isIP } from 'node:net';
import { type DnsMessage, decodeMessage, encodeQuestion, RecordType } from '../../../src/discovery/dns-message.ts';
import { endpointsOf, readSlice } from '../../../src/discovery/endpoint-slices.ts';
import type { EndpointAddress } from '../../../src/discovery/index.ts';
import { readInstances } from '../../../src/discovery/instance-list.ts';
import { readEndpointFile } from '../../../src/policy/index.ts';
import { mutateBytes } from '../mutators/bytes.ts';
import { mutateYaml } from '../mutators/text.ts';
import type { Random } from '../random.ts';
import type { FuzzTarget } from '../target.ts';

/** A value, or an `Error` that says why not; anything else (a `RangeError` aside, which Buffer throws beyond an end) is a find. */
const readOrRefused = <T>(read: () => T): T | undefined => {
  try {
    return read();
  } catch (error) {
    assert.ok(error instanceof Error && error.message !== '', 'a refusal says why');
    assert.ok(error.constructor === Error || error instanceof RangeError, `refused by ${error.constructor.name}: ${error.message}`);
    return undefined;
  }
};

const checkEndpoints = (endpoints: readonly EndpointAddress[]): void => {
  for (const { host, port, weight } of endpoints) {
    assert.notEqual(isIP(host), 0, host);
    assert.ok(Number.isInteger(port) && port >= 1 && port <= 65_535, String(port));
    assert.ok(Number.isInteger(weight) && weight >= 1, String(weight));
  }
};

const checkMessage = ({ answers, additional }: DnsMessage): void => {
  for (const record of [...answers, ...additional]) {
    assert.ok(record.name.length <= 255 && record.name === record.name.toLowerCase());
    assert.ok(record.ttlSeconds >= 0 && record.ttlSeconds < 2 ** 31);
    if (record.type === RecordType.a) assert.equal(isIP(record.address), 4);
    else if (record.type === RecordType.aaaa) assert.equal(isIP(record.address), 6);
    else if (record.type === RecordType.cname || record.type === RecordType.srv) assert.ok(record.target.length <= 255);
  }
};

/** An input is an answer of a name server, a list of a discoverer, a file of endpoints or an EndpointSlice; each is tried as all of them. */
export class DiscoveryTarget implements FuzzTarget {
  readonly name = 'discovery';
  readonly longestInputBytes = 4_000;

  seeds(): readonly Buffer[] {
    const question = encodeQuestion(7, '_grpc._tcp.auth', RecordType.srv, true);
    // An SRV record whose owner is the question, with the address of its target.
    const answer = `00078180000100010000000104617574680000210001c00c002100010000000500080001000107d00161 00 01610000010001000000050004 0a000001`;
    const slice = {
      metadata: { name: 'a', resourceVersion: '1' },
      addressType: 'IPv4',
      ports: [{ name: 'grpc', port: 50_051 }],
      endpoints: [{ addresses: ['10.0.0.1'], conditions: { ready: true }, zone: 'a' }],
    };
    const assignment = {
      cluster_name: 'auth',
      endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: '10.0.0.1', port_value: 1 } } } }] }],
    };
    return [
      question,
      Buffer.from(answer.replaceAll(' ', ''), 'hex'),
      Buffer.from(JSON.stringify(slice)),
      Buffer.from(JSON.stringify({ resources: [assignment] })),
      Buffer.from('endpoints:\n  - 10.0.0.1:1\n  - { address: "[::1]:2", weight: 3, metadata: { a: b } }\n'),
      Buffer.from('{"instances": [{"instance_id": "a", "ipv4": "10.0.0.1", "port": 1, "weight": 2, "metadata": {"a": 1}}]}'),
    ];
  }

  mutate(random: Random, input: Buffer, other: Buffer): Buffer {
    return random.oneIn(2) ? mutateBytes(random, input, other) : mutateYaml(random, input, other);
  }

  run(input: Buffer): void {
    const message = readOrRefused(() => decodeMessage(input));
    if (message !== undefined) checkMessage(message);
    const instances = readOrRefused(() => readInstances(input));
    if (instances !== undefined) {
      checkEndpoints(instances.endpoints);
      assert.ok(instances.endpoints.length > 0 || instances.wrong === undefined);
    }
    const { endpoints, problems } = readEndpointFile({ path: 'e', bytes: input }, 'auth');
    if (!problems.some(({ severity }) => severity === 'error')) checkEndpoints(endpoints);
    for (const { message: why, remedy } of problems) assert.ok(why !== '' && remedy !== '');
    let object: unknown;
    try {
      object = JSON.parse(input.toString('utf8'));
    } catch {
      return;
    }
    const slice = readOrRefused(() => readSlice(object));
    if (slice !== undefined) for (const port of [undefined, 'grpc', 1]) checkEndpoints(endpointsOf([slice], port).endpoints);
  }
}
