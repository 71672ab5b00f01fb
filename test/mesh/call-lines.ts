import assert from 'node:assert/strict';
import { type Fate, fates } from '../../src/core/index.ts';
import type { Direction } from '../../src/policy/index.ts';
import { LineBytes } from '../../src/telemetry/access-log/line-bytes.ts';
import { compileFormat } from '../../src/telemetry/access-log/log-format.ts';
import type { CallObserver, EndedCall } from '../../src/telemetry/index.ts';

/** The line that an access log would have for each call of a test: whatever a test makes of a call, it is one, and can be read. */
export class CallLines implements CallObserver {
  readonly #format = compileFormat(undefined, { serviceName: 'test', hostname: 'test', wallNow: () => 0 });
  readonly #bytes = new LineBytes();
  readonly #counts: Readonly<Record<Direction, Map<Fate, number>>> = { inbound: new Map(), outbound: new Map() };

  onCallEnd(call: EndedCall): void {
    this.#bytes.clear();
    this.#format(call, this.#bytes);
    const line = this.#bytes.toString();
    assert.ok(!line.includes('\n'), line);
    const { fate, direction } = JSON.parse(line) as { fate: Fate; direction: Direction };
    const counts = this.#counts[direction];
    counts.set(fate, (counts.get(fate) ?? 0) + 1);
  }

  /** Fails unless each counted call has had its line. Only what was shed before there was a call has none. */
  check(name: string, direction: Direction, counted: (fate: Fate) => number): void {
    for (const fate of fates) {
      const lines = this.#counts[direction].get(fate) ?? 0;
      const calls = counted(fate);
      if (fate === 'overloaded') assert.ok(lines <= calls, `${name}: ${lines} lines for ${calls} ${direction} calls with ${fate}`);
      else assert.equal(lines, calls, `${name}: every ${direction} call with ${fate} has one line`);
    }
  }
}
