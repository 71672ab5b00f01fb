/**
 * A second HPACK decoder (RFC 7541), written after the text with strings and arrays and nothing of the engine's: slow, short, and wrong in other
 * places if it is wrong. `nghttp2-oracle.ts` asks a third one.
 */

const staticTable =
  `:authority= :method=GET :method=POST :path=/ :path=/index.html :scheme=http :scheme=https :status=200 :status=204 :status=206
:status=304 :status=400 :status=404 :status=500 accept-charset= accept-encoding=gzip,_deflate accept-language= accept-ranges= accept=
access-control-allow-origin= age= allow= authorization= cache-control= content-disposition= content-encoding= content-language= content-length=
content-location= content-range= content-type= cookie= date= etag= expect= expires= from= host= if-match= if-modified-since= if-none-match= if-range=
if-unmodified-since= last-modified= link= location= max-forwards= proxy-authenticate= proxy-authorization= range= referer= refresh= retry-after= server=
set-cookie= strict-transport-security= transfer-encoding= user-agent= vary= via= www-authenticate=`
    .split(/\s+/)
    .map((entry): readonly [string, string] => {
      const at = entry.indexOf('=');
      return [entry.slice(0, at), entry.slice(at + 1).replace('_', ' ')];
    });

/** Symbols by the length of their code (Appendix B), each run in the order of its codes; EOS (256) is left out: no string may hold it. */
const symbolsByLength: readonly (readonly [bits: number, symbols: string])[] = [
  [5, '48 49 50 97 99 101 105 111 115 116'],
  [6, '32 37 45 46 47 51 52 53 54 55 56 57 61 65 95 98 100 102 103 104 108 109 110 112 114 117'],
  [7, '58 66 67 68 69 70 71 72 73 74 75 76 77 78 79 80 81 82 83 84 85 86 87 89 106 107 113 118 119 120 121 122'],
  [8, '38 42 44 59 88 90'],
  [10, '33 34 40 41 63'],
  [11, '39 43 124'],
  [12, '35 62'],
  [13, '0 36 64 91 93 126'],
  [14, '94 125'],
  [15, '60 96 123'],
  [19, '92 195 208'],
  [20, '128 130 131 162 184 194 224 226'],
  [21, '153 161 167 172 176 177 179 209 216 217 227 229 230'],
  [22, '129 132 133 134 136 146 154 156 160 163 164 169 170 173 178 181 185 186 187 189 190 196 198 228 232 233'],
  [23, '1 135 137 138 139 140 141 143 147 149 150 151 152 155 157 158 165 166 168 174 175 180 182 183 188 191 197 231 239'],
  [24, '9 142 144 145 148 159 171 206 215 225 236 237'],
  [25, '199 207 234 235'],
  [26, '192 193 200 201 202 205 210 213 218 219 238 240 242 243 255'],
  [27, '203 204 211 212 214 221 222 223 241 244 245 246 247 248 250 251 252 253 254'],
  [28, '2 3 4 5 6 7 8 11 12 14 15 16 17 18 19 20 21 23 24 25 26 27 28 29 30 31 127 220 249'],
  [30, '10 13 22'],
];

const symbolOfCode = ((): ReadonlyMap<string, number> => {
  const codes = new Map<string, number>();
  let code = 0;
  let bits = 0;
  for (const [length, symbols] of symbolsByLength) {
    code *= 2 ** (length - bits);
    bits = length;
    for (const symbol of symbols.split(' ')) codes.set((code++).toString(2).padStart(bits, '0'), Number(symbol));
  }
  return codes;
})();

/** Why a block could not be decoded. */
export class HpackReferenceError extends Error {}

const huffmanText = (bytes: Buffer): string => {
  let text = '';
  let code = '';
  for (const byte of bytes) {
    for (let bit = 7; bit >= 0; bit--) {
      code += (byte >> bit) & 1;
      const symbol = symbolOfCode.get(code);
      if (symbol !== undefined) {
        text += String.fromCharCode(symbol);
        code = '';
      } else if (code.length >= 30) throw new HpackReferenceError('EOS in a string');
    }
  }
  if (code.length > 7 || code.includes('0')) throw new HpackReferenceError('padding');
  return text;
};

