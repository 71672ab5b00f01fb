import { readCorpus } from './corpus.ts';
import { BlockCoverage } from './coverage.ts';
import { minimise } from './minimise.ts';
import { Random } from './random.ts';
import type { FuzzTarget } from './target.ts';

export interface LoopOptions {
  readonly seed: number;
  /** Asked before each input. */
  readonly goesOn: (executions: number) => boolean;
  /**
   * While true, inputs that reach blocks of `src/` which none before has reached are kept. Counting blocks makes everything ten times slower, so
   * once it is false the loop goes on blindly, from what was kept.
   */
  readonly guided: () => boolean;
  /** Told of each input before it runs, so that whoever watches can name it when nothing comes back. */
  readonly beforeEach?: (input: Buffer) => void;
  readonly onFind: (find: Find) => void;
}

export interface Find {
  readonly target: string;
  readonly input: Buffer;
  /** As it was found. */
  readonly originalBytes: number;
  readonly error: string;
}

export interface LoopResult {
  readonly executions: number;
  readonly corpus: number;
  /** Blocks of `src/` reached; 0 without guidance. */
  readonly blocks: number;
  readonly finds: number;
}

/** Taking stock of the coverage costs as much as some hundred short inputs. */
const batch = 250;
const largestCorpus = 3_000;
/** Finds with the same first line are one find. */
const mostFinds = 20;
/** An input that takes longer, three times in a row, is a find of its own: something is not linear. */
const slowMs = 3_000;

/** What distinguishes one failure from another: its first line without numbers, and the place in the tests that noticed. */
export const signatureOf = (error: unknown): string => {
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  const [first = '', ...rest] = text.split('\n');
  const place = rest.find((line) => /\/(?:src|fuzz)\/.*\.ts:\d+/.test(line)) ?? '';
  return `${first.replaceAll(/\d+/g, 'N')} ${place.replace(/^.*\/(src|test)\//, '$1/').replace(/\)$/, '')}`.slice(0, 300);
};

/** Runs one input and returns what it threw. */
export const failureOf = async (target: FuzzTarget, input: Buffer): Promise<unknown> => {
  try {
    const startedMs = performance.now();
    await target.run(input);
    let spentMs = performance.now() - startedMs;
    for (let again = 0; again < 2 && spentMs > slowMs; again++) {
      const beganMs = performance.now();
      await target.run(input);
      spentMs = Math.min(spentMs, performance.now() - beganMs);
    }
    return spentMs > slowMs ? new Error(`slow: ${input.length} bytes took more than ${slowMs} ms, three times`) : undefined;
  } catch (error) {
    return error ?? new Error('threw nothing');
  }
};

/** Mutates and runs until told to stop. The same seed, corpus and number of executions do the same. */
export const fuzz = async (target: FuzzTarget, options: LoopOptions): Promise<LoopResult> => {
  const random = new Random(options.seed);
  let coverage = options.guided() ? new BlockCoverage() : undefined;
  let blocks = 0;
  const corpus: Buffer[] = [];
  const known = new Set<string>();
  let executions = 0;

  const execute = async (input: Buffer): Promise<void> => {
    executions++;
    options.beforeEach?.(input);
    const error = await failureOf(target, input);
    if (error === undefined) return;
    const signature = signatureOf(error);
    if (known.has(signature) || known.size >= mostFinds) return;
    known.add(signature);
    const shortest = await minimise(input, async (shorter) => {
      options.beforeEach?.(shorter);
      const again = await failureOf(target, shorter);
      return again !== undefined && signatureOf(again) === signature;
    });
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    options.onFind({ target: target.name, input: shortest, originalBytes: input.length, error: text });
  };

  for (const { input } of readCorpus(target)) {
    if (!options.goesOn(executions)) break;
    corpus.push(Buffer.from(input));
    await execute(Buffer.from(input));
  }
  coverage?.take();

  const next = (): Buffer => {
    // Later entries reached what earlier ones did not: they are drawn more often.
    const from = random.oneIn(2) ? random.below(corpus.length) : corpus.length - 1 - random.below(Math.min(40, corpus.length));
    let input = corpus[from] ?? Buffer.alloc(0);
    for (let changes = random.oneIn(3) ? random.between(2, 8) : 1; changes > 0; changes--) {
      input = target.mutate(random, input, random.pick(corpus) ?? Buffer.alloc(0)).subarray(0, target.longestInputBytes);
    }
    return Buffer.from(input);
  };
  const keep = (input: Buffer): void => {
    if (corpus.length < largestCorpus) corpus.push(input);
    else corpus[random.below(corpus.length)] = input;
  };

  /** Finds the inputs of a batch that reached something new by halves, since taking stock costs more than running them. */
  const keepFresh = async (inputs: readonly Buffer[], stock: BlockCoverage): Promise<void> => {
    for (const input of inputs) {
      options.beforeEach?.(input);
      await failureOf(target, input);
    }
    const [first] = inputs;
    if (first === undefined) return;
    if (inputs.length === 1) {
      if (stock.take() > 0) keep(first);
      return;
    }
    if (stock.take(true) === 0) return;
    const middle = inputs.length >> 1;
    await keepFresh(inputs.slice(0, middle), stock);
    await keepFresh(inputs.slice(middle), stock);
  };

  while (options.goesOn(executions)) {
    const inputs: Buffer[] = [];
    for (let i = 0; i < batch && options.goesOn(executions); i++) {
      const input = next();
      inputs.push(input);
      await execute(input);
    }
    if (coverage === undefined) {
      // Without guidance the corpus wanders a little, so that changes add up.
      keep(random.pick(inputs) ?? Buffer.alloc(0));
      continue;
    }
    if (coverage.take(true) > 0) await keepFresh(inputs, coverage);
    blocks = coverage.size;
    if (options.guided()) continue;
    coverage.close();
    coverage = undefined;
  }
  coverage?.close();
  return { executions, corpus: corpus.length, blocks, finds: known.size };
};
