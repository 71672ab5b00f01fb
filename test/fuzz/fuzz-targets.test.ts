import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkLeaks } from '../harness/leak-check.ts';
import { targets } from './all-targets.ts';
import { readCorpus } from './corpus.ts';
import { fuzz, signatureOf } from './fuzz-loop.ts';
import { minimise } from './minimise.ts';
import { Random } from './random.ts';
import type { FuzzTarget } from './target.ts';

checkLeaks();

/** The same inputs each time: how many of each target go into a few seconds together. */
const executions: Readonly<Record<string, number>> = {
  frames: 600,
  hpack: 400,
  connection: 500,
  proxy: 60,
  'grpc-text': 1_500,
  policy: 60,
  consul: 1_500,
  health: 1_500,
  certificates: 400,
};

for (const [name, make] of Object.entries(targets)) {
  test(`${name}: every input of the corpus and a few hundred new ones hold every invariant`, async () => {
    const target = await make();
    try {
      const corpus = readCorpus(target);
      for (const { name: input, input: bytes } of corpus) {
        await Promise.resolve(target.run(Buffer.from(bytes))).catch((error: unknown) => {
          throw new Error(`${input} of ${name}`, { cause: error });
        });
      }
      const errors: string[] = [];
      const { executions: done } = await fuzz(target, {
        seed: 4,
        guided: () => false,
        goesOn: (count) => count < corpus.length + (executions[name] ?? 0),
        onFind: ({ input, error }) => errors.push(`${input.toString('base64')}\n${error}`),
      });
      assert.deepEqual(errors, []);
      assert.ok(done >= (executions[name] ?? 0));
    } finally {
      await target.close?.();
    }
  });
}

/** Fails where the input holds a certain word, and only there. */
class WordTarget implements FuzzTarget {
  readonly name = 'a-word';
  readonly longestInputBytes = 200;
  readonly ran: string[] = [];

  seeds(): readonly Buffer[] {
    return [Buffer.from('a quiet beginning, some filling, and an end')];
  }

  mutate(random: Random, input: Buffer): Buffer {
    const at = random.below(input.length);
    return Buffer.concat([input.subarray(0, at), Buffer.from(random.pick(['bo', 'om', 'boom'])), input.subarray(at)]);
  }

  run(input: Buffer): void {
    this.ran.push(input.toString());
    if (input.includes('boom')) throw new Error(`found after ${this.ran.length} inputs`);
  }
}

test('a seed repeats a run, a find is told once, and cut down to what makes it fail', async () => {
  const run = async () => {
    const target = new WordTarget();
    const finds: string[] = [];
    await fuzz(target, {
      seed: 11,
      guided: () => false,
      goesOn: (count) => count < 400,
      onFind: ({ input }) => finds.push(input.toString()),
    });
    return { ran: target.ran, finds };
  };
  const [first, second] = [await run(), await run()];
  assert.deepEqual(first.finds, ['boom']);
  assert.deepEqual(second, first);
});

test('with guidance the inputs that reach new code are kept', async () => {
  const target = await (targets['grpc-text'] as NonNullable<(typeof targets)[string]>)();
  const result = await fuzz(target, {
    seed: 3,
    guided: () => true,
    goesOn: (count) => count < 400,
    onFind: ({ error }) => assert.fail(error),
  });
  assert.ok(result.blocks > 50, `${result.blocks} blocks reached`);
});

test('an input is cut down as far as it fails', async () => {
  const input = Buffer.concat([new Random(5).bytes(3_000), Buffer.from([7, 9]), new Random(6).bytes(500)]);
  const shortest = await minimise(input, async (shorter) => shorter.includes(Buffer.from([7, 9])));
  assert.deepEqual([...shortest], [7, 9]);
});

test('failures with the same cause have the same signature, whatever the numbers in them', () => {
  const fail = (count: number) => signatureOf(new Error(`${count} streams too many`));
  assert.equal(fail(3), fail(17));
  assert.notEqual(fail(3), signatureOf(new Error('3 bytes too many')));
});
