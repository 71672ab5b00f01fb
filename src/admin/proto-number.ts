const largest = 0xffff_ffff;

/** A limit as protobuf's `uint32` prints it. Envoy writes "no limit" as the largest number; JSON has no Infinity at all, and would say null. */
export const protoUint32 = (value: number): number => Math.min(value, largest);
