/**
 * The shortest input found that still fails in the same way: pieces are left out, halves first, then shorter ones, then bytes are set to zero.
 * `fails` is asked at most `mostTries` times.
 */
export const minimise = async (input: Buffer, fails: (shorter: Buffer) => Promise<boolean>, mostTries = 1_500): Promise<Buffer> => {
  let best = input;
  let tries = 0;
  const attempt = async (candidate: Buffer): Promise<boolean> => {
    if (tries++ >= mostTries || !(await fails(candidate))) return false;
    best = candidate;
    return true;
  };
  for (let length = Math.ceil(best.length / 2); length >= 1 && tries < mostTries; length = length === 1 ? 0 : Math.ceil(length / 2)) {
    for (let at = 0; at < best.length && tries < mostTries; ) {
      // Where a piece is gone the next one stands at the same place.
      if (!(await attempt(Buffer.concat([best.subarray(0, at), best.subarray(at + length)])))) at += length;
    }
  }
  for (let at = 0; at < best.length && best.length <= 400 && tries < mostTries; at++) {
    if (best[at] === 0) continue;
    const candidate = Buffer.from(best);
    candidate[at] = 0;
    await attempt(candidate);
  }
  return best;
};
