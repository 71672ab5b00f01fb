export { type Environment, readSidecarConfiguration, type SidecarConfiguration } from './configuration.ts';
export { type CommandContext, CommandFailure, type Console } from './console.ts';
export { ExitCode } from './exit-code.ts';
export { runProgram } from './program.ts';
export { awaitStartupFiles } from './startup-wait.ts';
