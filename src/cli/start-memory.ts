/** What V8 hands out with `--expose-gc`, as `bin/outrider` starts it. */
export type CollectGarbage = (options: { type: 'major'; execution: 'sync'; flavor: 'last-resort' }) => void;

/** A small sidecar has nothing to give back, and starts faster without. */
const worthwhileBytes = 32 * 2 ** 20;

/**
 * Gives back what only the start has needed: documents of policies, and answers about hundreds of services. V8 would keep it until the heap has
 * grown by half, which is hours for a sidecar. It takes a tenth of a second, so that it is for the time before there are calls.
 */
export const returnStartMemory = (
  heapBytes: number = process.memoryUsage().heapTotal,
  collect: CollectGarbage | undefined = (globalThis as { readonly gc?: CollectGarbage }).gc,
): void => {
  if (heapBytes >= worthwhileBytes) collect?.({ type: 'major', execution: 'sync', flavor: 'last-resort' });
};
