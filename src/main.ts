import { runProgram } from './cli/index.ts';

// `outrider stats | head` closes the pipe early: there is nobody left to tell, and nothing has gone wrong.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));

const code = await runProgram(process.argv.slice(2), {
  environment: process.env,
  console: { out: (text) => process.stdout.write(text), error: (text) => process.stderr.write(text) },
});
if (code !== 0) process.exitCode = code;
