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
  /** By limit, then by values. */
  #dynamic: readonly Map<string, DynamicBucket>[];
  #dynamicCount = 0;
  /** Asked for longest ago, and last. */
  #oldest: DynamicBucket | undefined;
  #newest: DynamicBucket | undefined;
  /** Of the call that asks now; kept, since an array that shrinks gives up its storage. */
  readonly #asked: TokenBucket[] = [];
  #askedCount = 0;

  constructor(options: LocalRateLimitOptions, nowMs: number) {
    this.#options = options;
    this.#common = new TokenBucket(options.bucket, nowMs);
    this.#fixed = fixedBuckets(options, nowMs);
    this.#dynamic = options.descriptors.map(() => new Map());
  }

  /** Other numbers: the common bucket keeps what was taken. Those of descriptors stay where nothing of the descriptors has changed. */
  update(options: LocalRateLimitOptions, descriptorsChanged: boolean, nowMs: number): void {
    this.#options = options;
    this.#common.update(options.bucket, nowMs);
    if (!descriptorsChanged) return;
    this.#fixed = fixedBuckets(options, nowMs);
    this.#dynamic = options.descriptors.map(() => new Map());
    this.#dynamicCount = 0;
    this.#oldest = this.#newest = undefined;
  }

  /** Takes a token from each bucket of the call. @returns 0, or how long it is until all of them have one; none has given one then. */
  waitMs(descriptors: readonly (readonly DescriptorEntry[])[], nowMs: number): number {
    const asked = this.#asked;
    let count = 0;
    for (let i = 0; i < descriptors.length; i++) {
      const bucket = this.#bucketOf(descriptors[i] as readonly DescriptorEntry[], nowMs);
      if (bucket !== undefined && !isAmong(asked, count, bucket)) asked[count++] = bucket;
    }
    if (count === 0 || this.#options.alwaysConsumeDefault) asked[count++] = this.#common;
    this.#askedCount = count;
    return this.waitMsAgain(nowMs);
  }

  /** `waitMs` for the descriptors of the call before, whose buckets need not be looked for. Not after an `update`. */
  waitMsAgain(nowMs: number): number {
    const asked = this.#asked;
    const count = this.#askedCount;
    let wait = 0;
    for (let i = 0; i < count; i++) wait = Math.max(wait, (asked[i] as TokenBucket).waitMs(nowMs));
    if (wait > 0) return wait;
    for (let i = 0; i < count; i++) (asked[i] as TokenBucket).take();
    return 0;
  }

  /** Buckets for values that came. */
  get dynamicDescriptors(): number {
    return this.#dynamicCount;
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
    const buckets = this.#dynamic[limit] as Map<string, DynamicBucket>;
    const key = keyOf(descriptor);
    let found = buckets.get(key);
    if (found === undefined) {
      if (this.#dynamicCount >= this.#options.maxDynamicDescriptors && this.#oldest !== undefined) this.#forget(this.#oldest);
      const bucket = new TokenBucket((this.#options.descriptors[limit] as DescriptorLimit).bucket, nowMs);
      found = { buckets, key, bucket, older: undefined, newer: undefined };
      buckets.set(key, found);
      this.#dynamicCount++;
    } else if (found === this.#newest) return found.bucket;
    else this.#unlink(found);
    found.older = this.#newest;
    if (this.#newest === undefined) this.#oldest = found;
    else this.#newest.newer = found;
    this.#newest = found;
    return found.bucket;
  }

  #forget(one: DynamicBucket): void {
    this.#unlink(one);
    one.buckets.delete(one.key);
    this.#dynamicCount--;
  }

  #unlink(one: DynamicBucket): void {
    if (one.older === undefined) this.#oldest = one.newer;
    else one.older.newer = one.newer;
    if (one.newer === undefined) this.#newest = one.older;
    else one.newer.older = one.older;
    one.older = one.newer = undefined;
  }
}

/** A bucket for values that came, in the order in which they were asked for. */
interface DynamicBucket {
  readonly buckets: Map<string, DynamicBucket>;
  readonly key: string;
  readonly bucket: TokenBucket;
  older: DynamicBucket | undefined;
  newer: DynamicBucket | undefined;
}

const isAmong = (buckets: readonly TokenBucket[], count: number, bucket: TokenBucket): boolean => {
  for (let i = 0; i < count; i++) if (buckets[i] === bucket) return true;
  return false;
};

const fixedBuckets = ({ descriptors }: LocalRateLimitOptions, nowMs: number): readonly (TokenBucket | undefined)[] =>
  descriptors.map(({ bucket, entries }) =>
    entries.every(({ value }) => value !== undefined) ? new TokenBucket(bucket, nowMs) : undefined,
  );

const matches = ({ entries }: DescriptorLimit, descriptor: readonly DescriptorEntry[]): boolean => {
  if (entries.length !== descriptor.length) return false;
  for (let i = 0; i < entries.length; i++) {
    const wanted = entries[i] as DescriptorLimit['entries'][number];
    const { key, value } = descriptor[i] as DescriptorEntry;
    if (wanted.key !== key || (wanted.value !== undefined && wanted.value !== value)) return false;
  }
  return true;
};

/** Among the descriptors of one limit, which all have as many entries. */
const keyOf = (descriptor: readonly DescriptorEntry[]): string => {
  const whole = descriptor.length === 1 ? (descriptor[0] as DescriptorEntry).value : descriptor.map(({ value }) => value).join('\u0000');
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
