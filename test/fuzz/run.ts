/**
 * Fuzzes what takes bytes from outside.
 *
 *     npm run fuzz -- [--for 10m] [--target connection] [--seed N] [--jobs 2] [--unguided] [--finds <folder>]
 *     npm run fuzz -- --target connection --input <file>
 *
 * Without --target each target has its share of the time. Prints executions per second and each find: its input, cut down as far as it still
 * fails, and the command that repeats it. The exit code is 1 where something was found, 2 where the command is wrong.
 */
import { readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { formatDurationMs, parseDurationMs } from '../../src/core/index.ts';
import { targets } from './all-targets.ts';
import { shortHash, writeInput } from './corpus.ts';
import { type Find, failureOf } from './fuzz-loop.ts';
import { sharedHeadBytes, type WorkerMessage, type WorkerOrder } from './fuzz-worker.ts';

/** A worker that shows no new input for so long hangs. */
const hangMs = 30_000;
/** More is a leak: a target keeps little more than the corpus. */
const workerHeapMiB = 1_024;
const presentInputBytes = 128 * 1024;
const root = join(import.meta.dirname, '../..');

const fail = (message: string): never => {
  console.error(`fuzz: ${message}`);
  process.exit(2);
};

const { values } = parseArgs({
  options: {
    for: { type: 'string', default: '1m' },
    target: { type: 'string' },
    seed: { type: 'string' },
    jobs: { type: 'string', default: '1' },
    unguided: { type: 'boolean', default: false },
    finds: { type: 'string', default: join(import.meta.dirname, 'finds') },
    input: { type: 'string' },
  },
});
const names = Object.keys(targets);
const { target: only } = values;
if (only !== undefined && targets[only] === undefined) fail(`there is no target "${only}"; there are ${names.join(', ')}`);
const forMs = parseDurationMs(values.for) ?? fail(`--for takes a duration such as 10m, not "${values.for}"`);
const jobs = /^[1-9]\d?$/.test(values.jobs) ? Number(values.jobs) : fail(`--jobs takes a number from 1 to 99, not "${values.jobs}"`);
const seed = values.seed === undefined ? Date.now() & 0x7fff_ffff : Number(values.seed);
if (!Number.isInteger(seed) || seed < 0 || seed > 0xffff_ffff) fail(`--seed takes a whole number below 2^32, not "${values.seed}"`);

if (values.input !== undefined) process.exit(await repeat(only ?? fail('--input needs the --target that it is for'), values.input));
process.exit(await fuzzAll());

/** One input once more, with all that it says. */
async function repeat(name: string, file: string): Promise<number> {
  const target = await (targets[name] as NonNullable<(typeof targets)[string]>)();
  const error = await failureOf(target, readFileSync(file));
  await target.close?.();
  if (error === undefined) {
    console.log(`${name}: ${file} holds every invariant`);
    return 0;
  }
  console.log(error instanceof Error ? error.stack : String(error));
  return 1;
}

async function fuzzAll(): Promise<number> {
  const chosen = only === undefined ? names : [only];
  const eachMs = forMs / chosen.length;
  console.log(`seed ${seed}: ${chosen.join(', ')}, ${formatDurationMs(Math.round(eachMs))} each, ${jobs} at a time`);
  let finds = 0;
  for (const name of chosen) {
    const told = new Set<string>();
    const results = await Promise.all(
      Array.from({ length: jobs }, (_, job) =>
        runWorker({ target: name, seed: (seed + job) >>> 0, forMs: eachMs, guided: !values.unguided }, (find) => {
          const first = find.error.split('\n')[0] as string;
          if (told.has(first)) return;
          told.add(first);
          finds++;
          tell(find, (seed + job) >>> 0);
        }),
      ),
    );
    const executions = results.reduce((sum, result) => sum + result.executions, 0);
    const blocks = Math.max(...results.map((result) => result.blocks));
    const kept = results.reduce((sum, result) => sum + result.corpus, 0);
    const perSecond = Math.round(executions / (eachMs / 1_000)).toLocaleString('en');
    const reach = values.unguided ? '' : `, ${blocks.toLocaleString('en')} blocks reached, corpus of ${kept.toLocaleString('en')}`;
    console.log(`${name}: ${executions.toLocaleString('en')} executions, ${perSecond}/s${reach}, ${told.size} finds`);
  }
  return finds > 0 ? 1 : 0;
}

function tell({ target, input, originalBytes, error }: Find, ofSeed: number): void {
  const path = relative(process.cwd(), writeInput(values.finds, `${target}-${shortHash(input)}.bin`, input));
  console.log(`\nFIND in ${target} (seed ${ofSeed}): ${input.length} bytes of ${originalBytes}`);
  console.log(error.split('\n').slice(0, 12).join('\n').replaceAll(`file://${root}/`, ''));
  console.log(
    `input:  ${path}\nrepeat: npm run fuzz -- --target ${target} --input ${path}\nkeep:   move it to test/fuzz/corpus/${target}/ once it is mended\n`,
  );
}

interface JobResult {
  readonly executions: number;
  readonly corpus: number;
  readonly blocks: number;
}

/** Runs a worker to its end, or ends it where it hangs or dies; then the input that it was at is the find. */
function runWorker(order: Omit<WorkerOrder, 'shared'>, onFind: (find: Find) => void): Promise<JobResult> {
  const shared = new SharedArrayBuffer(sharedHeadBytes + presentInputBytes);
  const head = new Int32Array(shared, 0, 2);
  const worker = new Worker(new URL('./fuzz-worker.ts', import.meta.url), {
    workerData: { ...order, shared } satisfies WorkerOrder,
    resourceLimits: { maxOldGenerationSizeMb: workerHeapMiB },
  });
  return new Promise((resolve) => {
    let result: JobResult | undefined;
    let lastCount = -1;
    let lastChangeMs = performance.now();
    const present = (): Buffer => Buffer.from(new Uint8Array(shared, sharedHeadBytes, Atomics.load(head, 1)));
    const findPresent = (error: string): void => onFind({ target: order.target, input: present(), originalBytes: present().length, error });
    const end = (): void => {
      clearInterval(watch);
      resolve(result ?? { executions: Atomics.load(head, 0), corpus: 0, blocks: 0 });
    };
    const watch = setInterval(() => {
      const count = Atomics.load(head, 0);
      if (count !== lastCount) {
        lastCount = count;
        lastChangeMs = performance.now();
      } else if (performance.now() - lastChangeMs > hangMs) {
        findPresent(`hang: no end after ${hangMs} ms`);
        // Code that is stuck outside of JavaScript cannot be ended: the process ends over it.
        void worker.terminate();
        end();
      }
    }, 1_000);
    worker.on('message', (message: WorkerMessage) => {
      if (message.kind === 'find') onFind(message.find);
      else result = message;
    });
    worker.on('error', (error) => findPresent(error instanceof Error ? (error.stack ?? error.message) : String(error)));
    worker.on('exit', end);
  });
}
