/** What a service says of its load in trailers: ORCA (xds.data.orca.v3.OrcaLoadReport), as far as balancing looks at it. */
export interface OrcaLoadReport {
  /** 1 is all of it; 0 where it was not said. */
  applicationUtilization: number;
  cpuUtilization: number;
  /** Calls a second. */
  qps: number;
  /** Failed calls a second. */
  eps: number;
  /** `named_metrics.<name>`, `utilization.<name>`, `request_cost.<name>`, and `mem_utilization`. */
  readonly named: Map<string, number>;
}

/** Trailers that carry a report. */
export const loadReportBinHeader = 'endpoint-load-metrics-bin';
export const loadReportHeader = 'endpoint-load-metrics';

const namedMost = 100;
const newReport = (): OrcaLoadReport => ({ applicationUtilization: 0, cpuUtilization: 0, qps: 0, eps: 0, named: new Map() });

/** Value of `endpoint-load-metrics-bin`: the message in base64. `undefined` where it is none. */
export const parseBinaryLoadReport = (value: string): OrcaLoadReport | undefined => {
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(value)) return undefined;
  return readMessage(Buffer.from(value, 'base64'));
};

/**
 * Value of `endpoint-load-metrics`: `BIN <base64>`, `JSON <object>` or `TEXT <name>=<number>,...` as Envoy reads them, the kind being
 * left out for text. `undefined` where it is none.
 */
export const parseLoadReport = (value: string): OrcaLoadReport | undefined => {
  if (value.startsWith('BIN ')) return parseBinaryLoadReport(value.slice(4).trim());
  if (value.startsWith('JSON ')) return readJson(value.slice(5));
  return readText(value.startsWith('TEXT ') ? value.slice(5) : value);
};

const put = (report: OrcaLoadReport, name: string, value: number): void => {
  if (!Number.isFinite(value) || value < 0) return;
  switch (name) {
    case 'application_utilization':
      report.applicationUtilization = value;
      return;
    case 'cpu_utilization':
      report.cpuUtilization = value;
      return;
    case 'rps_fractional':
    case 'rps':
      report.qps = value;
      return;
    case 'eps':
      report.eps = value;
      return;
    default:
      if (report.named.size < namedMost) report.named.set(name, value);
  }
};

const readText = (text: string): OrcaLoadReport | undefined => {
  const report = newReport();
  for (const pair of text.split(',')) {
    const found = /^\s*([\w.-]+)\s*[=:]\s*(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)\s*$/.exec(pair);
    if (found === null) return undefined;
    put(report, found[1] as string, Number(found[2]));
  }
  return report;
};

const snakeCase = (name: string): string => name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

const readJson = (text: string): OrcaLoadReport | undefined => {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof parsed !== 'object' || parsed === null) return undefined;
  const report = newReport();
  for (const [key, value] of Object.entries(parsed)) {
    const name = snakeCase(key);
    if (typeof value === 'number') put(report, name, value);
    else if (typeof value === 'object' && value !== null) {
      for (const [inner, number] of Object.entries(value)) if (typeof number === 'number') put(report, `${name}.${inner}`, number);
    }
  }
  return report;
};

/** Fields of the message that are doubles, by number. */
const doubles: Readonly<Record<number, string>> = {
  1: 'cpu_utilization',
  2: 'mem_utilization',
  6: 'rps_fractional',
  7: 'eps',
  9: 'application_utilization',
};
/** Fields that are maps from a name to a double. */
const maps: Readonly<Record<number, string>> = { 4: 'request_cost', 5: 'utilization', 8: 'named_metrics' };

/** Protobuf, wire types 0, 1, 2 and 5; fields that are not known are passed over. */
const readMessage = (bytes: Buffer): OrcaLoadReport | undefined => {
  const report = newReport();
  const right = readFields(bytes, (field, value) => {
    if (typeof value === 'number') {
      const name = doubles[field];
      if (name !== undefined) put(report, name, value);
      return true;
    }
    const map = maps[field];
    if (map === undefined) return true;
    let key = '';
    let number = 0;
    const whole = readFields(value, (inner, part) => {
      if (inner === 1 && typeof part !== 'number') key = part.toString('utf8');
      else if (inner === 2 && typeof part === 'number') number = part;
      return true;
    });
    if (whole) put(report, `${map}.${key}`, number);
    return whole;
  });
  return right ? report : undefined;
};

const readFields = (bytes: Buffer, take: (field: number, value: number | Buffer) => boolean): boolean => {
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let shift = 0; shift < 64; shift += 7) {
      const byte = bytes[at++];
      if (byte === undefined) return -1;
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
    return -1;
  };
  while (at < bytes.length) {
    const tag = varint();
    if (tag < 0) return false;
    const field = Math.floor(tag / 8);
    switch (tag % 8) {
      case 0:
        // The only number of this kind, `rps`, gave way to `rps_fractional`.
        if (varint() < 0) return false;
        break;
      case 1:
        if (at + 8 > bytes.length || !take(field, bytes.readDoubleLE(at))) return false;
        at += 8;
        break;
      case 2: {
        const length = varint();
        if (length < 0 || at + length > bytes.length || !take(field, bytes.subarray(at, at + length))) return false;
        at += length;
        break;
      }
      case 5:
        at += 4;
        if (at > bytes.length) return false;
        break;
      default:
        return false;
    }
  }
  return true;
};
