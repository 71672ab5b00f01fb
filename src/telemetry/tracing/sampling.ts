import type { TracingPolicy } from '../../policy/index.ts';
import { type CallerContext, Said } from './trace-context.ts';

/** Which calls are recorded, as OTEL_TRACES_SAMPLER says. */
export interface SamplerOptions {
  /** What the caller says decides, where it says something. */
  readonly parentBased: boolean;
  /** Share of the others, from 0 to 1. */
  readonly ratio: number;
}

const words = 2 ** 32;

/**
 * Whether a call is recorded, decided when it begins. By its trace id, so that all who see a trace and go by the same share decide alike,
 * and nothing is drawn.
 * @param trace0 to `trace3`: the words of the trace id.
 */
export const isSampled = (
  { parentBased, ratio }: SamplerOptions,
  policy: TracingPolicy | undefined,
  said: CallerContext['said'],
  trace0: number,
  trace1: number,
  trace2: number,
  trace3: number,
): boolean => {
  let share = policy?.randomShare ?? ratio;
  if (parentBased && said !== Said.nothing) {
    if (said === Said.no) return false;
    share = policy === undefined ? 1 : policy.clientShare;
  }
  if (policy !== undefined) share *= policy.overallShare;
  return share >= 1 || (trace0 ^ trace1 ^ trace2 ^ trace3) >>> 0 < share * words;
};
