/** What the catalogue of attacks is made of. `docs/security.md` names the limits, `index.ts` lists the attacks. */
import type { AttackPeer } from './attack-peer.ts';
import type { Attacker } from './attacker.ts';

/** HTTP/2 error codes (RFC 9113 7), in numbers of our own. */
export const Code = {
  noError: 0,
  protocolError: 1,
  flowControlError: 3,
  settingsTimeout: 4,
  streamClosed: 5,
  frameSizeError: 6,
  refusedStream: 7,
  cancel: 8,
  compressionError: 9,
  enhanceYourCalm: 11,
} as const;

/** What the sidecar is expected to do. */
export type Answer =
  /** GOAWAY and the end. `orClosed`: a peer that has not read for long may find the end without the frame. */
  | { readonly kind: 'goaway'; readonly code: number; readonly debug: RegExp; readonly orClosed?: true }
  /** Every stream of the attack is reset with this code; the connection lives. */
  | { readonly kind: 'reset'; readonly code: number }
  /** Every call is answered with this reason; the connection lives. */
  | { readonly kind: 'reply'; readonly reason: string }
  /** The connection ends, with or without a word. */
  | { readonly kind: 'close' }
  /** The connection lives and answers. */
  | { readonly kind: 'absorbed' }
  /** Every call gets its OK, and the connection lives. */
  | { readonly kind: 'served' };

/** What an attacker saw. */
export interface Seen {
  readonly goAway: { readonly code: number; readonly debug: string } | undefined;
  /** The connection is over. */
  readonly closed: boolean;
  /** How many streams were reset with each code, NO_ERROR behind an answer left out. */
  readonly resets: ReadonlyMap<number, number>;
  /** How many calls ended with each reason; `ok` for status 0, `status N` where no reason came. */
  readonly replies: ReadonlyMap<string, number>;
  /** Calls that were to be answered. */
  readonly calls: number;
}

/** One way to carry out an attack. */
export interface Variant {
  readonly name: string;
  /** One of these. */
  readonly answers: readonly Answer[];
  /** Below `listener.<name>.` in `/stats`; one of them must rise. None where nothing is refused. */
  readonly counters: readonly string[];
  /** The listeners that it makes sense on; both where left out. */
  readonly only?: 'plain' | 'tls';
  /** Sends it all and says what came of it. */
  send(attacker: Attacker): Promise<Seen>;
}

export interface Attack {
  readonly name: string;
  /** CVE numbers, or the name under which it is known. */
  readonly known: string;
  /** Looks like an attack and is none: it must not be punished. */
  readonly honest?: true;
  /**
   * What a well-behaved connection of the same bytes does, for the comparison of CPU: small calls, or calls with large answers, which it
   * reads. `none` where hardly a byte is sent, so that there is nothing to compare.
   */
  readonly comparedWith: 'calls' | 'large-answers' | 'none';
  /** An attack that needs more time than others, in milliseconds of real time. */
  readonly lastsMs?: number;
  /** Worth a run with 1,000 connections. */
  readonly many?: true;
  readonly variants: readonly Variant[];
}

export const goAway = (code: number, debug: RegExp): Answer => ({ kind: 'goaway', code, debug });
/** GOAWAY(ENHANCE_YOUR_CALM), which is the answer to most attacks. */
export const calm = (debug: RegExp): Answer => goAway(Code.enhanceYourCalm, debug);
export const reset = (code: number): Answer => ({ kind: 'reset', code });
export const reply = (reason: string): Answer => ({ kind: 'reply', reason });
export const closed: Answer = { kind: 'close' };
export const absorbed: Answer = { kind: 'absorbed' };
export const served: Answer = { kind: 'served' };

const all = (counts: ReadonlyMap<unknown, number>, key: unknown, calls: number): boolean =>
  counts.get(key) === calls && [...counts.values()].reduce((sum, count) => sum + count, 0) === calls;

/** Whether what was seen is that answer. */
export const isAnswer = (answer: Answer, seen: Seen): boolean => {
  switch (answer.kind) {
    case 'goaway':
      if (seen.goAway === undefined) return answer.orClosed === true && seen.closed;
      return seen.closed && seen.goAway.code === answer.code && answer.debug.test(seen.goAway.debug);
    case 'reset':
      return !seen.closed && seen.goAway === undefined && seen.calls > 0 && all(seen.resets, answer.code, seen.calls);
    case 'reply':
      return !seen.closed && seen.goAway === undefined && seen.calls > 0 && all(seen.replies, answer.reason, seen.calls);
    case 'close':
      return seen.closed;
    case 'absorbed':
      return !seen.closed && seen.goAway === undefined;
    case 'served':
      return !seen.closed && seen.goAway === undefined && seen.calls > 0 && all(seen.replies, 'ok', seen.calls);
  }
};

const counted = (counts: ReadonlyMap<unknown, number>, what: string): readonly string[] =>
  [...counts].map(([key, count]) => `${count} x ${what}${key}`);

/** What was seen, in a few words. */
export const seenText = ({ goAway: away, closed: over, resets, replies }: Seen): string => {
  const parts = away === undefined ? [...counted(resets, 'RST '), ...counted(replies, '')] : [`GOAWAY ${away.code} "${away.debug}"`];
  if (away === undefined) parts.push(over ? 'closed' : 'lives');
  return parts.join(', ');
};

export const answerText = (answers: readonly Answer[]): string =>
  answers
    .map((answer) => {
      if (answer.kind === 'goaway') return `GOAWAY ${answer.code} ${answer.debug}${answer.orClosed ? ' or closed' : ''}`;
      if (answer.kind === 'reset') return `RST ${answer.code}`;
      return answer.kind === 'reply' ? answer.reason : answer.kind;
    })
    .join(' | ');

/** What came of several connections of one attack: the worst, which is the first that differs from the answers. */
export const summarize = (variant: Pick<Variant, 'answers'>, all_: readonly Seen[]): Seen => {
  const odd = all_.find((seen) => !variant.answers.some((answer) => isAnswer(answer, seen)));
  const [first] = all_;
  if (first === undefined) throw new Error('nothing was sent');
  return odd ?? first;
};

export type { Attacker, AttackPeer };
