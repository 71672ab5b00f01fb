import { TokenBucket, type TokenBucketOptions } from './token-bucket.ts';

/** One thing that is known of a call: `remote_address` and an address, a header and its value. */
export interface DescriptorEntry {
  readonly key: string;
  readonly value: string;
}

/** A bucket for calls whose descriptor has these keys in this order; an entry without a value has a bucket for each value that comes. */
export interface DescriptorLimit {
  readonly entries: readonly { readonly key: string; readonly value: string | undefined }[];
  readonly bucket: TokenBucketOptions;
}

/** Envoy's `LocalRateLimit`, as far as it decides. */
export interface LocalRateLimitOptions {
  readonly bucket: TokenBucketOptions;
  readonly descriptors: readonly DescriptorLimit[];
  /** Buckets for values that come, at most; the one not asked for longest goes first. */
  readonly maxDynamicDescriptors: number;
  /** Whether a call that has a bucket by its descriptor takes from the common one too. */
  readonly alwaysConsumeDefault: boolean;
}

/** Longer values are told apart by a part and a hash, so that nobody fills memory with them. */
const longestKey = 256;

/** Buckets of one route: a common one, and those of descriptors. A call goes on where each of its buckets has a token, else none gives one. */
export class LocalRateLimit {
  #options: LocalRateLimitOptions;
  readonly #common: TokenBucket;
  /** Of limits whose every entry has a value, in the order of the options. */
  #fixed: readonly (TokenBucket | undefined)[];
  /** By limit and values, the one asked for last at the end. */
  readonly #dynamic = new Map<string, TokenBucket>();
  readonly #asked: TokenBucket[] = [];

  constructor(options: LocalRateLimitOptions, nowMs: number) {
    this.#options = options;
    this.#common = new TokenBucket(options.bucket, nowMs);
    this.#fixed = fixedBuckets(options, nowMs);
  }

  /** Other numbers: the common bucket keeps what was taken. Those of descriptors stay where nothing of the descriptors has changed. */
  update(options: LocalRateLimitOptions, descriptorsChanged: boolean, nowMs: number): void {
    this.#options = options;
    this.#common.update(options.bucket, nowMs);
    if (!descriptorsChanged) return;
    this.#fixed = fixedBuckets(options, nowMs);
    this.#dynamic.clear();
  }

  /** Takes a token from each bucket of the call. @returns 0, or how long it is until all of them have one; none has given one then. */
  waitMs(descriptors: readonly (readonly DescriptorEntry[])[], nowMs: number): number {
    const asked = this.#asked;
    asked.length = 0;
    for (const descriptor of descriptors) {
      const bucket = this.#bucketOf(descriptor, nowMs);
      if (bucket !== undefined && !asked.includes(bucket)) asked.push(bucket);
    }
    if (asked.length === 0 || this.#options.alwaysConsumeDefault) asked.push(this.#common);
    let wait = 0;
    for (const bucket of asked) wait = Math.max(wait, bucket.waitMs(nowMs));
    if (wait > 0) return wait;
    for (const bucket of asked) bucket.take();
    return 0;
  }

  /** Buckets for values that came. */
  get dynamicDescriptors(): number {
    return this.#dynamic.size;
  }

  get commonTokens(): TokenBucket {
    return this.#common;
  }

  /** A limit for just this value is nearer than one for any. */
  #bucketOf(descriptor: readonly DescriptorEntry[], nowMs: number): TokenBucket | undefined {
    const { descriptors } = this.#options;
    let any = -1;
    for (let i = 0; i < descriptors.length; i++) {
      if (!matches(descriptors[i] as DescriptorLimit, descriptor)) continue;
      const fixed = this.#fixed[i];
      if (fixed !== undefined) return fixed;
      if (any < 0) any = i;
    }
    return any < 0 ? undefined : this.#dynamicBucket(any, descriptor, nowMs);
  }

  #dynamicBucket(limit: number, descriptor: readonly DescriptorEntry[], nowMs: number): TokenBucket {
    const key = keyOf(limit, descriptor);
    let bucket = this.#dynamic.get(key);
    if (bucket === undefined) {
      if (this.#dynamic.size >= this.#options.maxDynamicDescriptors) {
        for (const oldest of this.#dynamic.keys()) {
          this.#dynamic.delete(oldest);
          break;
        }
      }
      bucket = new TokenBucket((this.#options.descriptors[limit] as DescriptorLimit).bucket, nowMs);
    } else this.#dynamic.delete(key);
    this.#dynamic.set(key, bucket);
    return bucket;
  }
}

const fixedBuckets = ({ descriptors }: LocalRateLimitOptions, nowMs: number): readonly (TokenBucket | undefined)[] =>
  descriptors.map(({ bucket, entries }) =>
    entries.every(({ value }) => value !== undefined) ? new TokenBucket(bucket, nowMs) : undefined,
  );

const matches = ({ entries }: DescriptorLimit, descriptor: readonly DescriptorEntry[]): boolean =>
  entries.length === descriptor.length &&
  entries.every(({ key, value }, i) => key === descriptor[i]?.key && (value === undefined || value === descriptor[i]?.value));

const keyOf = (limit: number, descriptor: readonly DescriptorEntry[]): string => {
  const whole = `${limit}\u0000${descriptor.map(({ value }) => value).join('\u0000')}`;
  if (whole.length <= longestKey) return whole;
  // FNV-1a in two halves: different enough, and a collision only shares a bucket.
  let first = 0x811c_9dc5;
  let second = 0x1234_5678;
  for (let i = 0; i < whole.length; i++) {
    first = Math.imul(first ^ whole.charCodeAt(i), 0x0100_0193);
    second = Math.imul(second ^ whole.charCodeAt(i), 0x85eb_ca6b) ^ (second >>> 15);
  }
  return `${whole.slice(0, longestKey)}\u0000${first >>> 0}\u0000${second >>> 0}`;
};
