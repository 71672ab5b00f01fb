import { once } from 'node:events';
import type { Server } from 'node:http';
import type { Clock } from '../core/index.ts';

/** How long answers under way may take when a server closes. */
const closeWithinMs = 1_000;

/** Stops listening; answers under way get a second. Idempotent. */
export const closeServer = async (server: Server, clock: Clock): Promise<void> => {
  if (!server.listening) return;
  const closed = once(server, 'close');
  server.close();
  server.closeIdleConnections();
  const timer = clock.setTimer(() => server.closeAllConnections(), closeWithinMs);
  await closed;
  timer.cancel();
};
