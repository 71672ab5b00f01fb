import { type HeaderBlock, Token } from '../../http2/index.ts';
import type { HeaderAddition, HeaderChanges, HeaderValuePart } from '../../policy/index.ts';
import type { Downstream } from '../tls-acceptor.ts';

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

/** Removes and adds what the policy says, as Envoy does. Only for calls whose route asks for it. */
export const editHeaders = (block: HeaderBlock, { add, remove }: HeaderChanges, call: EditedCall, route: EditedRoute): void => {
  for (const name of remove) removeNamed(block, name);
  for (const addition of add) addHeader(block, addition, call, route);
};

const removeNamed = (block: HeaderBlock, name: string): void => {
  for (let at = block.find(name); at >= 0; at = block.find(name)) block.remove(at);
};

const addHeader = (block: HeaderBlock, { name, value, action, keepEmpty }: HeaderAddition, call: EditedCall, route: EditedRoute): void => {
  const [only] = value;
  // Nearly always there is one part.
  const text =
    only !== undefined && value.length === 1 ? textOf(only, call, route) : value.map((part) => textOf(part, call, route)).join('');
  if (text === '' && !keepEmpty) return;
  const exists = block.find(name) >= 0;
  if (exists ? action === 'ADD_IF_ABSENT' : action === 'OVERWRITE_IF_EXISTS') return;
  if (exists && action !== 'APPEND_IF_EXISTS_OR_ADD') removeNamed(block, name);
  block.addNamed(name, text);
};

const textOf = (part: HeaderValuePart, call: EditedCall, { clusterName, routeName }: EditedRoute): string => {
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
      return clusterName;
    case 'route':
      return routeName;
  }
};

const headerValue = (block: HeaderBlock, name: string | undefined): string | undefined => {
  const at = name === undefined ? -1 : block.find(name);
  return at < 0 ? undefined : block.value(at);
};

/** The path as the service sees it, and beside it the one that came, as Envoy has it. */
export const rewritePath = (block: HeaderBlock, path: string, original: string): void => {
  block.set(Token.path, path);
  block.addNamed('x-envoy-original-path', original);
};
