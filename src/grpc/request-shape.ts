/**
 * The shapes by which a request is recognised as gRPC. They are strict on purpose: what a policy matches, what the route matches
 * and what the service sees must be the same string, so nothing that two parsers could read differently gets through
 * (CVE-2026-33186 of grpc-go, CVE-2019-9901 and CVE-2021-29492 of Envoy).
 */
const slash = 0x2f;
const dot = 0x2e;

/** 1 where a byte may stand in a name: letters, digits, `_` and `-`. */
const nameBytes = ((): Uint8Array => {
  const allowed = new Uint8Array(256);
  for (const character of 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-') allowed[character.charCodeAt(0)] = 1;
  return allowed;
})();

/**
 * True for `/package.Service/Method` in `bytes[start, end)`: two segments, each of one or more names joined by single dots.
 * False for anything with an escape, a query, an empty or a dot segment.
 */
export const isGrpcPathBytes = (bytes: Uint8Array, start: number, end: number): boolean => {
  if (end <= start || bytes[start] !== slash) return false;
  let slashes = 1;
  // A dot or a slash, as well as the end, must follow a name.
  let afterName = false;
  for (let i = start + 1; i < end; i++) {
    const byte = bytes[i] as number;
    if (nameBytes[byte] === 1) {
      afterName = true;
      continue;
    }
    if (!afterName) return false;
    if (byte === slash) slashes++;
    else if (byte !== dot) return false;
    afterName = false;
  }
  return afterName && slashes === 2;
};

const pathShape = /^\/[\w-]+(?:\.[\w-]+)*\/[\w-]+(?:\.[\w-]+)*$/;

/** `isGrpcPathBytes` for a string. */
export const isGrpcPath = (path: string): boolean => pathShape.test(path);

const grpcType = new TextEncoder().encode('application/grpc');
const plus = 0x2b;
const semicolon = 0x3b;

/**
 * True where the `content-type` in `bytes[start, end)` is gRPC: `application/grpc`, followed by nothing, `+codec` or
 * `;parameters`, in any case. `application/grpc-web` is another protocol.
 */
export const isGrpcContentType = (bytes: Uint8Array, start: number, end: number): boolean => {
  const length = grpcType.length;
  if (end - start < length) return false;
  for (let i = 0; i < length; i++) {
    const byte = bytes[start + i] as number;
    const lower = byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte;
    if (lower !== grpcType[i]) return false;
  }
  let next = start + length;
  if (next < end && bytes[next] === plus) return true;
  // RFC 9110 section 5.6.6 allows blanks before a parameter's semicolon.
  while (next < end && (bytes[next] === 0x20 || bytes[next] === 0x09)) next++;
  return next === end ? next === start + length : bytes[next] === semicolon;
};
