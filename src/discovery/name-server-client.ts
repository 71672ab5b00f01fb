import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { getServers } from 'node:dns';
import { connect, isIPv6 } from 'node:net';
import { type Clock, SystemClock } from '../core/index.ts';
import {
  canonicalName,
  type DnsMessage,
  decodeMessage,
  encodeQuestion,
  RecordType,
  type RecordTypeNumber,
  udpPayloadBytes,
} from './dns-message.ts';

export interface NameServerOptions {
  /** `address` or `address:port`, IPv6 in brackets where there is a port; without it those of `/etc/resolv.conf`. */
  readonly servers?: readonly string[];
  /** For each question to each server. */
  readonly timeoutMs?: number;
  /** How often all servers are gone through. */
  readonly tries?: number;
  /** Of the time limits; the real one unless given. */
  readonly clock?: Clock;
}

interface Server {
  readonly host: string;
  readonly port: number;
}

const noError = 0;
const formatError = 1;
/** Of an answer by UDP to a question without EDNS (RFC 1035 4.2.1). */
const plainUdpBytes = 512;
const noSuchName = 3;

/**
 * Asks name servers as Node's own resolver cannot: with the TTL of SRV records, and with the addresses that a server adds to them,
 * without which a service of a thousand instances would take a thousand questions. One after another until one answers; by UDP,
 * each question from a port and with an id of its own that nobody can guess, and by TCP where the answer does not fit.
 */
export class NameServerClient {
  readonly #servers: readonly Server[] | undefined;
  readonly #timeoutMs: number;
  readonly #tries: number;
  readonly #clock: Clock;
  readonly #pending = new Set<(error: Error) => void>();
  #closed = false;

  constructor({ servers, timeoutMs = 2_000, tries = 2, clock = new SystemClock() }: NameServerOptions) {
    this.#servers = servers?.map(parseServer);
    this.#timeoutMs = timeoutMs;
    this.#tries = tries;
    this.#clock = clock;
  }

  /** The answer, also where it is that there is no such name. Rejects with the last failure where no server gave one. */
  async ask(name: string, type: RecordTypeNumber): Promise<DnsMessage> {
    let failure: unknown = new Error('no name server is known');
    for (let i = 0; i < this.#tries; i++) {
      for (const server of this.#servers ?? getServers().map(parseServer)) {
        if (this.#closed) throw new Error('given up');
        try {
          const answer = await this.#askServer(server, name, type);
          if (answer.code === noError || answer.code === noSuchName) return answer;
          failure = new Error(`${codeNames[answer.code] ?? `code ${answer.code}`} from ${server.host}:${server.port}`);
        } catch (error) {
          failure = error;
        }
      }
    }
    throw failure;
  }

  /** Gives up what is under way; nothing is asked any more. */
  close(): void {
    this.#closed = true;
    for (const fail of [...this.#pending]) fail(new Error('given up'));
  }

  async #askServer(server: Server, name: string, type: RecordTypeNumber): Promise<DnsMessage> {
    const question = encodeQuestion(randomInt(65_536), name, type, true);
    const byUdp = await this.#byUdp(server, question);
    // A server that knows no EDNS says so, or that it did not understand (RFC 6891 7).
    const plain = byUdp.code === formatError;
    const answer = plain ? await this.#byUdp(server, encodeQuestion(randomInt(65_536), name, type, false)) : byUdp;
    if (answer.truncated) return await this.#byTcp(server, question);
    if (answer.bytes <= (plain ? plainUdpBytes : udpPayloadBytes) / 2) return answer;
    // Consul leaves records out without saying so (`enable_truncate` is off by default), others each time: what may have been cut is
    // asked for again.
    try {
      return await this.#byTcp(server, question);
    } catch (error) {
      if (this.#closed) throw error;
      return answer;
    }
  }

  #byUdp({ host, port }: Server, question: Buffer): Promise<DnsMessage> {
    const socket = createSocket(isIPv6(host) ? 'udp6' : 'udp4');
    // Connected: the system drops what others send.
    socket.connect(port, host, () => socket.send(question));
    return this.#await(
      `${host}:${port}`,
      (done, fail) => {
        socket.on('error', fail);
        socket.on('message', (bytes) => {
          const answer = answerTo(question, bytes);
          if (answer !== undefined) done(answer);
        });
      },
      () => socket.close(),
    );
  }

  #byTcp({ host, port }: Server, question: Buffer): Promise<DnsMessage> {
    const socket = connect({ host, port });
    const length = Buffer.alloc(2);
    length.writeUInt16BE(question.length);
    socket.write(Buffer.concat([length, question]));
    const parts: Buffer[] = [];
    let received = 0;
    return this.#await(
      `${host}:${port}`,
      (done, fail) => {
        socket.on('error', fail);
        socket.on('close', () => fail(new Error('closed before its answer was complete')));
        socket.on('data', (part: Buffer) => {
          parts.push(part);
          received += part.length;
          if (received < 2) return;
          const bytes = Buffer.concat(parts);
          const expected = bytes.readUInt16BE(0);
          if (received < 2 + expected) return;
          const answer = answerTo(question, bytes.subarray(2, 2 + expected));
          if (answer === undefined) fail(new Error('an answer to another question'));
          else done(answer);
        });
      },
      () => socket.destroy(),
    );
  }

  async #await(
    server: string,
    listen: (done: (answer: DnsMessage) => void, fail: (error: Error) => void) => void,
    close: () => void,
  ): Promise<DnsMessage> {
    const { promise, resolve, reject } = Promise.withResolvers<DnsMessage>();
    const fail = (error: Error): void => reject(new Error(`name server ${server}: ${error.message}`));
    const timer = this.#clock.setTimer(() => fail(new Error(`no answer within ${this.#timeoutMs} ms`)), this.#timeoutMs);
    this.#pending.add(fail);
    try {
      listen(resolve, fail);
      return await promise;
    } finally {
      this.#pending.delete(fail);
      timer.cancel();
      close();
    }
  }
}

