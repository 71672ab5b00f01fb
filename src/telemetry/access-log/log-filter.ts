import type { AccessLogComparison, AccessLogFilter } from '../../policy/index.ts';
import type { EndedCall } from '../ended-call.ts';
import { hasResponseFlag } from './response-flags.ts';

export type WantsLine = (call: EndedCall) => boolean;

const healthService = '/grpc.health.v1.Health/';
/** Of an `x-request-id`, as Envoy takes a number from it. */
const hexDigits = /^[0-9a-fA-F]{8}/;

const compare: Readonly<Record<AccessLogComparison, (a: number, b: number) => boolean>> = {
  EQ: (a, b) => a === b,
  NE: (a, b) => a !== b,
  GE: (a, b) => a >= b,
  LE: (a, b) => a <= b,
};

/** Makes a program of a filter, once. @param random from 0 to 1. */
export const compileFilter = (filter: AccessLogFilter, random: () => number): WantsLine => {
  switch (filter.kind) {
    case 'random': {
      const { share } = filter;
      return () => random() < share;
    }
    case 'failure':
      return ({ fate }) => fate !== 'ok' && fate !== 'cancelled';
    case 'duration': {
      const { value } = filter;
      const holds = compare[filter.op];
      return (call) => holds(Math.floor(call.durationMs), value);
    }
    case 'status_code': {
      const { value } = filter;
      const holds = compare[filter.op];
      return (call) => holds(call.httpStatus, value);
    }
    case 'grpc_status': {
      const statuses = new Set(filter.statuses);
      const wanted = !filter.exclude;
      return (call) => statuses.has(call.grpcStatus) === wanted;
    }
    case 'response_flag': {
      const { flags } = filter;
      return (call) => hasResponseFlag(call, flags);
    }
    case 'header': {
      const { name, matches } = filter.header;
      return (call) => matches(call.header(name));
    }
    case 'not_health_check':
      return (call) => !call.path.startsWith(healthService);
    case 'traceable':
      return (call) => call.sampled;
    case 'runtime':
      return runtimeFilter(filter, random);
    case 'and': {
      const filters = filter.filters.map((one) => compileFilter(one, random));
      return (call) => filters.every((wants) => wants(call));
    }
    case 'or': {
      const filters = filter.filters.map((one) => compileFilter(one, random));
      return (call) => {
        for (let i = 0; i < filters.length; i++) if ((filters[i] as WantsLine)(call)) return true;
        return false;
      };
    }
  }
};

const runtimeFilter = (filter: AccessLogFilter & { readonly kind: 'runtime' }, random: () => number): WantsLine => {
  const { numerator, denominator, independent } = filter;
  const byChance = (): boolean => random() * denominator < numerator;
  if (independent) return byChance;
  return (call) => {
    const id = hexDigits.exec(call.header('x-request-id') ?? '')?.[0];
    return id === undefined ? byChance() : Number.parseInt(id, 16) % denominator < numerator;
  };
};
