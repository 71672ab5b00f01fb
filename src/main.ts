import { runProgram } from './cli/index.ts';

// `outrider stats | head` closes the pipe early: nobody is left to tell, and nothing has gone wrong. A full disk is a failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE' && error.code !== 'EIO') process.exitCode = 1;
});
// A sidecar must outlive whoever collects its log.
process.stderr.on('error', () => {});

const code = await runProgram(process.argv.slice(2), {
  environment: process.env,
  console: { out: (text) => process.stdout.write(text), error: (text) => process.stderr.write(text) },
});
if (code !== 0) process.exitCode = code;
