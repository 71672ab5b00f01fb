import type { Duplex } from 'node:stream';

/** What Node keeps beneath a socket of its own making; other streams have none of it. */
interface SocketHandle {
  readStop(): void;
  readStart(): void;
  useUserBuffer(buffer: Uint8Array): void;
}

const handleOf = (socket: Duplex): Partial<SocketHandle> | undefined =>
  (socket as { _handle?: Partial<SocketHandle> })._handle ?? undefined;

/**
 * `pause` reads one chunk more before it takes effect, 64 KiB for each of a thousand connections that send too much; the handle beneath the socket stops
 * at once. Node does not look at it while the socket flows.
 */
export const stopReading = (socket: Duplex): void => {
  const handle = handleOf(socket);
  if (handle?.readStop !== undefined) handle.readStop();
  else socket.pause();
};

/** The counterpart of `stopReading`. */
export const startReading = (socket: Duplex): void => {
  if (socket.destroyed) return;
  const handle = handleOf(socket);
  if (handle?.readStart !== undefined) handle.readStart();
  else socket.resume();
};

type Slots = Record<symbol, unknown>;

/** Where a socket keeps what the option `onread` of `net.Socket` gave it: sockets that a server accepts cannot be given it. */
const slotOf = (socket: Duplex, description: string): symbol | undefined =>
  Object.getOwnPropertySymbols(socket).find((symbol) => symbol.description === description);

/**
 * Reads `socket` into `buffer`, which others read into as well: `receive` hears how many bytes stand at its beginning, and they are
 * gone when it returns. A buffer for each read, as `data` events have it, costs as much as the system call. Where a stream has no such way, or Node
 * has no longer, all comes as events; what was read before comes so in any case.
 */
export const readInto = (socket: Duplex, buffer: Buffer, receive: (bytes: Buffer, end: number) => void): void => {
  socket.on('data', (bytes: Buffer) => receive(bytes, bytes.length));
  const handle = handleOf(socket);
  const bufferSlot = slotOf(socket, 'kBuffer');
  const callbackSlot = slotOf(socket, 'kBufferCb');
  if (handle?.useUserBuffer === undefined || bufferSlot === undefined || callbackSlot === undefined) return;
  const slots = socket as unknown as Slots;
  slots[bufferSlot] = buffer;
  slots[callbackSlot] = (bytes: number) => receive(buffer, bytes);
  handle.useUserBuffer(buffer);
};
