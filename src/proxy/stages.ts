import { GrpcStatus, isGrpcContentType, isGrpcPathBytes, parseGrpcTimeoutMs } from '../grpc/index.ts';
import { type HeaderBlock, Token } from '../http2/index.ts';
import type { MirrorPolicy, Route } from '../policy/index.ts';
import { callDueMs, deadlineReason } from '../resilience/index.ts';
import type { Cluster } from '../upstream/index.ts';
import type { BoundRoute } from './bound-table.ts';
import { clusterOfAuthority } from './bound-table.ts';
import type { Call } from './call.ts';
import { CallSizes } from './call-sizes.ts';
import { readCallerWishes, retryAsWished } from './caller-wishes.ts';
import { awaitsContinue, sendContinue } from './expect-continue.ts';
import { ForeignRequest } from './foreign-request.ts';
import { sanitizeRequest } from './headers.ts';
import { localReply } from './replies.ts';
import { readFaultHeaders } from './traffic/fault-headers.ts';
import { MirroredCall } from './traffic/mirrored-call.ts';

/**
 * What a call goes through, outermost first. This list is the picture of the proxy: one synchronous pass in which a stage either
 * lets the call on or ends it. Below `pick` DATA is spliced between the two streams and touches no stage; the answer comes back
 * through `Attempt`, and every call ends in `Call.finish`.
 */
export const runStages = (call: Call): void => {
  if (!guard(call)) return;
  if (!authorize(call)) return;
  if (!match(call)) return;
  if (!limitRate(call)) return;
  if (!limitSize(call)) return;
  if (!admit(call)) return;
  if (!deadline(call)) return;
  retry(call);
};

/** What must never reach a policy. */
const guard = (call: Call): boolean => {
  const block = call.request;
  if (block.overflowed) return refuse(call, 'headers_too_large', headersTooLarge(block));
  const type = block.indexOf(Token.contentType);
  if (
    type < 0 ||
    block.duplicateOf(Token.contentType) ||
    !isGrpcContentType(block.bytes, block.valueStart[type] as number, block.valueEnd[type] as number)
  ) {
    const foreign = new ForeignRequest(call.downstream, block.valueEquals(block.indexOf(Token.method), 'HEAD'));
    call.finish('unsupported_content_type', GrpcStatus.UNKNOWN);
    foreign.answer(call.requestEnded);
    return false;
  }
  if (!block.valueEquals(block.indexOf(Token.method), 'POST')) {
    return refuse(call, 'malformed_request', ':method of a gRPC call must be POST; use a gRPC client');
  }
  const scheme = block.indexOf(Token.scheme);
  if (!block.valueEquals(scheme, 'http') && !block.valueEquals(scheme, 'https')) {
    return refuse(call, 'malformed_request', ':scheme of a gRPC call must be http or https; use a gRPC client');
  }
  const path = block.indexOf(Token.path);
  if (!isGrpcPathBytes(block.bytes, block.valueStart[path] as number, block.valueEnd[path] as number)) {
    return refuse(call, 'malformed_request', ':path must have the form /package.Service/Method, without escapes or a query');
  }
  if (!call.requestEnded && awaitsContinue(block)) sendContinue(call.downstream);
  if (call.proxy.direction === 'outbound') call.wishes = readCallerWishes(block);
  if (call.proxy.table.readsFaultHeaders) call.faultHeaders = readFaultHeaders(block);
  sanitizeRequest(block);
  const { forwardedClientCert } = call.peer;
  if (forwardedClientCert !== undefined) block.add(Token.xForwardedClientCert, forwardedClientCert);
  return true;
};

/** Whether this caller may call this service at all. */
const authorize = (call: Call): boolean => {
  const why = call.proxy.table.access?.refusal(call.peer);
  return why === undefined || refuse(call, 'denied', why);
};

