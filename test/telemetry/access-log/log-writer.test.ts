import assert from 'node:assert/strict';
import { test } from 'node:test';
import { JsonLogger, LimitedLog, VirtualClock } from '../../../src/core/index.ts';
import type { LogFile, WriteResult } from '../../../src/telemetry/access-log/log-file.ts';
import { pieceBytes } from '../../../src/telemetry/access-log/log-lines.ts';
import { AccessLogStats, LogWriter, mostWaitingBytes } from '../../../src/telemetry/access-log/log-writer.ts';

const failure = (code: string): { readonly error: NodeJS.ErrnoException } => ({ error: Object.assign(new Error(code), { code }) });
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** A disk that does what a test says, one write at a time. */
class Disk {
  /** What became of each file, by its identity. */
  readonly files = new Map<string, string>();
  writes = 0;
  opened = 0;
  closed = 0;
  present = 'a';
  /** What comes of each write; left out: all of it is written. */
  onWrite: (bytes: Uint8Array) => WriteResult = (bytes) => ({ bytes: bytes.length });
  failsToOpen: string | undefined;
  /** Writes that wait for `release`; `undefined`: they are done at once. */
  held: (() => void)[] | undefined;

  readonly open = (): LogFile => {
    if (this.failsToOpen !== undefined) throw failure(this.failsToOpen).error;
    this.opened++;
    const identity = this.present;
    const finish = (bytes: Uint8Array): WriteResult => {
      this.writes++;
      const result = this.onWrite(bytes);
      if (result !== 'again' && 'bytes' in result)
        this.files.set(identity, (this.files.get(identity) ?? '') + Buffer.from(bytes.subarray(0, result.bytes)).toString());
      return result;
    };
    return {
      identity,
      write: (bytes, onWritten) => {
        const copy = Buffer.from(bytes);
        if (this.held === undefined) onWritten(finish(copy));
        else this.held.push(() => onWritten(finish(copy)));
      },
      writeSync: finish,
      close: () => {
        this.closed++;
      },
    };
  };

  release(): void {
    const held = this.held ?? [];
    this.held = undefined;
    for (const each of held) each();
  }
}

const started = () => {
  const clock = new VirtualClock();
  const stats = new AccessLogStats();
  const disk = new Disk();
  const said: string[] = [];
  const log = new LimitedLog(new JsonLogger(clock, (line) => said.push(JSON.parse(line).msg)), clock);
  const writer = new LogWriter('/logs/a', { clock, log, stats, open: disk.open });
  const add = (text: string): void => {
    const bytes = Buffer.from(text);
    writer.add(bytes, bytes.length);
  };
  return { add, clock, stats, disk, writer, said, text: () => disk.files.get('a') ?? '' };
};

const line = (i: number): string => `{"call":${i}}`;
const lines = (from: number, to: number): string => Array.from({ length: to - from }, (_, i) => `${line(from + i)}\n`).join('');

test('lines are gathered and written together, in their order', () => {
  const { add, clock, disk, stats, text } = started();
  for (let i = 0; i < 10; i++) add(line(i));
  assert.equal(disk.writes, 0);
  clock.advance(100);
  assert.deepEqual([disk.writes, text(), stats.written], [1, lines(0, 10), 10]);
  assert.equal(clock.pending, 0);
});

test('64 KiB are written at the end of the turn, without waiting for more', async () => {
  const { add, clock, disk, stats } = started();
  for (let i = 0; i < 100; i++) add('x'.repeat(1_000));
  assert.equal(disk.writes, 0);
  await turn();
  assert.ok(disk.writes >= 1);
  assert.equal(stats.written, 100);
  clock.advance(100);
});

test('a line that is longer than a piece is written whole', () => {
  const { add, clock, text } = started();
  const long = 'é'.repeat(pieceBytes);
  add('a');
  add(long);
  add('b');
  clock.advance(100);
  assert.equal(text(), `a\n${long}\nb\n`);
});

test('lines that come while a write is under way are written after it', () => {
  const { add, clock, disk, text, stats } = started();
  disk.held = [];
  add(line(0));
  clock.advance(100);
  add(line(1));
  clock.advance(1_000);
  assert.equal(disk.held?.length, 1);
  disk.release();
  assert.deepEqual([text(), stats.written], [lines(0, 2), 2]);
});

test('what a disk takes only a part of is continued where it stopped', () => {
  const { add, clock, disk, text, stats } = started();
  disk.onWrite = (bytes) => ({ bytes: Math.min(bytes.length, 7) });
  for (let i = 0; i < 50; i++) add(line(i));
  clock.advance(100);
  assert.deepEqual([text(), stats.written], [lines(0, 50), 50]);
});

test('a pipe that is full is asked again, and nothing is lost or counted as a failure', () => {
  const { add, clock, disk, text, stats } = started();
  disk.onWrite = () => 'again';
  add(line(0));
  clock.advance(1_000);
  const asked = disk.writes;
  assert.ok(asked > 5 && asked < 60, `${asked} writes`);
  disk.onWrite = (bytes) => ({ bytes: bytes.length });
  clock.advance(100);
  assert.deepEqual([text(), stats.written, stats.writeFailed, stats.dropped], [lines(0, 1), 1, 0, 0]);
});

test('while nobody takes anything the backlog is bounded, and what does not fit is counted', () => {
  const { add, clock, disk, writer, stats, text } = started();
  disk.onWrite = () => 'again';
  const long = 'x'.repeat(999);
  let taken = 0;
  for (let i = 0; i < 10_000; i++) {
    if (!writer.hasRoom()) continue;
    add(long);
    taken++;
    if (i % 100 === 0) clock.advance(1);
  }
  assert.ok(taken * 1_000 >= mostWaitingBytes && taken * 1_000 < mostWaitingBytes + 2_000);
  assert.equal(stats.dropped, 10_000 - taken);
  disk.onWrite = (bytes) => ({ bytes: bytes.length });
  clock.advance(200);
  assert.equal(stats.written, taken);
  assert.equal(text().length, taken * 1_000);
  assert.ok(writer.hasRoom());
});

