/** RFC 1035, RFC 3596 (AAAA), RFC 2782 (SRV). */
export const RecordType = { a: 1, cname: 5, aaaa: 28, srv: 33 } as const;
export type RecordTypeNumber = (typeof RecordType)[keyof typeof RecordType];

/** Names are lower case, without the dot at their end. */
export type DnsRecord = { readonly name: string; readonly ttlSeconds: number } & (
  | { readonly type: typeof RecordType.a | typeof RecordType.aaaa; readonly address: string }
  | { readonly type: typeof RecordType.cname; readonly target: string }
  | {
      readonly type: typeof RecordType.srv;
      readonly priority: number;
      readonly weight: number;
      readonly port: number;
      /** Empty where the owner says that the service is not available (a single dot). */
      readonly target: string;
    }
);

export interface DnsMessage {
  readonly id: number;
  /** Length of the whole message. */
  readonly bytes: number;
  readonly isAnswer: boolean;
  /** There is more than what fitted. */
  readonly truncated: boolean;
  /** 0 no error, 2 server failure, 3 no such name. */
  readonly code: number;
  readonly question: { readonly name: string; readonly type: number } | undefined;
  readonly answers: readonly DnsRecord[];
  /** What the server adds without being asked: addresses of the targets of SRV records. */
  readonly additional: readonly DnsRecord[];
}

const headerBytes = 12;
const longestLabel = 63;
const longestName = 255;
const classInternet = 1;
const typeOpt = 41;
/** What crosses networks without being cut into fragments (DNS flag day 2020). */
export const udpPayloadBytes = 1_232;
/** RFC 2181 8: a TTL with its first bit set is none. */
const longestTtlSeconds = 2 ** 31 - 1;

export const canonicalName = (name: string): string => name.replace(/\.$/, '').toLowerCase();

/** A question that asks for recursion. @param extended says that long answers by UDP are welcome (EDNS, RFC 6891), which old servers refuse. */
export const encodeQuestion = (id: number, name: string, type: RecordTypeNumber, extended: boolean): Buffer => {
  const labels = canonicalName(name)
    .split('.')
    .map((label) => Buffer.from(label, 'latin1'));
  if (labels.some(({ length }) => length === 0 || length > longestLabel)) throw new Error(`${name} is no DNS name`);
  const header = Buffer.alloc(headerBytes);
  header.writeUInt16BE(id, 0);
  header.writeUInt16BE(0x0100, 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(extended ? 1 : 0, 10);
  const tail = Buffer.alloc(extended ? 16 : 5);
  tail.writeUInt16BE(type, 1);
  tail.writeUInt16BE(classInternet, 3);
  if (extended) {
    tail.writeUInt16BE(typeOpt, 6);
    tail.writeUInt16BE(udpPayloadBytes, 8);
  }
  return Buffer.concat([header, ...labels.flatMap((label) => [Buffer.from([label.length]), label]), tail]);
};

/** Throws an Error for whatever is no message: too short, a name without end, a record that ends after the message. */
export const decodeMessage = (bytes: Buffer): DnsMessage => {
  if (bytes.length < headerBytes) throw new Error('a DNS message of less than 12 bytes');
  const flags = bytes.readUInt16BE(2);
  const [questions, answers, authorities, additional] = [4, 6, 8, 10].map((at) => bytes.readUInt16BE(at)) as [
    number,
    number,
    number,
    number,
  ];
  const reader = new Reader(bytes);
  let question: DnsMessage['question'];
  for (let i = 0; i < questions; i++) {
    const name = reader.name();
    question ??= { name, type: reader.uint16At(0) };
    reader.skip(4);
  }
  const list = (count: number): readonly DnsRecord[] => {
    const records: DnsRecord[] = [];
    for (let i = 0; i < count; i++) {
      const record = reader.record();
      if (record !== undefined) records.push(record);
    }
    return records;
  };
  const truncated = (flags & 0x0200) !== 0;
  const header = {
    id: bytes.readUInt16BE(0),
    bytes: bytes.length,
    isAnswer: (flags & 0x8000) !== 0,
    truncated,
    code: flags & 0x0f,
    question,
  };
  // What stands behind the cut need not be whole; it is asked for again.
  if (truncated) return { ...header, answers: [], additional: [] };
  const answered = list(answers);
  list(authorities);
  return { ...header, answers: answered, additional: list(additional) };
};

class Reader {
  readonly #bytes: Buffer;
  #at = headerBytes;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  skip(count: number): void {
    this.#at += count;
    if (this.#at > this.#bytes.length) throw new Error('a DNS message that ends in the middle of a record');
  }

  uint16At(offset: number): number {
    return this.#bytes.readUInt16BE(this.#at + offset);
  }

  /** RFC 1035 4.1.4: labels, or a pointer to where the rest stands. Pointers lead backwards only, so that each name ends. */
  name(): string {
    const bytes = this.#bytes;
    const labels: string[] = [];
    let at = this.#at;
    let after: number | undefined;
    let length = 0;
    for (;;) {
      const size = bytes[at];
      if (size === undefined) throw new Error('a DNS name that ends after the message');
      if (size === 0) break;
      if ((size & 0xc0) === 0xc0) {
        const target = bytes.readUInt16BE(at) & 0x3fff;
        if (target >= at) throw new Error('a DNS name that points forward');
        after ??= at + 2;
        at = target;
        // Each jump costs a byte of the longest name, so that a chain of them ends as well.
        length++;
      } else if (size > longestLabel || at + 1 + size > bytes.length) throw new Error('a DNS label that is none');
      else {
        labels.push(bytes.toString('latin1', at + 1, at + 1 + size));
        at += 1 + size;
        length += 1 + size;
      }
      if (length > longestName) throw new Error('a DNS name of more than 255 bytes');
    }
    this.#at = after ?? at + 1;
    return labels.join('.').toLowerCase();
  }

  /** `undefined` for kinds that nobody here asks for. */
  record(): DnsRecord | undefined {
    const name = this.name();
    const type = this.uint16At(0);
    const recordClass = this.uint16At(2);
    const ttl = this.#bytes.readUInt32BE(this.#at + 4);
    const length = this.uint16At(8);
    this.skip(10);
    const start = this.#at;
    this.skip(length);
    const end = this.#at;
    if (recordClass !== classInternet) return undefined;
    const head = { name, ttlSeconds: ttl > longestTtlSeconds ? 0 : ttl };
    const data = this.#bytes.subarray(start, end);
    if (type === RecordType.a && length === 4) return { ...head, type, address: data.join('.') };
    if (type === RecordType.aaaa && length === 16) return { ...head, type, address: ipv6Text(data) };
    if (type !== RecordType.cname && type !== RecordType.srv) return undefined;
    this.#at = start;
    if (type === RecordType.cname) {
      const target = this.name();
      this.#at = end;
      return { ...head, type, target };
    }
    if (length < 7) throw new Error('an SRV record of less than 7 bytes');
    const [priority, weight, port] = [this.uint16At(0), this.uint16At(2), this.uint16At(4)];
    this.skip(6);
    const target = this.name();
    this.#at = end;
    return { ...head, type, priority, weight, port, target };
  }
}

/** As RFC 5952 wants it, which is how everybody else writes the same address. */
const ipv6Text = (bytes: Buffer): string => {
  const groups = Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(2 * i).toString(16));
  const host = URL.parse(`http://[${groups.join(':')}]`)?.hostname.slice(1, -1);
  return host ?? groups.join(':');
};
