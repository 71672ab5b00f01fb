import { isGrpcPath } from '../../grpc/index.ts';
import { HeaderBlock, Token } from '../../http2/index.ts';
import type { PathRewrite } from '../../policy/index.ts';

interface Rewritten {
  readonly original: string;
  readonly path: string;
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
      const originalField = last?.originalField ?? new HeaderBlock();
      originalField.reset();
      originalField.addNamed('x-envoy-original-path', original);
      last = this.#last = { original, path, originalField };
    }
    if (last.path === last.original) return undefined;
    request.set(Token.path, last.path);
    request.addFrom(last.originalField, 0);
    return undefined;
  }
}
