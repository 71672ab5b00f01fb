import assert from 'node:assert/strict';

export interface ParsedSample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

const sampleLine = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (-?[0-9.e+-]+|[+-]Inf|NaN)$/;
const labelPair = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(,|$)/y;

const parseLabels = (text: string): Record<string, string> => {
  const labels: Record<string, string> = {};
  labelPair.lastIndex = 0;
  while (labelPair.lastIndex < text.length) {
    const at = labelPair.lastIndex;
    const pair = labelPair.exec(text);
    assert.ok(pair !== null, `labels are malformed at ${at}: ${text}`);
    const [, name = '', value = ''] = pair;
    assert.ok(!Object.hasOwn(labels, name), `label ${name} twice: ${text}`);
    Object.defineProperty(labels, name, { value: value.replaceAll(/\\(.)/g, (_, c) => (c === 'n' ? '\n' : c)), enumerable: true });
  }
  return labels;
};

/**
 * Checks a scrape against the text format 0.0.4 as Prometheus reads it: HELP and TYPE once per family and before its samples, families in
 * one piece, no sample twice, histograms cumulative with `+Inf` equal to `_count`.
 */
export const parseExposition = (body: string): readonly ParsedSample[] => {
  assert.ok(body.endsWith('\n'));
  const types = new Map<string, string>();
  const seen = new Set<string>();
  const samples: ParsedSample[] = [];
  let current = '';
  for (const line of body.split('\n')) {
    if (line === '') continue;
    const type = /^# TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) (counter|gauge|histogram)$/.exec(line);
    if (type !== null) {
      current = type[1] ?? '';
      assert.ok(!types.has(current), `family ${current} twice`);
      types.set(current, type[2] ?? '');
      continue;
    }
    if (line.startsWith('# HELP ')) continue;
    const parts = sampleLine.exec(line);
    assert.ok(parts !== null, `malformed line: ${line}`);
    const [, name = '', labels = '', value = ''] = parts;
    const family = types.get(current) === 'histogram' ? name.replace(/_(bucket|sum|count)$/, '') : name;
    assert.equal(family, current, `sample outside of its family: ${line}`);
    const sample = { name, labels: parseLabels(labels), value: value === '+Inf' ? Number.POSITIVE_INFINITY : Number(value) };
    const key = JSON.stringify([name, Object.entries(sample.labels).sort()]);
    assert.ok(!seen.has(key), `sample twice: ${line}`);
    seen.add(key);
    samples.push(sample);
  }
  checkHistograms(samples, types);
  return samples;
};

const checkHistograms = (samples: readonly ParsedSample[], types: ReadonlyMap<string, string>): void => {
  const highest = new Map<string, { le: number; value: number }>();
  for (const { name, labels, value } of samples) {
    const family = name.replace(/_bucket$/, '');
    if (family === name || types.get(family) !== 'histogram') continue;
    const { le = '', ...rest } = labels;
    const key = JSON.stringify([family, rest]);
    const before = highest.get(key) ?? { le: Number.NEGATIVE_INFINITY, value: 0 };
    const bound = le === '+Inf' ? Number.POSITIVE_INFINITY : Number(le);
    assert.ok(bound > before.le && value >= before.value, `buckets of ${key} are not cumulative`);
    highest.set(key, { le: bound, value });
  }
  for (const { name, labels, value } of samples) {
    const family = name.replace(/_count$/, '');
    if (family === name || types.get(family) !== 'histogram') continue;
    assert.deepEqual(highest.get(JSON.stringify([family, labels])), { le: Number.POSITIVE_INFINITY, value });
  }
};