const codeNames: Readonly<Record<number, string>> = { 1: 'FORMERR', 2: 'SERVFAIL', 4: 'NOTIMP', 5: 'REFUSED' };

/** `undefined` for what is no answer to this question: a stray or forged one, or no message at all. */
const answerTo = (question: Buffer, bytes: Buffer): DnsMessage | undefined => {
  try {
    const asked = decodeMessage(question);
    const answer = decodeMessage(bytes);
    if (!answer.isAnswer || answer.id !== asked.id) return undefined;
    // Servers that refuse a question need not repeat it.
    if (answer.question === undefined) return answer.code === noError ? undefined : answer;
    return answer.question.name === asked.question?.name && answer.question.type === asked.question.type ? answer : undefined;
  } catch {
    return undefined;
  }
};

const parseServer = (server: string): Server => {
  const [, bracketed, host = '', port] = /^(?:\[([^\]]+)\]|([^[\]:]+))(?::(\d+))?$/.exec(server) ?? [];
  return { host: bracketed ?? (host === '' ? server : host), port: port === undefined ? 53 : Number(port) };
};

/** Addresses of a name in a section of an answer, along its aliases. */
export const addressesIn = (
  records: DnsMessage['answers'],
  name: string,
): { readonly addresses: readonly string[]; readonly ttlSeconds: number } => {
  const addresses: string[] = [];
  let ttlSeconds = Number.POSITIVE_INFINITY;
  let owner = canonicalName(name);
  // Aliases that lead round in a circle end with the records.
  for (let hops = 0; hops <= records.length; hops++) {
    let alias: string | undefined;
    for (const record of records) {
      if (record.name !== owner) continue;
      if (record.type === RecordType.a || record.type === RecordType.aaaa) addresses.push(record.address);
      else if (record.type === RecordType.cname) alias = record.target;
      else continue;
      ttlSeconds = Math.min(ttlSeconds, record.ttlSeconds);
    }
    if (addresses.length > 0 || alias === undefined) break;
    owner = alias;
  }
  return { addresses, ttlSeconds };
};
