/**
 * Every attack on a listener that the project answers for, each as code that really sends it. The tests run them at small volumes, `npm run
 * attacks` at full ones, with a neighbour whose calls are timed.
 */
import type { Attack } from './attack.ts';
import { connectionFlood, garbage, handshakeFlood } from './connections.ts';
import {
  emptyFrames,
  honestPings,
  pingFlood,
  priorityFlood,
  settingsChurn,
  settingsFlood,
  unknownFrames,
  windowUpdateFlood,
} from './control-frames.ts';
import { dataDribble, tinyData, unreadOutput, unreadReplies, windowOverflow, zeroWindow } from './flow-control.ts';
import { continuationFlood, halfHeaderBlock, hpackBomb, oversizedHeaders, tableChurn } from './header-blocks.ts';
import { honestSlowReader, honestSmallMessages } from './honest-streams.ts';
import { authorityAndHost, malformedRequests, streamIds } from './malformed.ts';
import { honestDeadlines, honestDeparture, honestLateCancel, madeYouReset, rapidReset } from './resets.ts';
import { slowBody, slowFirstRequest, slowHandshake, slowPreface } from './slow.ts';

export const families = {
  resets: [rapidReset, madeYouReset, honestDeadlines, honestLateCancel, honestDeparture],
  headerBlocks: [continuationFlood, halfHeaderBlock, hpackBomb, oversizedHeaders, tableChurn],
  controlFrames: [pingFlood, settingsFlood, settingsChurn, priorityFlood, windowUpdateFlood, emptyFrames, unknownFrames, honestPings],
  flowControl: [zeroWindow, dataDribble, unreadOutput, unreadReplies, tinyData, windowOverflow, honestSmallMessages, honestSlowReader],
  slow: [slowPreface, slowFirstRequest, slowBody, slowHandshake],
  malformed: [malformedRequests, authorityAndHost, streamIds],
  connections: [garbage, connectionFlood, handshakeFlood],
} as const satisfies Readonly<Record<string, readonly Attack[]>>;

export const attacks: readonly Attack[] = Object.values(families).flat();
export * from './attack.ts';
export { Attacker, type AttackerOptions, type Target } from './attacker.ts';
