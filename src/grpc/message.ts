/**
 * `grpc-message`: UTF-8 with everything outside 0x20-0x7E, and `%`, percent-encoded (gRPC `PROTOCOL-HTTP2.md`, Responses).
 */
const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
const hexDigits = '0123456789ABCDEF';

/**
 * Bytes of an encoded message at most. Clients refuse trailers above 8 KiB, and then report their own error in place of the
 * message that was meant to help.
 */
export const longestGrpcMessageBytes = 2_048;
const ellipsis = '...';

/** Nothing in it has to be encoded: so are nearly all. */
const plainText = /^[ -$&-~]*$/;

const isPlain = (byte: number): boolean => byte >= 0x20 && byte <= 0x7e && byte !== 0x25;

/**
 * Encodes `text` as the value of `grpc-message`. What would be longer than `longestBytes` is cut between two characters and ends in
 * `...`. A lone surrogate becomes U+FFFD.
 */
export const encodeGrpcMessage = (text: string, longestBytes = longestGrpcMessageBytes): string => {
  if (text.length <= longestBytes && plainText.test(text)) return text;
  let encoded = '';
  // Where the text may be cut so that the ellipsis still fits.
  let cut = 0;
  for (const character of text) {
    const code = character.codePointAt(0) as number;
    if (isPlain(code)) encoded += character;
    else for (const byte of encoder.encode(character)) encoded += `%${hexDigits[byte >> 4]}${hexDigits[byte & 15]}`;
    if (encoded.length > longestBytes) return encoded.slice(0, cut) + ellipsis.slice(0, Math.max(longestBytes - cut, 0));
    if (encoded.length <= longestBytes - ellipsis.length) cut = encoded.length;
  }
  return encoded;
};

const hexValue = (code: number): number => {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const letter = code | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : -1;
};

/**
 * Decodes a value of `grpc-message`, never failing: an escape that is none stays as it stands, bytes that are no UTF-8 become
 * U+FFFD (the specification forbids to drop the message for either). `text` is the header's value, one character per byte;
 * UTF-8 that a server sent unescaped is read as such.
 */
export const decodeGrpcMessage = (text: string): string => {
  const bytes = new Uint8Array(text.length);
  let length = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    const high = code === 0x25 ? hexValue(text.charCodeAt(i + 1)) : -1;
    const low = high < 0 ? -1 : hexValue(text.charCodeAt(i + 2));
    if (low < 0) bytes[length++] = code;
    else {
      bytes[length++] = high * 16 + low;
      i += 2;
    }
  }
  return decoder.decode(bytes.subarray(0, length));
};
