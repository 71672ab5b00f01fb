import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { isIPv4 } from 'node:net';

export interface StandInRecord {
  readonly address: string;
  readonly ttlSeconds: number;
}

/** Stands in for a name server: answers A and AAAA over loopback UDP from a table that the test changes; unknown names do not exist. */
export class StandInNameServer implements AsyncDisposable {
  readonly records = new Map<string, readonly StandInRecord[]>();
  /** SERVFAIL for everything. */
  failing = false;
  readonly #socket = createSocket('udp4');

  async start(): Promise<string> {
    this.#socket.on('message', (query, from) => this.#socket.send(this.#answer(query), from.port, from.address));
    this.#socket.bind(0, '127.0.0.1');
    await once(this.#socket, 'listening');
    return `127.0.0.1:${this.#socket.address().port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.close();
    await once(this.#socket, 'close');
  }

  #answer(query: Buffer): Buffer {
    const labels: string[] = [];
    let at = 12;
    for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
      labels.push(query.toString('latin1', at + 1, at + 1 + length));
      at += 1 + length;
    }
    const type = query.readUInt16BE(at + 1);
    const known = this.records.get(labels.join('.').toLowerCase());
    const answers = this.failing ? [] : (known ?? []).filter(({ address }) => (isIPv4(address) ? 1 : 28) === type);
    const header = Buffer.alloc(12);
    query.copy(header, 0, 0, 2);
    header.writeUInt16BE(0x8180 | (this.failing ? 2 : known === undefined ? 3 : 0), 2);
    header.writeUInt16BE(1, 4);
    header.writeUInt16BE(answers.length, 6);
    const records = answers.map(({ address, ttlSeconds }) => {
      const data = isIPv4(address) ? Buffer.from(address.split('.').map(Number)) : ipv6Bytes(address);
      const record = Buffer.alloc(12);
      record.writeUInt16BE(0xc00c, 0);
      record.writeUInt16BE(type, 2);
      record.writeUInt16BE(1, 4);
      record.writeUInt32BE(ttlSeconds, 6);
      record.writeUInt16BE(data.length, 10);
      return Buffer.concat([record, data]);
    });
    return Buffer.concat([header, query.subarray(12, at + 5), ...records]);
  }
}

/** Only of the form `a::b`, which is all that the tests use. */
const ipv6Bytes = (address: string): Buffer => {
  const [head = '', tail = ''] = address.split('::');
  const bytes = Buffer.alloc(16);
  bytes.writeUInt16BE(Number.parseInt(head || '0', 16), 0);
  bytes.writeUInt16BE(Number.parseInt(tail || '0', 16), 14);
  return bytes;
};
