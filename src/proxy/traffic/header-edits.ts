import { HeaderBlock } from '../../http2/index.ts';
import type { AppendAction, HeaderAddition, HeaderChanges, HeaderValuePart } from '../../policy/index.ts';
import type { Downstream } from '../tls-acceptor.ts';
import { FieldName } from './field-name.ts';

/** What values of added headers may ask of a call. */
export interface EditedCall {
  readonly request: HeaderBlock;
  readonly peer: Downstream;
}

/** The same for all calls of a route. */
export interface EditedRoute {
  readonly clusterName: string;
  readonly routeName: string;
}

interface Edit {
  readonly name: FieldName;
  readonly action: AppendAction;
  readonly keepEmpty: boolean;
  readonly parts: readonly HeaderValuePart[];
  /** Place in the block of those that are the same for all calls; -1: it is not. */
  readonly fixedAt: number;
  /** Where it goes by the connection alone: the value of the last call, which mostly is that of the next one. */
  readonly last: LastField | undefined;
}

/** A field that is written and checked when its value comes for the second time in a row, and copied from then on. */
class LastField {
  #text: string | undefined;
  #field: HeaderBlock | undefined;
  #written = false;

  addTo(block: HeaderBlock, name: string, text: string): void {
    if (this.#text !== text) {
      this.#text = text;
      this.#written = false;
      block.addNamed(name, text);
      return;
    }
    this.#field ??= new HeaderBlock();
    if (!this.#written) {
      this.#field.reset();
      this.#field.addNamed(name, text);
      this.#written = true;
    }
    block.addFrom(this.#field, 0);
  }
}

/**
 * Removes and adds what the policy says, as Envoy does, for the calls of one route. A value that is the same for all of them is written and checked
 * once, and copied. Loops count, since each call would make iterators of its own.
 */
export class HeaderEdits {
  readonly #remove: readonly FieldName[];
  readonly #edits: readonly Edit[];
  readonly #fixedValues: readonly { readonly name: string; readonly value: string }[];
  /** Made for the first call: most of ten thousand routes never have one. */
  #fixed: HeaderBlock | undefined;

  constructor({ add, remove }: HeaderChanges, route: EditedRoute) {
    this.#remove = remove.map((name) => new FieldName(name));
    const fixedValues: { name: string; value: string }[] = [];
    this.#edits = add.flatMap(({ name, action, keepEmpty, value: parts }: HeaderAddition): readonly Edit[] => {
      const value = fixedValueOf(parts, route);
      if (value === '' && !keepEmpty) return [];
      const fixedAt = value === undefined ? -1 : fixedValues.push({ name, value }) - 1;
      const last = value === undefined && parts.every(({ kind }) => kind !== 'request_header') ? new LastField() : undefined;
      return [{ name: new FieldName(name), action, keepEmpty, parts: parts.map((part) => namedPart(part, route)), fixedAt, last }];
    });
    this.#fixedValues = fixedValues;
  }

  apply(block: HeaderBlock, call: EditedCall): void {
    for (let i = 0; i < this.#remove.length; i++) (this.#remove[i] as FieldName).removeFrom(block);
    for (let i = 0; i < this.#edits.length; i++) this.#apply(this.#edits[i] as Edit, block, call);
  }

  #apply({ name, action, keepEmpty, parts, fixedAt, last }: Edit, block: HeaderBlock, call: EditedCall): void {
    const text = fixedAt < 0 ? textOf(parts, call) : undefined;
    if (text === '' && !keepEmpty) return;
    if (action !== 'APPEND_IF_EXISTS_OR_ADD') {
      const exists = name.indexIn(block) >= 0;
      if (exists ? action === 'ADD_IF_ABSENT' : action === 'OVERWRITE_IF_EXISTS') return;
      if (exists) name.removeFrom(block);
    }
    if (text === undefined) block.addFrom(this.#fixedBlock(), fixedAt);
    else if (last === undefined) block.addNamed(name.text, text);
    else last.addTo(block, name.text, text);
  }

  #fixedBlock(): HeaderBlock {
    if (this.#fixed !== undefined) return this.#fixed;
    const block = new HeaderBlock();
    for (const { name, value } of this.#fixedValues) block.addNamed(name, value);
    this.#fixed = block;
    return block;
  }
}

/** What does not differ between calls, as text. */
const namedPart = (part: HeaderValuePart, { clusterName, routeName }: EditedRoute): HeaderValuePart => {
  if (part.kind === 'cluster') return { kind: 'text', text: clusterName };
  return part.kind === 'route' ? { kind: 'text', text: routeName } : part;
};

/** `undefined`: it is not the same for all calls. */
const fixedValueOf = (parts: readonly HeaderValuePart[], route: EditedRoute): string | undefined => {
  let text = '';
  for (const part of parts) {
    const named = namedPart(part, route);
    if (named.kind !== 'text') return undefined;
    text += named.text;
  }
  return text;
};

const textOf = (parts: readonly HeaderValuePart[], call: EditedCall): string => {
  const first = parts[0];
  let text = first === undefined ? '' : textOfPart(first, call);
  for (let i = 1; i < parts.length; i++) text += textOfPart(parts[i] as HeaderValuePart, call);
  return text;
};

const textOfPart = (part: HeaderValuePart, call: EditedCall): string => {
  switch (part.kind) {
    case 'text':
      return part.text;
    case 'request_header': {
      const text = headerValue(call.request, part.name) ?? headerValue(call.request, part.otherwise) ?? '';
      return text.length <= part.longest ? text : text.slice(0, part.longest);
    }
    case 'remote_address':
      return call.peer.remoteIp;
    case 'peer_uri_san': {
      const names = call.peer.peer?.uriSans;
      return names?.length === 1 ? (names[0] as string) : (names?.join(',') ?? '');
    }
    case 'cluster':
    case 'route':
      return '';
  }
};

const headerValue = (block: HeaderBlock, name: string | undefined): string | undefined => {
  const at = name === undefined ? -1 : block.find(name);
  return at < 0 ? undefined : block.value(at);
};
