import { connect as connectPlain, type Socket } from 'node:net';
import { type ConnectionOptions, connect as connectTls, type DetailedPeerCertificate, type TLSSocket } from 'node:tls';
import type { Clock } from '../../core/index.ts';
import { clientPreface } from '../../http2/index.ts';
import { certificatePem, describeHandshakeFailure } from '../../identity/index.ts';
import type { Address } from './address.ts';
import { type NetworkFailure, networkFailureOf } from './network-failure.ts';

/**
 * What a listener makes of a client: it speaks HTTP/2 with it, it does not want it, or nothing was heard of it. `silent`: the connection
 * stands, and no word came in time.
 */
export type ProbeOutcome =
  | { readonly kind: 'accepted'; readonly protocol: string }
  | { readonly kind: 'refused'; readonly why: string }
  | { readonly kind: 'silent' }
  | { readonly kind: 'unreachable'; readonly failure: NetworkFailure };

export interface Probe {
  readonly outcome: ProbeOutcome;
  /** What the listener showed of itself, whatever it made of the client: PEM, its own certificate first; empty without a handshake. */
  readonly chainPem: string;
}

export interface ProbeOptions {
  readonly timeoutMs: number;
  readonly clock: Clock;
}

const settingsType = 0x04;
const frameHeaderBytes = 9;
const emptySettings = Buffer.from([0, 0, 0, settingsType, 0, 0, 0, 0, 0]);
const longestChain = 10;

const chainOf = (socket: TLSSocket): string => {
  const blocks: string[] = [];
  let current: DetailedPeerCertificate | undefined = socket.getPeerCertificate(true);
  const seen = new Set<string>();
  while (current?.raw !== undefined && !seen.has(current.fingerprint256) && blocks.length < longestChain) {
    seen.add(current.fingerprint256);
    blocks.push(certificatePem(current.raw));
    current = current.issuerCertificate;
  }
  return blocks.join('');
};

/**
 * Begins HTTP/2 and waits for the SETTINGS of the other side: with TLS 1.3 a client that is refused believes in its handshake until then.
 * Ends the connection in any case. Never rejects.
 */
const listen = (
  socket: Socket,
  isUp: 'connect' | 'secureConnect',
  { timeoutMs, clock }: ProbeOptions,
  describe: (error: Error) => string,
): Promise<ProbeOutcome> =>
  new Promise((resolve) => {
    let connected = false;
    let bytes = Buffer.alloc(0);
    const end = (outcome: ProbeOutcome): void => {
      timer.cancel();
      socket.destroy();
      resolve(outcome);
    };
    const timer = clock.setTimer(() => {
      const why = `no answer within ${timeoutMs / 1_000} s`;
      end(connected ? { kind: 'silent' } : { kind: 'unreachable', failure: { kind: 'out_of_reach', why } });
    }, timeoutMs);
    socket.on('connect', () => {
      connected = true;
    });
    socket.on(isUp, () => socket.write(Buffer.concat([clientPreface, emptySettings])));
    socket.on('data', (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk]);
      if (bytes.length < frameHeaderBytes) return;
      // Anything else than SETTINGS at first is a refusal in words: GOAWAY, an alert, a page of HTTP/1.1.
      if (bytes[3] === settingsType)
        end({ kind: 'accepted', protocol: 'getProtocol' in socket ? String((socket as TLSSocket).getProtocol()) : '' });
      else end({ kind: 'refused', why: 'it does not begin to speak HTTP/2' });
    });
    socket.on('error', (error) =>
      end(connected ? { kind: 'refused', why: describe(error) } : { kind: 'unreachable', failure: networkFailureOf(error) }),
    );
    socket.on('close', () => end({ kind: 'refused', why: 'it closes the connection' }));
  });

/** Tries a handshake with what `context` has of a client; the certificate of the listener is judged by whoever asks. */
export const probeTls = async (
  { host, port }: Address,
  context: Pick<ConnectionOptions, 'ca' | 'cert' | 'key' | 'minVersion' | 'maxVersion' | 'servername'>,
  options: ProbeOptions,
): Promise<Probe> => {
  let chainPem = '';
  const socket = connectTls({ host, port, ...context, rejectUnauthorized: false, ALPNProtocols: ['h2'] });
  socket.on('secureConnect', () => {
    chainPem = chainOf(socket);
  });
  const outcome = await listen(socket, 'secureConnect', options, (error) => describeHandshakeFailure(error, 'client').why);
  return { outcome, chainPem };
};

/** Speaks HTTP/2 without TLS. */
export const probePlainText = async ({ host, port }: Address, options: ProbeOptions): Promise<ProbeOutcome> =>
  await listen(connectPlain({ host, port }), 'connect', options, () => 'it closes the connection');
