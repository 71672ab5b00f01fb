import type { Clock } from '../core/index.ts';
import type { ControlSender } from './control-sender.ts';

/** Our own pings by the first byte of their payload: each kind but the last has at most one in flight. */
export const PingKind = { owner: 1, bandwidth: 2, drain: 3, wake: 4, delay: 5 } as const;

/** The PINGs that we send (RFC 9113 6.7), and the one of the connection's owner that waits for its acknowledgement. */
export class OwnPings {
  readonly #clock: Clock;
  readonly #control: ControlSender;
  #onAck: ((rttMs: number) => void) | undefined;
  #sentAtMs = 0;
  #sequence = 0;

  constructor(clock: Clock, control: ControlSender) {
    this.#clock = clock;
    this.#control = control;
  }

  /** An earlier ping of the owner that is still in flight is forgotten. */
  sendForOwner(onAck: (rttMs: number) => void): void {
    this.#onAck = onAck;
    this.#sentAtMs = this.#clock.now();
    this.#control.ping(PingKind.owner << 24, ++this.#sequence);
  }

  send(kind: Exclude<(typeof PingKind)[keyof typeof PingKind], typeof PingKind.owner>): void {
    this.#control.ping(kind << 24, 0);
  }

  onOwnerAck(sequence: number): void {
    if (sequence !== this.#sequence) return;
    const onAck = this.#onAck;
    this.#onAck = undefined;
    onAck?.(this.#clock.now() - this.#sentAtMs);
  }

  forget(): void {
    this.#onAck = undefined;
  }
}