test('a full disk is tried again, later each time, and lines are written once there is room', () => {
  const { add, clock, disk, stats, said, text } = started();
  disk.onWrite = () => failure('ENOSPC');
  add(line(0));
  clock.advance(100);
  assert.deepEqual([disk.writes, stats.writeFailed, said], [1, 1, ['access log cannot be written']]);
  clock.advance(60_000);
  const tries = disk.writes;
  assert.ok(tries >= 5 && tries <= 8, `${tries} tries`);
  add(line(1));
  disk.onWrite = (bytes) => ({ bytes: bytes.length });
  clock.advance(30_000);
  assert.deepEqual([text(), stats.written], [lines(0, 2), 2]);
  // Opened once for each try: a file system that came back is another one.
  assert.equal(disk.opened, disk.closed + 1);
});

test('a file that cannot be opened is tried again', () => {
  const { add, clock, disk, stats, text } = started();
  disk.failsToOpen = 'ENOENT';
  add(line(0));
  clock.advance(3_000);
  assert.ok(stats.writeFailed >= 2);
  disk.failsToOpen = undefined;
  clock.advance(30_000);
  assert.deepEqual([text(), stats.written], [lines(0, 1), 1]);
});

test('after a rotation what waits goes into the new file, and no line is in both', () => {
  const { add, clock, disk, writer, stats, text } = started();
  add(line(0));
  clock.advance(100);
  add(line(1));
  disk.present = 'b';
  writer.reopen();
  assert.deepEqual([text(), disk.files.get('b')], [lines(0, 1), lines(1, 2)]);
  assert.deepEqual([disk.closed, stats.reopened, stats.written], [1, 1, 2]);
});

test('a rotation while a write is under way waits for that write', () => {
  const { add, clock, disk, writer, text } = started();
  disk.held = [];
  add(line(0));
  clock.advance(100);
  disk.present = 'b';
  writer.reopen();
  add(line(1));
  assert.equal(disk.closed, 0);
  disk.release();
  assert.deepEqual([text(), disk.files.get('b')], [lines(0, 1), lines(1, 2)]);
});

test('half a line in the old file is not continued in the new one', () => {
  const { add, clock, disk, writer, stats, text } = started();
  let writes = 0;
  disk.onWrite = () => (writes++ === 0 ? { bytes: 5 } : failure('EIO'));
  for (let i = 0; i < 3; i++) add(line(i));
  clock.advance(100);
  disk.present = 'b';
  disk.onWrite = (bytes) => ({ bytes: bytes.length });
  writer.reopen();
  assert.deepEqual([text(), disk.files.get('b')], [line(0).slice(0, 5), lines(1, 3)]);
  assert.deepEqual([stats.dropped, stats.written], [1, 2]);
});

test('half a line is continued in the same file, once that can be written again', () => {
  const { add, clock, disk, text } = started();
  let writes = 0;
  disk.onWrite = () => (writes++ === 0 ? { bytes: 5 } : failure('ENOSPC'));
  for (let i = 0; i < 3; i++) add(line(i));
  clock.advance(100);
  disk.onWrite = (bytes) => ({ bytes: bytes.length });
  clock.advance(2_000);
  assert.equal(text(), lines(0, 3));
});

test('reopening does not wait for the next try', () => {
  const { add, clock, disk, writer, text } = started();
  disk.failsToOpen = 'ENOENT';
  add(line(0));
  clock.advance(60_000);
  disk.failsToOpen = undefined;
  writer.reopen();
  assert.equal(text(), lines(0, 1));
});

test('closing writes what waits', async () => {
  const { add, disk, writer, text, stats, clock } = started();
  add(line(0));
  await writer.close(1_000);
  assert.deepEqual([text(), stats.written, disk.closed, clock.pending], [lines(0, 1), 1, 1, 0]);
  assert.equal(writer.hasRoom(), false);
});

test('closing a log that cannot be written waits for nothing, and says how many lines are lost', async () => {
  const { add, clock, disk, writer, stats, said } = started();
  disk.onWrite = () => failure('ENOSPC');
  add(line(0));
  clock.advance(100);
  add(line(1));
  await writer.close(1_000);
  assert.deepEqual([stats.dropped, stats.written, clock.pending], [2, 0, 0]);
  assert.ok(said.includes('lines of the access log were not written'));
});

test('closing a pipe that nobody reads takes no longer than it may', async () => {
  const { add, clock, disk, writer, stats } = started();
  disk.onWrite = () => 'again';
  add(line(0));
  const closed = writer.close(1_000);
  clock.advance(1_000);
  await closed;
  assert.deepEqual([stats.dropped, clock.pending], [1, 0]);
});

test('a write that the system still has when its time is over is left alone', async () => {
  const { add, clock, disk, writer, stats } = started();
  disk.held = [];
  add(line(0));
  const closed = writer.close(1_000);
  clock.advance(1_000);
  await closed;
  assert.deepEqual([disk.closed, stats.dropped], [0, 1]);
  disk.release();
  assert.equal(disk.closed, 1);
  assert.equal(clock.pending, 0);
});

test('at the end of the process what waits is written without waiting', () => {
  const { add, clock, disk, writer, text, stats } = started();
  add(line(0));
  clock.advance(100);
  for (let i = 1; i < 5; i++) add(line(i));
  disk.held = [];
  writer.flushSync();
  assert.deepEqual([text(), stats.written], [lines(0, 5), 5]);
});
