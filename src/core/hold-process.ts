import { MessageChannel } from 'node:worker_threads';

/**
 * Keeps the process alive until the returned function is called: the clock's timers do not, so whoever waits for one before
 * there is a socket or a child would otherwise see the process end in the middle. Releasing twice is harmless.
 */
export const holdProcess = (): (() => void) => {
  const { port1 } = new MessageChannel();
  port1.ref();
  return () => port1.close();
};
