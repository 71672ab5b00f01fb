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
  /** The least of every ten seconds: what was judged. */
  readonly floorsBytes: readonly number[];
}

/** The saw-tooth of the garbage collector makes neighbouring seconds anything but independent; the least of ten is its floor. */
const blockSeconds = 10;
const fewestBlocks = 9;
/** Student's t, one-sided 99 %, for about ten to thirty degrees of freedom. */
const tQuantile = 2.6;
const toleratedShare = 0.03;
const toleratedBytes = 2 * 1024 * 1024;

interface Line {
  /** Per step, and its standard error. */
  readonly slope: number;
  readonly error: number;
}

/** Least squares through values at equal distances. */
const fitLine = (values: readonly number[]): Line => {
  const count = values.length;
  const middle = (count - 1) / 2;
  const mean = values.reduce((sum, value) => sum + value, 0) / count;
  let spread = 0;
  let product = 0;
  for (const [i, value] of values.entries()) {
    spread += (i - middle) ** 2;
    product += (i - middle) * (value - mean);
  }
  const slope = product / spread;
  const residual = values.reduce((sum, value, i) => sum + (value - mean - slope * (i - middle)) ** 2, 0);
  return { slope, error: Math.sqrt(residual / (count - 2) / spread) };
};

/**
 * A line through the floors of blocks of ten samples, of which there is one each second. Memory rises where, all three:
 * its slope is above zero with 99 % confidence; it makes more than 3 % of the mean and more than 2 MiB of the time that was looked at; and each
 * third by itself rises at half that pace at least. A heap that finds its size does so by steps with rest between them; a leak goes on.
 */
export const judgeMemory = (samplesBytes: readonly number[]): MemoryVerdict => {
  const floors: number[] = [];
  for (let i = 0; i + blockSeconds <= samplesBytes.length; i += blockSeconds)
    floors.push(Math.min(...samplesBytes.slice(i, i + blockSeconds)));
  const count = floors.length;
  const meanBytes = count === 0 ? 0 : floors.reduce((sum, bytes) => sum + bytes, 0) / count;
  if (count < fewestBlocks)
    return { flat: true, tooShort: true, meanBytes, slopeBytesPerMinute: 0, errorBytesPerMinute: 0, growthBytes: 0, floorsBytes: floors };
  const { slope, error } = fitLine(floors);
  const growthBytes = slope * (count - 1);
  const tolerated = Math.max(toleratedBytes, toleratedShare * meanBytes);
  const third = Math.floor(count / 3);
  const thirds = [0, 1, 2].map((i) => fitLine(floors.slice(i * third, i === 2 ? count : (i + 1) * third)).slope * (count - 1));
  const goesOn = thirds.every((growth) => growth > tolerated / 2);
  const perMinute = 60 / blockSeconds;
  return {
    flat: !(slope - tQuantile * error > 0 && growthBytes > tolerated && goesOn),
    tooShort: false,
    meanBytes,
    slopeBytesPerMinute: slope * perMinute,
    errorBytesPerMinute: error * perMinute,
    growthBytes,
    floorsBytes: floors,
  };
};
