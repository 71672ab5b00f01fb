/** Times between arrivals that know nothing of each other. */
export const exponential = (random: () => number, mean: number): number => -Math.log(1 - random()) * mean;

/** Service times: most near the median, a few several times as long. `sigma` 0.5: the slowest in a hundred take 3.2 times the median. */
export const logNormal = (random: () => number, mean: number, sigma = 0.5): number => {
  const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  return mean * Math.exp(sigma * normal - (sigma * sigma) / 2);
};
