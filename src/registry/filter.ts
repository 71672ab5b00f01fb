import { RE2JS } from 're2js';
import { RegistryProblem } from './reply.ts';

/**
 * Consul's filter expressions (github.com/hashicorp/go-bexpr): `Service.Meta.version == "2" and not "old" in Service.Tags`. A list
 * of objects such as `Checks` matches where one of them does.
 */
export type Filter = (record: unknown) => boolean;

const longestExpression = 2_048;
const deepest = 32;

const invalidFilter = (why: string): RegistryProblem => new RegistryProblem(500, `Failed to create boolean expression evaluator: ${why}`);

interface Token {
  readonly text: string;
  /** A quoted text is a value, whatever word it is. */
  readonly quoted: boolean;
  readonly at: number;
}

const tokenize = (text: string): readonly Token[] => {
  const tokens: Token[] = [];
  const pattern = /\s*(?:("(?:[^"\\]|\\.)*"|`[^`]*`)|(==|!=|[()[\].])|([^\s()[\]."`=!]+))/gy;
  let at = 0;
  while (text.slice(at).trim() !== '') {
    pattern.lastIndex = at;
    const match = pattern.exec(text);
    if (match === null) throw invalidFilter(`1:${at + 1} (${at}): no match found`);
    const [whole, quoted, operator, word] = match;
    tokens.push({ text: quoted === undefined ? (operator ?? word ?? '') : unquoted(quoted), quoted: quoted !== undefined, at });
    at += whole.length;
  }
  return tokens;
};

const unquoted = (text: string): string => (text.startsWith('`') ? text.slice(1, -1) : text.slice(1, -1).replace(/\\(.)/g, '$1'));

/** Maps whose keys are anybody's choice: every key is a valid selector, also one that is not there. */
const openMaps = new Set(['Meta', 'NodeMeta', 'ServiceMeta', 'TaggedAddresses', 'ServiceTaggedAddresses']);

/** All values at `path`; a list on the way stands for each of its members. */
const valuesAt = (record: unknown, path: readonly string[]): readonly unknown[] => {
  let found: unknown[] = [record];
  for (const [i, key] of path.entries()) {
    found = found.flatMap((value) => {
      const members: readonly unknown[] = Array.isArray(value) && i > 0 ? value : [value];
      return members.flatMap((member) => {
        if (typeof member !== 'object' || member === null || !Object.hasOwn(member, key)) return [];
        return [(member as Record<string, unknown>)[key]];
      });
    });
  }
  return found;
};

const isEmpty = (value: unknown): boolean =>
  value === undefined ||
  value === null ||
  value === '' ||
  (Array.isArray(value) ? value.length === 0 : typeof value === 'object' && Object.keys(value).length === 0);

const contains = (value: unknown, wanted: string): boolean =>
  Array.isArray(value)
    ? value.some((entry) => String(entry) === wanted)
    : typeof value === 'string'
      ? value.includes(wanted)
      : typeof value === 'object' && value !== null && Object.hasOwn(value, wanted);

class Parser {
  readonly #tokens: readonly Token[];
  readonly #sample: unknown;
  readonly #length: number;
  #next = 0;
  #depth = 0;

  constructor(text: string, sample: unknown) {
    this.#tokens = tokenize(text);
    this.#sample = sample;
    this.#length = text.length;
  }

  parse(): Filter {
    const filter = this.#or();
    const rest = this.#tokens[this.#next];
    if (rest !== undefined) throw this.#unexpected(rest);
    return filter;
  }

  #or(): Filter {
    if (++this.#depth > deepest) throw invalidFilter(`nested deeper than ${deepest}`);
    let left = this.#and();
    while (this.#takes('or')) {
      const [before, after] = [left, this.#and()];
      left = (record) => before(record) || after(record);
    }
    this.#depth--;
    return left;
  }

  #and(): Filter {
    let left = this.#not();
    while (this.#takes('and')) {
      const [before, after] = [left, this.#not()];
      left = (record) => before(record) && after(record);
    }
    return left;
  }

  #not(): Filter {
    let negated = false;
    while (this.#takes('not')) negated = !negated;
    const filter = this.#takes('(') ? this.#inParentheses() : this.#match();
    return negated ? (record) => !filter(record) : filter;
  }

  #inParentheses(): Filter {
    const filter = this.#or();
    this.#expect(')');
    return filter;
  }

  #match(): Filter {
    const start = this.#next;
    const { text, quoted } = this.#take();
    // `value in selector` begins with a value: what follows tells.
    if (quoted || this.#isIn()) return this.#valueIn(text);
    this.#next = start;
    return this.#selectorMatch(this.#selector());
  }

  #isIn(): boolean {
    const [first, second] = [this.#tokens[this.#next], this.#tokens[this.#next + 1]];
    return isWord(first, 'in') || (isWord(first, 'not') && isWord(second, 'in'));
  }

  #valueIn(wanted: string): Filter {
    const negated = this.#takes('not');
    this.#expect('in');
    const path = this.#selector();
    return (record) => valuesAt(record, path).some((value) => contains(value, wanted)) !== negated;
  }

  #selectorMatch(path: readonly string[]): Filter {
    const values = (record: unknown): readonly unknown[] => valuesAt(record, path);
    if (this.#takes('is')) {
      const negated = this.#takes('not');
      this.#expect('empty');
      return (record) => values(record).every(isEmpty) !== negated;
    }
    const operator = this.#take();
    if (operator.quoted) throw this.#unexpected(operator);
    const negated = operator.text === '!=' || operator.text === 'not';
    const verb = operator.text === 'not' ? this.#take().text : operator.text;
    const wanted = (): string => this.#take().text;
    switch (verb) {
      case '==':
      case '!=': {
        const text = wanted();
        return (record) => values(record).some((value) => String(value) === text) !== negated;
      }
      case 'contains': {
        const text = wanted();
        return (record) => values(record).some((value) => contains(value, text)) !== negated;
      }
      case 'matches': {
        const pattern = compilePattern(wanted());
        return (record) => values(record).some((value) => pattern.matcher(String(value)).find()) !== negated;
      }
      default:
        throw this.#unexpected(operator);
    }
  }

  #selector(): readonly string[] {
    const path = [this.#take().text];
    for (;;) {
      if (this.#takes('.')) path.push(this.#take().text);
      else if (this.#takes('[')) {
        path.push(this.#take().text);
        this.#expect(']');
      } else break;
    }
    if (!this.#isKnown(path)) throw invalidFilter(`Selector "${path.join('.')}" is not valid`);
    return path;
  }

  #isKnown(path: readonly string[]): boolean {
    let value: unknown = this.#sample;
    for (const key of path) {
      const member: unknown = Array.isArray(value) ? value[0] : value;
      if (typeof member !== 'object' || member === null || !Object.hasOwn(member, key)) return false;
      if (openMaps.has(key)) return true;
      value = (member as Record<string, unknown>)[key];
    }
    return true;
  }

  #take(): Token {
    const token = this.#tokens[this.#next++];
    if (token === undefined) throw invalidFilter(`1:${this.#length + 1} (${this.#length}): no match found, the expression ends too early`);
    return token;
  }

  #takes(word: string): boolean {
    if (!isWord(this.#tokens[this.#next], word)) return false;
    this.#next++;
    return true;
  }

  #expect(word: string): void {
    const token = this.#take();
    if (!isWord(token, word)) throw this.#unexpected(token);
  }

  #unexpected({ text, at }: Token): RegistryProblem {
    return invalidFilter(`1:${at + 1} (${at}): no match found at ${JSON.stringify(text)}`);
  }
}

const isWord = (token: Token | undefined, word: string): boolean => token !== undefined && !token.quoted && token.text === word;

const compilePattern = (text: string): RE2JS => {
  try {
    return RE2JS.compile(text);
  } catch (error) {
    throw invalidFilter(`failed to compile regular expression ${JSON.stringify(text)}: ${error instanceof Error ? error.message : error}`);
  }
};

/**
 * Compiles an expression for records of the form of `sample`, whose names are those that a selector may have. Throws a 500, as
 * Consul answers it, where the expression is wrong.
 */
export const compileFilter = (text: string, sample: unknown): Filter => {
  if (text.length > longestExpression) throw invalidFilter(`longer than ${longestExpression} characters`);
  return new Parser(text, sample).parse();
};
