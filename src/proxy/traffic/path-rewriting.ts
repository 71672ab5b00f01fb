import { isGrpcPath } from '../../grpc/index.ts';
import { HeaderBlock, Token } from '../../http2/index.ts';
import type { PathRewrite } from '../../policy/index.ts';

interface Rewritten {
  readonly original: string;
  readonly path: string;
  readonly field: HeaderBlock;
  /** The path that came, as a header, as Envoy has it. */
  readonly originalField: HeaderBlock;
}

/** The path as the service sees it, and beside it the one that came. A route has few methods: the last one is known again by its bytes. */
export class PathRewriting {
  readonly #rewrite: PathRewrite;
  #last: Rewritten | undefined;

  constructor(rewrite: PathRewrite) {
    this.#rewrite = rewrite;
  }

  /** Returns what is wrong with the path that came of it; `undefined`: nothing, and the request has it. */
  apply(request: HeaderBlock): { readonly original: string; readonly path: string } | undefined {
    const at = request.indexOf(Token.path);
    let last = this.#last;
    if (last === undefined || !request.valueEquals(at, last.original)) {
      const original = request.value(at);
      const path = this.#rewrite.rewrite(original);
      if (path !== original && !isGrpcPath(path)) return { original, path };
      const { field, originalField } = last ?? { field: new HeaderBlock(), originalField: new HeaderBlock() };
      field.reset();
      field.add(Token.path, path);
      originalField.reset();
      originalField.addNamed('x-envoy-original-path', original);
      last = this.#last = { original, path, field, originalField };
    }
    if (last.path === last.original) return undefined;
    setValue(request, at, last.field);
    request.addFrom(last.originalField, 0);
    return undefined;
  }
}

/** Gives field `at` the value of the one field of `from`, which has its name and was checked when it was written. */
const setValue = (block: HeaderBlock, at: number, from: HeaderBlock): void => {
  const fromStart = from.valueStart[0] as number;
  const length = (from.valueEnd[0] as number) - fromStart;
  block.reserve(length);
  const start = block.usedBytes;
  const { bytes } = block;
  const source = from.bytes;
  for (let i = 0; i < length; i++) bytes[start + i] = source[fromStart + i] as number;
  block.usedBytes = start + length;
  // An upper bound, as with every value that takes the place of another.
  block.listSizeBytes += length;
  block.valueStart[at] = start;
  block.valueEnd[at] = start + length;
  block.hashes[at] = from.hashes[0] as number;
};
