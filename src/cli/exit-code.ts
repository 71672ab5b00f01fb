/** Exit codes of every command: 0 done, 1 failed, 2 wrong usage or configuration. */
export const ExitCode = { done: 0, failed: 1, wrongUsage: 2 } as const;
