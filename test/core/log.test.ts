import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { JsonLogger, type LogLevel, logLevels, VirtualClock } from '../../src/core/index.ts';

const captured = (level: LogLevel = 'debug') => {
  const lines: string[] = [];
  return { lines, log: new JsonLogger(new VirtualClock(Date.UTC(2026, 0, 1)), (line) => lines.push(line), level) };
};

test('a line is one JSON object with time, level and message first', () => {
  const { lines, log } = captured();
  log.info('listening', { port: 15001 });
  assert.deepEqual(lines, ['{"time":"2026-01-01T00:00:00.000Z","level":"info","msg":"listening","port":15001}\n']);
});

test('whatever the fields hold, a line stays one line of JSON and keeps its own time, level and message', () => {
  fc.assert(
    fc.property(fc.string(), fc.dictionary(fc.string(), fc.anything({ withBigInt: true, withDate: true })), (msg, fields) => {
      const { lines, log } = captured();
      log.warning(msg, fields);
      assert.equal(lines.length, 1);
      assert.equal(lines[0]?.indexOf('\n'), (lines[0]?.length ?? 0) - 1);
      const line = JSON.parse(lines[0] ?? '') as Record<string, unknown>;
      assert.equal(line['level'], 'warning');
      assert.equal(line['msg'], msg);
    }),
  );
});

test('a field cannot stand in for the level or the message', () => {
  const { lines, log } = captured();
  log.error('refused', { level: 'info', msg: 'all is well' });
  const line = JSON.parse(lines[0] ?? '') as Record<string, unknown>;
  assert.deepEqual([line['level'], line['msg']], ['error', 'refused']);
});

test('long values are cut, those of errors too', () => {
  const { lines, log } = captured();
  log.info('x', { text: 'a'.repeat(100_000), error: new Error('b'.repeat(100_000)), nested: { text: 'c'.repeat(100_000) } });
  assert.ok((lines[0] ?? '').length < 7_000);
});

test('fields that are no JSON are named, and nothing is thrown', () => {
  const { lines, log } = captured();
  const circle: Record<string, unknown> = {};
  circle['self'] = circle;
  log.info('odd', { circle });
  const line = JSON.parse(lines[0] ?? '') as Record<string, unknown>;
  assert.equal(line['msg'], 'odd');
  assert.ok((line['fields'] as string[]).includes('circle'));
});

test('a level lets through itself and what is more severe, and may be changed while running', () => {
  for (const level of logLevels) {
    const { lines, log } = captured(level);
    log.debug('d');
    log.info('i');
    log.warning('w');
    log.error('e');
    assert.equal(lines.length, { trace: 4, debug: 4, info: 3, warning: 2, error: 1, off: 0 }[level]);
  }
  const { lines, log } = captured('off');
  log.level = 'error';
  log.error('now');
  assert.equal(lines.length, 1);
});
