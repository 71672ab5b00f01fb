/** Whether the memory of one process rises. */
export interface MemoryVerdict {
  readonly flat: boolean;
  /** Too little time to say anything. */
  readonly tooShort: boolean;
  readonly meanBytes: number;
  readonly slopeBytesPerMinute: number;
  /** Standard error of the slope. */
  readonly errorBytesPerMinute: number;
  /** What the slope makes of the time that was looked at. */
  readonly growthBytes: number;
}

/** The saw-tooth of the garbage collector makes neighbouring seconds anything but independent; the least of ten is its floor. */
const blockSeconds = 10;
const fewestBlocks = 9;
/** Student's t, one-sided 99 %, for about ten to thirty degrees of freedom. */
const tQuantile = 2.6;
const toleratedShare = 0.03;
const toleratedBytes = 2 * 1024 * 1024;

/**
 * Least squares through the floors of blocks of ten samples, of which there is one each second. Memory rises where the slope is above zero with
 * 99 % confidence *and* makes more than 3 % of the mean, or 2 MiB, of the time that was looked at: a significant slope
 * that small is the heap finding its size.
 */
export const judgeMemory = (samplesBytes: readonly number[]): MemoryVerdict => {
  const floors: number[] = [];
  for (let i = 0; i + blockSeconds <= samplesBytes.length; i += blockSeconds)
    floors.push(Math.min(...samplesBytes.slice(i, i + blockSeconds)));
  const count = floors.length;
  const meanBytes = count === 0 ? 0 : floors.reduce((sum, bytes) => sum + bytes, 0) / count;
  if (count < fewestBlocks)
    return { flat: true, tooShort: true, meanBytes, slopeBytesPerMinute: 0, errorBytesPerMinute: 0, growthBytes: 0 };
  const middle = (count - 1) / 2;
  let spread = 0;
  let product = 0;
  for (const [i, bytes] of floors.entries()) {
    spread += (i - middle) ** 2;
    product += (i - middle) * (bytes - meanBytes);
  }
  const slope = product / spread;
  const residual = floors.reduce((sum, bytes, i) => sum + (bytes - meanBytes - slope * (i - middle)) ** 2, 0);
  const error = Math.sqrt(residual / (count - 2) / spread);
  const growthBytes = slope * (count - 1);
  const rises = slope - tQuantile * error > 0 && growthBytes > Math.max(toleratedBytes, toleratedShare * meanBytes);
  const perMinute = 60 / blockSeconds;
  return {
    flat: !rises,
    tooShort: false,
    meanBytes,
    slopeBytesPerMinute: slope * perMinute,
    errorBytesPerMinute: error * perMinute,
    growthBytes,
  };
};
