import type { VirtualClock } from '../../src/core/index.ts';

const stepMs = 200;
const turns = 4;

/**
 * Moves virtual time a step forward, then lets input and output of real sockets happen: a few turns of the event loop, and the
 * millisecond that a datagram or an event of the file system may take to be seen.
 */
export const passWith = (clock: VirtualClock) => async (): Promise<void> => {
  clock.advance(stepMs);
  for (let i = 0; i < turns; i++) await new Promise((resolve) => setImmediate(resolve));
  await new Promise((resolve) => setTimeout(resolve, 1));
};
