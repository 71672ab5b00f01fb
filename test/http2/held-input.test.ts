import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SystemClock, TimerWheel } from '../../src/core/index.ts';
import { Engine } from '../../src/http2/engine.ts';
import { HeldInput } from '../../src/http2/held-input.ts';
import { checkLeaks } from '../harness/leak-check.ts';

checkLeaks();

const ground = () => {
  const clock = new SystemClock();
  const engine = new Engine(clock, new TimerWheel(clock));
  return { engine, held: new HeldInput(engine) };
};

/** Reads all of it, `most` bytes at a time. */
const drain = (held: HeldInput, most: number): string => {
  let text = '';
  while (!held.isEmpty) {
    held.read((bytes, start, end) => {
      const at = Math.min(end, start + most);
      text += bytes.toString('latin1', start, at);
      return at;
    });
  }
  return text;
};

test('what waits comes out whole and in order, however it came and is read', () => {
  for (const most of [1, 7, 100_000]) {
    const { engine, held } = ground();
    let text = '';
    for (let i = 0; i < 3_000; i++) {
      const piece = `<${i}>`.repeat(1 + (i % 3));
      held.append(Buffer.from(`..${piece}.`), 2, 2 + piece.length);
      text += piece;
    }
    assert.equal(drain(held, most), text);
    assert.equal(engine.slabsOut, 0);
  }
});

test('thousands of small pieces share few slabs', () => {
  const { engine, held } = ground();
  for (let i = 0; i < 10_000; i++) held.append(Buffer.from('tiny'), 0, 4);
  assert.ok(engine.slabsOut <= 3, String(engine.slabsOut));
  held.clear();
  assert.equal(engine.slabsOut, 0);
  assert.ok(held.isEmpty);
});

test('more may come between two reads', () => {
  const { held } = ground();
  held.append(Buffer.from('abc'), 0, 3);
  assert.equal(
    held.read((_bytes, start) => start + 1),
    false,
  );
  held.append(Buffer.from('def'), 0, 3);
  assert.equal(drain(held, 10), 'bcdef');
});

test('memory that is being read is not lent again when it is cleared meanwhile', () => {
  const { engine, held } = ground();
  held.append(Buffer.from('abc'), 0, 3);
  held.read((bytes, start, end) => {
    held.clear();
    for (let i = 0; i < 200; i++) engine.takeSlab(0, false).fill(0xee);
    assert.equal(bytes.toString('latin1', start, end), 'abc');
    return end;
  });
  assert.ok(held.isEmpty);
});
