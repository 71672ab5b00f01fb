import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, isIPv4, type Socket } from 'node:net';

export interface StandInRecord {
  readonly address: string;
  readonly ttlSeconds: number;
}

export interface StandInService {
  readonly target: string;
  readonly port: number;
  readonly priority?: number;
  readonly weight?: number;
  readonly ttlSeconds: number;
}

const typeA = 1;
const typeCname = 5;
const typeAaaa = 28;
const typeSrv = 33;
const typeOpt = 41;
const longestUdpBytes = 1_232;

/** Stands in for a name server: answers A, AAAA and SRV over loopback UDP and TCP from tables that the test changes; unknown names do not exist. */
export class StandInNameServer implements AsyncDisposable {
  readonly records = new Map<string, readonly StandInRecord[]>();
  readonly services = new Map<string, readonly StandInService[]>();
  readonly aliases = new Map<string, string>();
  /** SERVFAIL for everything. */
  failing = false;
  /** Says nothing at all. */
  silent = false;
  /** Whether addresses of targets come with SRV records. */
  addsAddresses = true;
  /** Answers FORMERR to questions with EDNS, as old servers do. */
  knowsEdns = true;
  /** Leaves out of answers by UDP what does not fit, without a word, as Consul does. */
  cutsSilently = false;
  refusesTcp = false;
  /** Bytes that are sent before each answer by UDP: a stray or forged message. */
  beforeAnswer: ((query: Buffer) => Buffer) | undefined;
  /** Questions by kind: `SRV name`, and `TCP` for each that came by TCP. */
  readonly asked: string[] = [];
  readonly #udp = createSocket('udp4');
  readonly #connections = new Set<Socket>();
  readonly #tcp = createServer((socket) => {
    this.#connections.add(socket);
    socket.on('close', () => this.#connections.delete(socket));
    socket.on('error', () => {});
    socket.on('data', (bytes) => {
      this.asked.push('TCP');
      if (this.refusesTcp) {
        socket.destroy();
        return;
      }
      const answer = this.#answer((bytes as Buffer).subarray(2), 65_535);
      const length = Buffer.alloc(2);
      length.writeUInt16BE(answer.length);
      // In two parts: an answer need not come in one.
      socket.write(Buffer.concat([length, answer.subarray(0, 7)]));
      setImmediate(() => socket.write(answer.subarray(7)));
    });
  });

  async start(): Promise<string> {
    this.#udp.on('message', (query, from) => {
      if (this.silent) return;
      if (this.beforeAnswer !== undefined) this.#udp.send(this.beforeAnswer(query), from.port, from.address);
      this.#udp.send(this.#answer(query, longestUdpBytes), from.port, from.address);
    });
    // The port has to be free for both.
    for (;;) {
      this.#tcp.listen(0, '127.0.0.1');
      await once(this.#tcp, 'listening');
      const { port } = this.#tcp.address() as { port: number };
      const bound = await new Promise<boolean>((resolve) => {
        this.#udp.once('error', () => resolve(false));
        this.#udp.bind(port, '127.0.0.1', () => resolve(true));
      });
      if (bound) return `127.0.0.1:${port}`;
      this.#tcp.close();
      await once(this.#tcp, 'close');
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#connections) socket.destroy();
    this.#tcp.close();
    this.#udp.close();
    await once(this.#udp, 'close');
  }

  #answer(query: Buffer, longestBytes: number): Buffer {
    const { name, type, questionEnd } = parseQuestion(query);
    this.asked.push(`${{ [typeA]: 'A', [typeAaaa]: 'AAAA', [typeSrv]: 'SRV' }[type] ?? type} ${name}`);
    const extended = query.readUInt16BE(10) === 1 && query.readUInt16BE(questionEnd + 1) === typeOpt;
    if (extended && !this.knowsEdns) return message(query, questionEnd, { code: 1, answers: [], additional: [] });
    if (this.failing) return message(query, questionEnd, { code: 2, answers: [], additional: [] });
    const alias = this.aliases.get(name);
    const owner = alias ?? name;
    const services = type === typeSrv ? this.services.get(owner) : undefined;
    const exists = alias !== undefined || this.records.has(name) || this.services.has(name);
    const addressesOf = (host: string, wanted: (address: string) => boolean): Buffer[] =>
      (this.records.get(host) ?? []).filter(({ address }) => wanted(address)).map((record) => addressRecord(host, record));
    const answers = [
      ...(alias === undefined ? [] : [cnameRecord(name, alias)]),
      ...(services ?? []).map((service) => serviceRecord(owner, service)),
      ...(type === typeA ? addressesOf(owner, isIPv4) : type === typeAaaa ? addressesOf(owner, (address) => !isIPv4(address)) : []),
    ];
    const additional = this.addsAddresses ? (services ?? []).flatMap(({ target }) => addressesOf(target, () => true)) : [];
    const whole = message(query, questionEnd, { code: exists ? 0 : 3, answers, additional });
    if (whole.length <= longestBytes) return whole;
    if (this.cutsSilently) {
      const fitting = Math.floor((longestBytes - questionEnd) / (answers[0]?.length ?? 1));
      return message(query, questionEnd, { code: 0, answers: answers.slice(0, fitting), additional: [] });
    }
    return message(query, questionEnd, { code: 0, answers: [], additional: [], truncated: true });
  }
}

const parseQuestion = (query: Buffer): { readonly name: string; readonly type: number; readonly questionEnd: number } => {
  const labels: string[] = [];
  let at = 12;
  for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
    labels.push(query.toString('latin1', at + 1, at + 1 + length));
    at += 1 + length;
  }
  return { name: labels.join('.').toLowerCase(), type: query.readUInt16BE(at + 1), questionEnd: at + 5 };
};

