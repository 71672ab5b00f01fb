import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseBinaryLoadReport, parseLoadReport } from '../../src/grpc/index.ts';

const double = (field: number, value: number): Buffer => {
  const bytes = Buffer.alloc(9);
  bytes[0] = field * 8 + 1;
  bytes.writeDoubleLE(value, 1);
  return bytes;
};
const bytesField = (field: number, content: Buffer): Buffer => Buffer.concat([Buffer.from([field * 8 + 2, content.length]), content]);
const entry = (field: number, name: string, value: number): Buffer =>
  bytesField(field, Buffer.concat([bytesField(1, Buffer.from(name)), double(2, value)]));

const whole = Buffer.concat([
  double(1, 0.5),
  double(2, 0.25),
  // The old whole number of calls a second, as a varint.
  Buffer.from([3 * 8, 0xac, 0x02]),
  entry(4, 'db', 2),
  entry(5, 'disk', 0.75),
  double(6, 120.5),
  double(7, 1.5),
  entry(8, 'queue', 12),
  double(9, 0.9),
  // A field of a later version, of 32 bits.
  Buffer.from([((20 * 8 + 5) & 127) | 128, (20 * 8) >> 7, 1, 2, 3, 4]),
]);

const wanted = {
  applicationUtilization: 0.9,
  cpuUtilization: 0.5,
  qps: 120.5,
  eps: 1.5,
  named: [
    ['mem_utilization', 0.25],
    ['request_cost.db', 2],
    ['utilization.disk', 0.75],
    ['named_metrics.queue', 12],
  ],
};
const plain = (report: ReturnType<typeof parseLoadReport>) => report && { ...report, named: [...report.named] };

test('a binary report is read, whatever else stands in it', () => {
  assert.deepEqual(plain(parseBinaryLoadReport(whole.toString('base64'))), wanted);
  assert.deepEqual(plain(parseBinaryLoadReport(whole.toString('base64').replace(/=+$/, ''))), wanted, 'gRPC leaves the padding out');
  assert.deepEqual(plain(parseLoadReport(`BIN ${whole.toString('base64')}`)), wanted);
});

test('a report may be text or JSON', () => {
  assert.deepEqual(plain(parseLoadReport('TEXT cpu_utilization=0.3, rps_fractional=10,eps=1e0,named_metrics.queue=4')), {
    applicationUtilization: 0,
    cpuUtilization: 0.3,
    qps: 10,
    eps: 1,
    named: [['named_metrics.queue', 4]],
  });
  assert.equal(parseLoadReport('application_utilization: 0.7')?.applicationUtilization, 0.7);
  assert.deepEqual(plain(parseLoadReport('JSON {"cpuUtilization": 0.2, "rps_fractional": 5, "utilization": {"disk": 0.1}}')), {
    applicationUtilization: 0,
    cpuUtilization: 0.2,
    qps: 5,
    eps: 0,
    named: [['utilization.disk', 0.1]],
  });
});

test('what is no report is none, and nothing that a service sends does harm', () => {
  for (const value of ['', 'nonsense', 'TEXT cpu=', 'JSON {', 'JSON 7', 'JSON null', 'BIN ***', 'TEXT cpu_utilization=-1']) {
    assert.equal(parseLoadReport(value), undefined, value);
  }
  assert.equal(parseBinaryLoadReport(whole.subarray(0, 5).toString('base64')), undefined, 'cut off');
  assert.equal(parseBinaryLoadReport(double(1, Number.NaN).toString('base64'))?.cpuUtilization, 0);
  assert.equal(parseBinaryLoadReport(double(1, -3).toString('base64'))?.cpuUtilization, 0);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
      const report = parseBinaryLoadReport(Buffer.from(bytes).toString('base64'));
      if (report !== undefined) assert.ok(report.qps >= 0 && report.eps >= 0 && report.cpuUtilization >= 0);
    }),
  );
  const many = Array.from({ length: 200 }, (_, i) => `m${i}=1`).join(',');
  assert.equal(parseLoadReport(many)?.named.size, 100, 'names are bounded');
});
