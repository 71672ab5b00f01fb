import type { FrameBudgets } from './abuse-limits.ts';
import type { Connection, ConnectionHandler } from './connection.ts';
import type { ConnectionLife } from './connection-life.ts';
import type { ConnectionStreams } from './connection-streams.ts';
import type { ControlSender } from './control-sender.ts';
import type { FrameWriter } from './frame-writer.ts';
import type { MessageSender } from './message-sender.ts';
import type { Output } from './output.ts';
import type { OwnPings } from './own-pings.ts';
import type { ReceiveWindow } from './receive-window.ts';
import type { RequestShedding } from './request-shedding.ts';

/**
 * What those who receive frames act upon. Each takes what it needs when it is made; `Connection` makes them all, and what one of the
 * parts below causes in another that was made after it goes through `Connection`, too.
 */
export interface ConnectionParts {
  readonly connection: Connection;
  readonly handler: ConnectionHandler;
  readonly budgets: FrameBudgets;
  readonly output: Output;
  readonly writer: FrameWriter;
  readonly receiving: ReceiveWindow;
  readonly control: ControlSender;
  readonly pings: OwnPings;
  readonly sender: MessageSender;
  readonly streams: ConnectionStreams;
  readonly life: ConnectionLife;
  readonly shedding: RequestShedding;
}
