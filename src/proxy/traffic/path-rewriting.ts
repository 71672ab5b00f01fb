import { isGrpcPath } from '../../grpc/index.ts';
import { HeaderBlock, Token } from '../../http2/index.ts';
import type { PathRewrite } from '../../policy/index.ts';

interface Rewritten {
  readonly original: string;
  readonly path: string;
  /** The path of the service, and behind it the one that came, as a header, as Envoy has it: their bytes follow one another. */
  readonly fields: HeaderBlock;
}

/** The path as the service sees it, and beside it the one that came. A route has few methods: what was made for the last one is kept. */
export class PathRewriting {
  readonly #rewrite: PathRewrite;
  #last: Rewritten | undefined;

  constructor(rewrite: PathRewrite) {
    this.#rewrite = rewrite;
  }

  /**
   * @param original the path of `request`, which the table of routes has as text already.
   * @returns what is wrong with the path that came of it; `undefined`: nothing, and the request has it.
   */
  apply(request: HeaderBlock, original: string): { readonly original: string; readonly path: string } | undefined {
    let last = this.#last;
    if (last === undefined || last.original !== original) {
      const path = this.#rewrite.rewrite(original);
      if (path !== original && !isGrpcPath(path)) return { original, path };
      const fields = last?.fields ?? new HeaderBlock();
      fields.reset();
      fields.add(Token.path, path);
      fields.add(Token.xEnvoyOriginalPath, original);
      last = this.#last = { original, path, fields };
    }
    if (last.path === last.original) return undefined;
    write(last.fields, request);
    return undefined;
  }
}

/** Gives the path of `request` the value of the first of `fields`, and adds the second. They were checked when they were written. */
const write = (fields: HeaderBlock, request: HeaderBlock): void => {
  const { hashes, tokens, valueEnd, valueStart } = fields;
  const at = request.indexOf(Token.path);
  const first = valueStart[0] as number;
  const length = (valueEnd[1] as number) - first;
  request.removeToken(Token.xEnvoyOriginalPath);
  request.reserve(length);
  const start = request.usedBytes;
  fields.bytes.copy(request.bytes, start, first, first + length);
  request.usedBytes = start + length;
  const moved = start - first;
  request.valueStart[at] = start;
  request.valueEnd[at] = (valueEnd[0] as number) + moved;
  request.hashes[at] = hashes[0] as number;
  // An upper bound, as with every value that takes the place of another.
  request.listSizeBytes += (valueEnd[0] as number) - first;
  request.push(tokens[1] as number, 0, 0, (valueStart[1] as number) + moved, (valueEnd[1] as number) + moved, hashes[1] as number, 0);
};
