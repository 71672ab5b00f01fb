import type { Route } from '../../policy/index.ts';
import type { GradientOptions } from '../../resilience/index.ts';
import { AdaptiveLimit } from '../../upstream/index.ts';
import { type LocalReply, localReply } from '../replies.ts';

/** The adaptive limit of one route. */
export class RouteConcurrency extends AdaptiveLimit {
  constructor(route: Route, options: GradientOptions, random: () => number, nowMs: number) {
    super(`http.${route.direction}.${route.name.replaceAll(/[^\x21-\x7e]/g, '_')}`, options, random, nowMs);
  }

  /** Lets a call in, which owes one `leave`; else the answer to it. */
  enter(call: { readonly rule: string }, nowMs: number): LocalReply | undefined {
    if (this.tryEnter(nowMs)) return undefined;
    const message = `${this.active} calls are under way, and adaptive_concurrency of ${call.rule} allows ${this.limit} now, so that the service does not slow down; call again later, or give the service more instances`;
    return localReply('overloaded', message);
  }
}
