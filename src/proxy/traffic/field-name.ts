import { FieldFlag, type HeaderBlock, tokenOfName } from '../../http2/index.ts';

/** The name of a header that policies ask for with each call: what is known of it beforehand is found out once. */
export class FieldName {
  /** Lower case. */
  readonly text: string;
  readonly #token: number;
  readonly #bytes: Uint8Array;

  constructor(text: string) {
    this.text = text;
    this.#token = tokenOfName(text);
    this.#bytes = Buffer.from(text, 'latin1');
  }

  /** The first field of that name, -1 where there is none. */
  indexIn(block: HeaderBlock): number {
    return this.#token === 0 ? this.#scan(block) : block.indexOf(this.#token);
  }

  removeFrom(block: HeaderBlock): void {
    if (this.#token !== 0) block.removeToken(this.#token);
    else for (let at = this.#scan(block); at >= 0; at = this.#scan(block)) block.remove(at);
  }

  #scan({ bytes, count, flags, nameEnd, nameStart, tokens }: HeaderBlock): number {
    const name = this.#bytes;
    const { length } = name;
    for (let i = 0; i < count; i++) {
      if (tokens[i] !== 0) continue;
      const start = nameStart[i] as number;
      if ((nameEnd[i] as number) - start !== length || ((flags[i] as number) & FieldFlag.dropped) !== 0) continue;
      let same = 0;
      while (same < length && bytes[start + same] === name[same]) same++;
      if (same === length) return i;
    }
    return -1;
  }
}