/** The route, and the cluster that it or the authority names. */
const match = (call: Call): boolean => {
  const { table, direction } = call.proxy;
  let bound = table.match(call.request);
  if (bound === undefined || (bound.clusterName === '' && direction === 'outbound')) {
    const found = direction === 'inbound' ? table.fallback('') : fallbackRoute(call, bound?.route);
    if (found === 'too_many') {
      call.reply(localReply('no_endpoint', tooManyNames));
      return false;
    }
    bound = found;
    if (bound === undefined) {
      const { authority, path } = named(call.request);
      const message = `no route matches ${path}, and no cluster is named ${clusterOfAuthority(authority)} (from :authority ${authority}); add a route or a cluster to the policy files`;
      return refuse(call, 'no_route', message);
    }
  }
  const weighted = bound.traffic?.weighted;
  if (weighted !== undefined) bound = weighted.choose(call, call.proxy);
  call.route = bound;
  if (bound.cluster === undefined) {
    return refuse(
      call,
      'no_cluster',
      `${call.rule} names cluster ${bound.clusterName}, which does not exist; add it under clusters, or name another one`,
    );
  }
  call.cluster = bound.cluster;
  const { tracer } = call.proxy;
  if (tracer !== undefined) call.trace = tracer.begin(call.request, call.proxy.direction, bound.route.tracing);
  return true;
};

/** How often calls may come, and how many at once where the service's own speed decides. What is refused here is not tried again: it would only come sooner. */
const limitRate = (call: Call): boolean => {
  const { traffic } = call.route as BoundRoute;
  if (traffic === undefined) return true;
  const { nowMs } = call.proxy.engine;
  const reply = traffic.refusal(call, nowMs) ?? traffic.concurrency?.enter(call, nowMs);
  if (reply === undefined) {
    call.concurrency = traffic.concurrency;
    return true;
  }
  call.reply(reply);
  return false;
};

/** How large its request and its answer may be. One that says beforehand that it is larger is refused before anybody hears of it. */
const limitSize = (call: Call): boolean => {
  const { maxBytes } = (call.route as BoundRoute).route;
  if (maxBytes === undefined) return true;
  call.sizes = CallSizes.take(maxBytes);
  const at = call.request.indexOf(Token.contentLength);
  if (at < 0 || !call.sizes.refusesLength(Number(call.request.value(at)))) return true;
  call.endByRequestSize();
  return false;
};

/** Room in the cluster. */
const admit = (call: Call): boolean => {
  const cluster = call.cluster as Cluster;
  const high = (call.route as BoundRoute).traffic?.policy.highPriority === true;
  const admission = cluster.admit(high);
  if (admission === undefined) {
    call.refuse(cluster.tooManyRequests(high));
    return false;
  }
  call.admission = admission;
  const { adaptiveLimit } = cluster;
  if (adaptiveLimit !== undefined) {
    if (!adaptiveLimit.tryEnter(call.proxy.engine.nowMs)) {
      call.refuse(cluster.tooMuchAtOnce());
      return false;
    }
    call.clusterConcurrency = adaptiveLimit;
  }
  return true;
};

/** The smaller of the caller's deadline and the route's timeout, and how long the stream may be silent. */
const deadline = (call: Call): boolean => {
  const { request, downstream } = call;
  const { route } = call.route as BoundRoute;
  const at = request.indexOf(Token.grpcTimeout);
  let callerMs = Number.POSITIVE_INFINITY;
  if (at >= 0) {
    callerMs = parseGrpcTimeoutMs(request.bytes, request.valueStart[at] as number, request.valueEnd[at] as number);
    if (request.duplicateOf(Token.grpcTimeout)) return refuse(call, 'malformed_request', 'grpc-timeout occurs twice; send one');
    if (callerMs < 0) {
      return refuse(
        call,
        'malformed_request',
        `malformed grpc-timeout "${request.value(at)}": at most 8 digits and one of H M S m u n, such as 500m`,
      );
    }
    downstream.patienceMs = callerMs * 0.9;
  }
  const { wishes } = call;
  const timeoutMs = wishes?.timeoutMs ?? route.timeoutMs;
  call.endsAtMs = callDueMs(call.startMs, callerMs, timeoutMs, route.maxStreamDurationMs);
  call.deadlineReason = deadlineReason(callerMs, timeoutMs, route.maxStreamDurationMs);
  call.retry = wishes === undefined ? route.retry : retryAsWished(route.retry, wishes, timeoutMs);
  call.armDeadline(route.idleTimeoutMs);
  return true;
};

