/**
 * Whose turn it is by weights that are fixed for a while: a walk over all in order, in which a lighter one sits out its part of the
 * rounds (gRFC A58, "static stride scheduler"). No state but a number, a turn is O(1), and turns are spread out.
 */
export class StrideSchedule {
  readonly #weights: Uint16Array;
  #sequence: number;

  /** @param weights positive; what is 0 or less counts as the mean of the others. @param start where the walk begins, from 0 to 1. */
  constructor(weights: ArrayLike<number>, start: number) {
    this.#weights = scaled(weights);
    this.#sequence = Math.floor(start * this.#weights.length);
  }

  /** Index of the next one; -1 where there are none. */
  next(): number {
    const weights = this.#weights;
    const count = weights.length;
    if (count === 0) return -1;
    for (;;) {
      const sequence = this.#sequence++;
      const index = sequence % count;
      const generation = Math.floor(sequence / count);
      const weight = weights[index] as number;
      // Neighbours are half a turn apart, so that equal weights do not sit out the same rounds.
      if ((weight * generation + index * offset) % heaviest >= heaviest - weight) return index;
    }
  }
}

const heaviest = 65_535;
const offset = 32_767;
/** How far from the mean a weight may be: beyond that a report is an error, or a turn would take too long to find. */
const mostTimesMean = 10;
const leastTimesMean = 0.1;

const scaled = (weights: ArrayLike<number>): Uint16Array => {
  let sum = 0;
  let known = 0;
  let greatest = 0;
  for (let i = 0; i < weights.length; i++) {
    const weight = weights[i] as number;
    if (!(weight > 0)) continue;
    sum += weight;
    known++;
    greatest = Math.max(greatest, weight);
  }
  if (known === 0) return new Uint16Array(weights.length).fill(heaviest);
  const mean = sum / known;
  const limit = Math.min(greatest, mean * mostTimesMean);
  const least = Math.max(1, Math.ceil((mean * leastTimesMean * heaviest) / limit));
  return Uint16Array.from(weights, (weight) => {
    const used = weight > 0 ? weight : mean;
    return Math.min(heaviest, Math.max(least, Math.round((used * heaviest) / limit)));
  });
};
