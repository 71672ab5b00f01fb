/** Characters of one value at most: a header may have 64 KiB, and a line is for people and for indexes with limits of their own. */
export const longestValueCharacters = 1_024;
/** Ends what was cut. */
export const cutMark = '...';

const plain = /^[\x20\x21\x23-\x5b\x5d-\x7e]*$/;
const beyondAscii = /[\x80-\xff]/;
/**
 * What JSON allows in a text and a terminal or a reader of lines may act upon: DEL and the C1 controls, line and paragraph separators, the
 * byte order mark, and the controls that turn text around.
 */
const treacherous = /[\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;

const escaped = (character: string): string => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;

/** A JSON string: quotes around, nothing in it that ends a line or the string. Lone surrogates are escaped, as `JSON.stringify` does. */
export const jsonText = (text: string): string => (plain.test(text) ? `"${text}"` : JSON.stringify(text).replace(treacherous, escaped));

/** Bytes of a header, one in each character, as the UTF-8 that they are; what is none of it becomes U+FFFD. */
export const decodeHeader = (value: string): string => (beyondAscii.test(value) ? Buffer.from(value, 'latin1').toString('utf8') : value);

/** No more than `most` characters, never half a surrogate pair; with the mark where the limit is ours, without where the format wants it so. */
export const cut = (text: string, most: number | undefined): string => {
  const limit = most ?? longestValueCharacters;
  if (text.length <= limit) return text;
  const last = text.charCodeAt(limit - 1);
  const end = last >= 0xd800 && last <= 0xdbff ? limit - 1 : limit;
  return most === undefined ? `${text.slice(0, end)}${cutMark}` : text.slice(0, end);
};
