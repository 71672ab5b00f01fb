import { createSocket } from 'node:dgram';
import { networkInterfaces } from 'node:os';

/** Addresses of documentation: routed like any stranger's. Nothing is sent, since a datagram socket only remembers whom it would send to. */
const strangers = { udp4: '192.0.2.1', udp6: '2001:db8::1' } as const;

const routedAddress = (family: 'udp4' | 'udp6'): Promise<string | undefined> =>
  new Promise((resolve) => {
    const socket = createSocket(family);
    const end = (address?: string): void => {
      socket.close();
      resolve(address);
    };
    socket.on('error', () => end());
    socket.connect(9, strangers[family], () => {
      try {
        const { address } = socket.address();
        end(address === '0.0.0.0' || address === '::' ? undefined : address);
      } catch {
        end();
      }
    });
  });

/**
 * The address under which others reach this machine: that of the interface with the default route, IPv4 before IPv6; else that of the first
 * interface that is not the loopback; else 127.0.0.1. Sends nothing.
 */
export const findOwnAddress = async (): Promise<string> => {
  const routed = (await routedAddress('udp4')) ?? (await routedAddress('udp6'));
  if (routed !== undefined) return routed;
  const outer = Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .filter(({ internal, address }) => !internal && !address.startsWith('fe80:'));
  return (outer.find(({ family }) => family === 'IPv4') ?? outer[0])?.address ?? '127.0.0.1';
};
