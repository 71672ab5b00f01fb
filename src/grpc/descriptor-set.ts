/** What protobuf says of a method beside its types: `option idempotency_level`, as far as retries look at it. */
export type IdempotencyLevel = 'unknown' | 'no_side_effects' | 'idempotent';

const levels: readonly IdempotencyLevel[] = ['unknown', 'no_side_effects', 'idempotent'];

// Numbers of google/protobuf/descriptor.proto.
const setFile = 1;
const filePackage = 2;
const fileService = 6;
const serviceName = 1;
const serviceMethod = 2;
const methodName = 1;
const methodOptions = 4;
const optionsIdempotencyLevel = 34;

class NoDescriptorSet extends Error {}

/** Reads the fields of one message. Unknown ones are passed by. */
class MessageReader {
  readonly #bytes: Uint8Array;
  #at = 0;
  field = 0;
  /** Of the present field: a number, or where the bytes of a text or message are. */
  value = 0;
  slice: Uint8Array = new Uint8Array(0);

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  next(): boolean {
    if (this.#at >= this.#bytes.length) return false;
    const tag = this.#varint();
    this.field = Math.floor(tag / 8);
    this.value = 0;
    this.slice = this.#bytes.subarray(0, 0);
    if (this.field === 0) throw new NoDescriptorSet();
    switch (tag % 8) {
      case 0:
        this.value = this.#varint();
        break;
      case 1:
        this.#take(8);
        break;
      case 2:
        this.slice = this.#take(this.#varint());
        break;
      case 5:
        this.#take(4);
        break;
      default:
        throw new NoDescriptorSet();
    }
    return true;
  }

  get text(): string {
    return new TextDecoder('utf-8', { fatal: true }).decode(this.slice);
  }

  #take(length: number): Uint8Array {
    const end = this.#at + length;
    if (end > this.#bytes.length) throw new NoDescriptorSet();
    const taken = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return taken;
  }

  #varint(): number {
    let value = 0;
    for (let factor = 1, length = 0; length < 10; factor *= 128, length++) {
      const byte = this.#bytes[this.#at++];
      if (byte === undefined) throw new NoDescriptorSet();
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
    }
    throw new NoDescriptorSet();
  }
}

/**
 * Reads a `FileDescriptorSet` (what `protoc -o` and `buf build -o` write): every method by its full path `/package.Service/Method`.
 * `undefined` where the bytes are none.
 */
export const readDescriptorSet = (bytes: Uint8Array): ReadonlyMap<string, IdempotencyLevel> | undefined => {
  const methods = new Map<string, IdempotencyLevel>();
  try {
    const set = new MessageReader(bytes);
    while (set.next()) if (set.field === setFile) readFile(set.slice, methods);
  } catch (error) {
    if (error instanceof NoDescriptorSet || error instanceof TypeError) return undefined;
    throw error;
  }
  return methods;
};

const readFile = (bytes: Uint8Array, methods: Map<string, IdempotencyLevel>): void => {
  const file = new MessageReader(bytes);
  let prefix = '';
  const services: Uint8Array[] = [];
  while (file.next()) {
    if (file.field === filePackage && file.text !== '') prefix = `${file.text}.`;
    else if (file.field === fileService) services.push(file.slice);
  }
  for (const service of services) readService(service, prefix, methods);
};

const readService = (bytes: Uint8Array, prefix: string, methods: Map<string, IdempotencyLevel>): void => {
  const service = new MessageReader(bytes);
  let name = '';
  const found: { name: string; level: IdempotencyLevel }[] = [];
  while (service.next()) {
    if (service.field === serviceName) name = service.text;
    else if (service.field === serviceMethod) found.push(readMethod(service.slice));
  }
  for (const method of found) methods.set(`/${prefix}${name}/${method.name}`, method.level);
};

const readMethod = (bytes: Uint8Array): { name: string; level: IdempotencyLevel } => {
  const method = new MessageReader(bytes);
  let name = '';
  let level: IdempotencyLevel = 'unknown';
  while (method.next()) {
    if (method.field === methodName) name = method.text;
    else if (method.field === methodOptions) {
      const options = new MessageReader(method.slice);
      while (options.next()) if (options.field === optionsIdempotencyLevel) level = levels[options.value] ?? 'unknown';
    }
  }
  return { name, level };
};
