import assert from 'node:assert/strict';
import { HealthResponses, type ServingStatus, servingStatuses } from '../../../src/grpc/index.ts';
import type { HttpHealthCheck } from '../../../src/resilience/index.ts';
import { Http1Dialogue, TcpDialogue } from '../../../src/upstream/health/dialogues.ts';
import type { ProbeVerdict } from '../../../src/upstream/health/probe.ts';
import type { Dialogue } from '../../../src/upstream/health/socket-probe.ts';
import { mutateBytes } from '../mutators/bytes.ts';
import type { Random } from '../random.ts';
import type { FuzzTarget } from '../target.ts';

const httpCheck: HttpHealthCheck = {
  kind: 'http',
  host: '',
  path: '/',
  method: 'GET',
  headers: [],
  expectedStatuses: [[200, 300]],
  retriableStatuses: [[503, 504]],
  version: 'http1',
};
const tcpCheck = { kind: 'tcp', send: new Uint8Array(0), receive: [Buffer.from('PONG'), Buffer.from('+OK')] } as const;

/** An input is what an endpoint answers to a check; its first byte says how it is split. Each is tried as an answer of every kind. */
export class HealthTarget implements FuzzTarget {
  readonly name = 'health';
  readonly longestInputBytes = 4_000;

  seeds(): readonly Buffer[] {
    return [
      Buffer.from([3, 0, 0, 0, 0, 2, 8, 1]),
      Buffer.from([2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 8, 2, 0, 0, 0, 0, 6, 0x12, 2, 1, 2, 8, 3]),
      Buffer.from([1, 0, 0, 0, 0, 6, 8, 0x82, 0x80, 0x80, 0x80, 0x10]),
      Buffer.from('\x05HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n', 'latin1'),
      Buffer.from('\x02HTTP/1.0 503\r\n\r\n', 'latin1'),
      Buffer.from('\x04xxPOPONG and then +O+OK', 'latin1'),
    ];
  }

  mutate(random: Random, input: Buffer, other: Buffer): Buffer {
    return mutateBytes(random, input, other);
  }

  run(input: Buffer): void {
    const stepBytes = ((input[0] ?? 0) & 15) + 1;
    const bytes = input.subarray(1);
    const whole = readResponses(bytes, bytes.length);
    assert.deepEqual(readResponses(bytes, stepBytes), whole);
    for (const status of whole.statuses) assert.ok(servingStatuses.includes(status));
    for (const create of [(): Dialogue => new Http1Dialogue(httpCheck, 'a'), (): Dialogue => new TcpDialogue(tcpCheck)]) {
      const verdict = readDialogue(create(), bytes, bytes.length);
      assert.deepEqual(readDialogue(create(), bytes, stepBytes), verdict);
      assert.ok(verdict === undefined || verdict.why !== '');
    }
  }
}

const readResponses = (bytes: Buffer, stepBytes: number) => {
  const responses = new HealthResponses();
  const statuses: ServingStatus[] = [];
  let problem: string | undefined;
  for (let at = 0; at < bytes.length && problem === undefined; at += stepBytes) {
    problem = responses.read(bytes, at, Math.min(at + stepBytes, bytes.length), (status) => statuses.push(status));
  }
  return { statuses, problem };
};

const readDialogue = (dialogue: Dialogue, bytes: Buffer, stepBytes: number): ProbeVerdict | undefined => {
  for (let at = 0; at < bytes.length; at += stepBytes) {
    const verdict = dialogue.read(bytes.subarray(at, at + stepBytes));
    if (verdict !== undefined) return verdict;
  }
  return undefined;
};
