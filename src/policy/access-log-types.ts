import type { AccessLogOperatorName, ResponseFlag } from './access-log-names.ts';
import type { HeaderMatcher, SourceLocation } from './types.ts';

export type { AccessLogOperatorName, ResponseFlag };

/** One log of calls, compiled: which of them, what of each, and where to. Plain values: `telemetry` makes programs of them. */
export interface AccessLogPolicy {
  readonly location: SourceLocation;
  /** `stdout`, `stderr` or the path of a file; `undefined`: what ACCESS_LOG says, else stdout. */
  readonly path: string | undefined;
  /** `undefined`: every call. */
  readonly filter: AccessLogFilter | undefined;
  /** `undefined`: the fields that Outrider writes by itself. */
  readonly format: AccessLogFormat | undefined;
}

/** Envoy's filters, and two of our own (`random`, `failure`). */
export type AccessLogFilter =
  | { readonly kind: 'and' | 'or'; readonly filters: readonly AccessLogFilter[] }
  | { readonly kind: 'status_code' | 'duration'; readonly op: AccessLogComparison; readonly value: number }
  | { readonly kind: 'grpc_status'; readonly statuses: readonly number[]; readonly exclude: boolean }
  /** Any of them; empty: any flag at all. */
  | { readonly kind: 'response_flag'; readonly flags: readonly ResponseFlag[] }
  | { readonly kind: 'header'; readonly header: HeaderMatcher }
  | { readonly kind: 'not_health_check' }
  | { readonly kind: 'traceable' }
  /** `numerator` of `denominator` calls, chosen by `x-request-id` where there is one, as Envoy does. */
  | { readonly kind: 'runtime'; readonly numerator: number; readonly denominator: number; readonly independent: boolean }
  /** A share from 0 to 1, by chance. */
  | { readonly kind: 'random'; readonly share: number }
  /** Whatever did not end with `ok` or `cancelled`. */
  | { readonly kind: 'failure' };

export type AccessLogComparison = 'EQ' | 'GE' | 'LE' | 'NE';

export type AccessLogFormat =
  | { readonly kind: 'json'; readonly fields: readonly AccessLogField[]; readonly omitEmpty: boolean }
  | { readonly kind: 'text'; readonly parts: readonly AccessLogPart[]; readonly omitEmpty: boolean };

export interface AccessLogField {
  readonly key: string;
  readonly value: AccessLogValue;
}

/** A value of a JSON line. One operator alone keeps its type (a number, null where there is nothing); among text it is text. */
export type AccessLogValue =
  | { readonly kind: 'constant'; readonly value: string | number | boolean | null }
  | { readonly kind: 'operator'; readonly operator: AccessLogOperator }
  | { readonly kind: 'text'; readonly parts: readonly AccessLogPart[] }
  | { readonly kind: 'object'; readonly fields: readonly AccessLogField[] }
  | { readonly kind: 'list'; readonly values: readonly AccessLogValue[] };

export type AccessLogPart = string | AccessLogOperator;

/** One of Envoy's command operators, or of ours. What it does not take is left out. */
export interface AccessLogOperator {
  readonly name: AccessLogOperatorName;
  /** Lower case: the header to write, and the one in its place where that is missing. */
  readonly header?: string;
  readonly otherHeader?: string;
  /** Form of a time (`strftime`), or of a status. */
  readonly form?: string;
  /** Characters at most. */
  readonly mostCharacters?: number;
}