/** Keeps what is sent for another attempt, and begins the first one; `Attempt.start` is the stage `pick`. */
const retry = (call: Call): void => {
  const { route, traffic, wish } = call.route as BoundRoute;
  const sticks = route.hashPolicies.length > 0 && (call.cluster as Cluster).balancer.wantsHash;
  // A cluster that was chosen by the same hash has looked for it already, and made the cookie.
  if (call.wish === undefined) call.wish = sticks ? call.proxy.stickiness.wishOf(call, route, wish?.subset) : wish;
  if (traffic !== undefined) {
    const problem = traffic.prepareRequest(call, call.proxy.table.matchedPath);
    if (problem !== undefined) {
      call.reply(problem);
      return;
    }
    if (traffic.policy.mirrors !== undefined) {
      // Copies hang below the call, beside its attempts.
      if (call.trace !== undefined) call.trace.writeInto(call.request, 0);
      mirror(call, traffic.policy.mirrors);
    }
  }
  call.replay = call.proxy.replayBuffers.take();
  if ((call.cluster as Cluster).answered) call.begin();
  else call.awaitEndpoints();
};

/** Begins the copies of the call. */
const mirror = (call: Call, policies: readonly MirrorPolicy[]): void => {
  const { proxy, request, requestEnded, endsAtMs } = call;
  let copies: MirroredCall[] | undefined;
  for (let i = 0; i < policies.length; i++) {
    const policy = policies[i] as MirrorPolicy;
    if (policy.share < 1 && (policy.share === 0 || proxy.random() >= policy.share)) continue;
    const copy = MirroredCall.begin(proxy, proxy.cluster(policy.cluster), policy, request, requestEnded, endsAtMs);
    if (copy === undefined) continue;
    if (copies === undefined) copies = [copy];
    else copies.push(copy);
  }
  call.mirrors = copies;
};

const tooManyNames =
  'too many services were named for the first time within a moment; call services that there are, or write clusters for them';

const refuse = (
  call: Call,
  reason: 'headers_too_large' | 'malformed_request' | 'denied' | 'no_route' | 'no_cluster',
  message: string,
): false => {
  call.reply(localReply(reason, message));
  return false;
};

const headersTooLarge = (block: HeaderBlock): string =>
  `request headers of ${block.listSizeBytes} bytes in ${block.fieldCount} fields are too large; send less metadata`;

/** No route matches, or it names no cluster: the host of `:authority` names the cluster, else the policy's default action does, else a service that is looked up. */
const fallbackRoute = (call: Call, route?: Route): BoundRoute | 'too_many' | undefined => {
  const { table } = call.proxy;
  const authority = call.request.indexOf(Token.authority);
  if (authority >= 0) {
    const bound = table.fallback(clusterOfAuthority(call.request.value(authority)), route);
    if (bound.cluster !== undefined) return bound;
  }
  const { defaultAction } = table.policies;
  if (defaultAction.kind === 'use_cluster') return table.fallback(defaultAction.cluster, route);
  if (authority < 0) return undefined;
  const name = clusterOfAuthority(call.request.value(authority));
  const cluster = call.proxy.demand(name);
  return cluster === undefined || cluster === 'too_many' ? cluster : table.fallback(name, route);
};

const named = (block: HeaderBlock): { readonly authority: string; readonly path: string } => {
  const authority = block.indexOf(Token.authority);
  return { authority: authority < 0 ? '' : block.value(authority), path: block.value(block.indexOf(Token.path)) };
};
