import type { Random } from './random.ts';

/** Something that takes bytes from outside, with what must hold after each input. */
export interface FuzzTarget {
  readonly name: string;
  /** An input is cut to this. */
  readonly longestInputBytes: number;
  /** Inputs to start from, besides the files in `corpus/<name>/`. */
  seeds(): readonly Buffer[];
  /** A new input out of `input`, and of `other`, which is another one of the corpus. */
  mutate(random: Random, input: Buffer, other: Buffer): Buffer;
  /** Feeds the input and checks every invariant; throws (or rejects) where one does not hold. Depends on nothing but the input. */
  run(input: Buffer): void | Promise<void>;
  /** Ends what the target keeps between inputs. */
  close?(): Promise<void>;
}

export type TargetMaker = () => Promise<FuzzTarget>;
