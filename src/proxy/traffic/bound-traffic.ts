import { isGrpcPath } from '../../grpc/index.ts';
import { type HeaderBlock, Token } from '../../http2/index.ts';
import type { HeaderChanges, Route, TrafficPolicy } from '../../policy/index.ts';
import { type LocalReply, localReply } from '../replies.ts';
import { type EditedCall, editHeaders, rewritePath } from './header-edits.ts';

/** What a call is to the policies of its route's traffic. */
export interface TrafficCall extends Omit<EditedCall, 'clusterName' | 'routeName'> {
  readonly rule: string;
}

/** The traffic policy of one route, with the live things that it names; made once per table and route. */
export class BoundTraffic {
  readonly policy: TrafficPolicy;
  readonly #routeName: string;
  readonly #clusterName: string;

  constructor(policy: TrafficPolicy, route: Route, clusterName: string) {
    this.policy = policy;
    this.#routeName = route.name;
    this.#clusterName = clusterName;
  }

  /** The request as the service gets it. An answer where that is no request. */
  prepareRequest(call: TrafficCall): LocalReply | undefined {
    const { pathRewrite, requestHeaders } = this.policy;
    if (requestHeaders !== undefined) this.#edit(call.request, requestHeaders, call);
    if (pathRewrite === undefined) return undefined;
    const { request } = call;
    const original = request.value(request.indexOf(Token.path));
    const path = pathRewrite.rewrite(original);
    if (path === original) return undefined;
    if (!isGrpcPath(path)) {
      const shown = JSON.stringify(path.slice(0, 200));
      return localReply(
        'malformed_request',
        `${call.rule} rewrites ${original} to ${shown}, which is no /package.Service/Method; correct its rewrite`,
      );
    }
    rewritePath(request, path, original);
    return undefined;
  }

  /** The first block of an answer, ours or the service's. */
  editResponse(call: TrafficCall, block: HeaderBlock): void {
    const { responseHeaders } = this.policy;
    if (responseHeaders !== undefined) this.#edit(block, responseHeaders, call);
  }

  #edit(block: HeaderBlock, changes: HeaderChanges, { request, peer }: TrafficCall): void {
    editHeaders(block, changes, { request, peer, clusterName: this.#clusterName, routeName: this.#routeName });
  }
}