interface Sections {
  readonly code: number;
  readonly answers: readonly Buffer[];
  readonly additional: readonly Buffer[];
  readonly truncated?: boolean;
}

const message = (query: Buffer, questionEnd: number, { code, answers, additional, truncated = false }: Sections): Buffer => {
  const header = Buffer.alloc(12);
  query.copy(header, 0, 0, 2);
  header.writeUInt16BE(0x8180 | code | (truncated ? 0x0200 : 0), 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(answers.length, 6);
  header.writeUInt16BE(additional.length, 10);
  return Buffer.concat([header, query.subarray(12, questionEnd), ...answers, ...additional]);
};

const nameBytes = (name: string): Buffer =>
  Buffer.concat([...name.split('.').flatMap((label) => [Buffer.from([label.length]), Buffer.from(label, 'latin1')]), Buffer.from([0])]);

const record = (owner: string, type: number, ttlSeconds: number, data: Buffer): Buffer => {
  const head = Buffer.alloc(10);
  head.writeUInt16BE(type, 0);
  head.writeUInt16BE(1, 2);
  head.writeUInt32BE(ttlSeconds, 4);
  head.writeUInt16BE(data.length, 8);
  return Buffer.concat([nameBytes(owner), head, data]);
};

const addressRecord = (owner: string, { address, ttlSeconds }: StandInRecord): Buffer =>
  isIPv4(address)
    ? record(owner, typeA, ttlSeconds, Buffer.from(address.split('.').map(Number)))
    : record(owner, typeAaaa, ttlSeconds, ipv6Bytes(address));

const cnameRecord = (owner: string, alias: string): Buffer => record(owner, typeCname, 60, nameBytes(alias));

const serviceRecord = (owner: string, { target, port, priority = 1, weight = 1, ttlSeconds }: StandInService): Buffer => {
  const head = Buffer.alloc(6);
  head.writeUInt16BE(priority, 0);
  head.writeUInt16BE(weight, 2);
  head.writeUInt16BE(port, 4);
  return record(owner, typeSrv, ttlSeconds, Buffer.concat([head, target === '' ? Buffer.from([0]) : nameBytes(target)]));
};

/** Only of the form `a::b`, which is all that the tests use. */
const ipv6Bytes = (address: string): Buffer => {
  const [head = '', tail = ''] = address.split('::');
  const bytes = Buffer.alloc(16);
  bytes.writeUInt16BE(Number.parseInt(head || '0', 16), 0);
  bytes.writeUInt16BE(Number.parseInt(tail || '0', 16), 14);
  return bytes;
};
