/**
 * Lets Jazzer.js drive a target: coverage by instrumentation, for long campaigns. Optional, and no part of the packages: `@jazzer.js/core` 4 has a
 * native part that needs glibc 2.38 or later (Debian 13, Ubuntu 24.04), macOS or Windows. Node's own coverage guides `npm run fuzz` everywhere.
 *
 *     npm install --no-save @jazzer.js/core@4
 *     FUZZ_TARGET=connection npx jazzer test/fuzz/jazzer/fuzz.ts --includes src/ -- -max_total_time=600 test/fuzz/corpus/connection
 *
 * `npm ci` takes it away again. The seeds that are written in code are not among the files; libFuzzer finds what they say by itself.
 */
import { targets } from '../all-targets.ts';
import type { FuzzTarget } from '../target.ts';

const name = process.env['FUZZ_TARGET'] ?? '';
const make = targets[name];
if (make === undefined) throw new Error(`FUZZ_TARGET="${name}" is no target; there are ${Object.keys(targets).join(', ')}`);

let target: FuzzTarget | undefined;

/** Called by Jazzer.js with each input. */
export const fuzz = async (data: Buffer): Promise<void> => {
  target ??= await make();
  await target.run(Buffer.from(data.subarray(0, target.longestInputBytes)));
};