export type ReferenceField = readonly [name: string, value: string];

const sizeOf = ([name, value]: ReferenceField): number => name.length + value.length + 32;

export class HpackReference {
  readonly #table: ReferenceField[] = [];
  #maxBytes = 4_096;
  /** SETTINGS_HEADER_TABLE_SIZE as acknowledged. */
  #limitBytes: number;
  /** The limit sank below the size in use: the next block has to begin with a size update (RFC 7541 4.2). */
  #updateDue = false;
  #bytes: Buffer = Buffer.alloc(0);
  #at = 0;

  constructor(limitBytes = 4_096) {
    this.#limitBytes = limitBytes;
  }

  get tableBytes(): number {
    return this.#table.reduce((sum, field) => sum + sizeOf(field), 0);
  }

  setLimit(bytes: number): void {
    this.#limitBytes = bytes;
    if (bytes < this.#maxBytes) this.#updateDue = true;
  }

  decode(block: Uint8Array): ReferenceField[] {
    this.#bytes = Buffer.from(block);
    this.#at = 0;
    const fields: ReferenceField[] = [];
    let first = true;
    while (this.#at < this.#bytes.length) {
      const byte = this.#bytes[this.#at] as number;
      const isUpdate = (byte & 0xe0) === 0x20;
      if (this.#updateDue && !isUpdate) throw new HpackReferenceError('a size update was due');
      if (isUpdate) {
        if (!first) throw new HpackReferenceError('a size update behind a field');
        const size = this.#integer(5);
        if (size > this.#limitBytes) throw new HpackReferenceError('a size update above the limit');
        this.#maxBytes = size;
        this.#updateDue = false;
        this.#evict();
        continue;
      }
      first = false;
      if (byte & 0x80) fields.push(this.#entry(this.#integer(7)));
      else {
        const indexed = (byte & 0x40) !== 0;
        const index = this.#integer(indexed ? 6 : 4);
        const name = index === 0 ? this.#string() : this.#entry(index)[0];
        const field = [name, this.#string()] as const;
        fields.push(field);
        if (!indexed) continue;
        this.#table.unshift(field);
        this.#evict();
      }
    }
    return fields;
  }

  #evict(): void {
    while (this.tableBytes > this.#maxBytes) this.#table.pop();
  }

  #entry(index: number): ReferenceField {
    const field = index <= 61 ? staticTable[index - 1] : this.#table[index - 62];
    if (field === undefined) throw new HpackReferenceError(`index ${index}`);
    return field;
  }

  #byte(): number {
    const byte = this.#bytes[this.#at++];
    if (byte === undefined) throw new HpackReferenceError('the block ends within a field');
    return byte;
  }

  /** As large as it comes: whoever uses it looks whether it can be. */
  #integer(prefixBits: number): number {
    const prefix = 2 ** prefixBits - 1;
    let value = this.#byte() & prefix;
    if (value < prefix) return value;
    for (let factor = 1, count = 0; ; factor *= 128, count++) {
      const byte = this.#byte();
      value += (byte & 127) * factor;
      if (count >= mostContinuationBytes) throw new HpackReferenceError('an integer without end');
      if (byte < 128) return value;
    }
  }

  #string(): string {
    const huffman = ((this.#bytes[this.#at] ?? 0) & 0x80) !== 0;
    const length = this.#integer(7);
    const end = this.#at + length;
    if (end > this.#bytes.length) throw new HpackReferenceError('the block ends within a string');
    const bytes = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return huffman ? huffmanText(bytes) : bytes.toString('latin1');
  }
}

/** RFC 7541 5.1 leaves the limit to the implementation; this is the engine's, so that both refuse the same integers. */
const mostContinuationBytes = 4;
