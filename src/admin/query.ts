import { parseDurationMs, suggest } from '../core/index.ts';
import { AdminProblem } from './reply.ts';

/**
 * The parameters of one request. A name that the path does not know is refused, since `?tll=60s` on a breaker would
 * otherwise hold it for ever.
 */
export class Query {
  readonly #parameters: URLSearchParams;

  constructor(text: string, known: readonly string[]) {
    this.#parameters = new URLSearchParams(text);
    for (const name of this.#parameters.keys()) {
      if (known.includes(name)) continue;
      const likely = suggest(name, known);
      const allowed = known.length === 0 ? 'this path takes none' : `known are ${known.join(', ')}`;
      throw new AdminProblem(400, `unknown parameter ${name}${likely === undefined ? '' : `, did you mean ${likely}`}; ${allowed}`);
    }
  }

  has(name: string): boolean {
    return this.#parameters.has(name);
  }

  /** `undefined` where it is not given. Given and empty is refused: a shell variable that was not set must not mean "all". */
  text(name: string): string | undefined {
    const value = this.#parameters.get(name);
    if (value === '') throw new AdminProblem(400, `parameter ${name} is empty; leave it out or give it a value`);
    return value ?? undefined;
  }

  /** One of `allowed`; where it is not given, the first of them. */
  choice<T extends string>(name: string, allowed: readonly [T, ...T[]]): T {
    const value = this.text(name);
    if (value === undefined) return allowed[0];
    const found = allowed.find((each) => each === value);
    if (found !== undefined) return found;
    throw new AdminProblem(400, `parameter ${name} is ${value}; allowed are ${allowed.join(', ')}`);
  }

  /** A positive duration such as `60s`, in milliseconds. */
  durationMs(name: string): number | undefined {
    const value = this.text(name);
    if (value === undefined) return undefined;
    const ms = parseDurationMs(value);
    if (ms !== undefined && ms > 0 && Number.isFinite(ms)) return ms;
    throw new AdminProblem(400, `parameter ${name} is ${value}; write a positive duration with its unit, such as 60s`);
  }
}
