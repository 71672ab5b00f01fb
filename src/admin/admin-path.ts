import type { IncomingHttpHeaders } from 'node:http';
import type { Dashboard } from './dashboard/dashboard.ts';
import type { Query } from './query.ts';
import type { AdminReply } from './reply.ts';
import type { AdminViews } from './views.ts';

export interface AdminRequest {
  readonly query: Query;
  /** What stands at the path's first `{...}`, decoded. */
  readonly named: string;
  /** What stands at its second one, decoded. */
  readonly second: string;
  /** Wall clock. */
  readonly nowMs: number;
  readonly dashboard: Dashboard;
  /** Whether who asks shows pages: a browser says so, curl does not. */
  readonly wantsPage: boolean;
  readonly headers: IncomingHttpHeaders;
}

export interface AdminPath {
  readonly method: 'GET' | 'POST';
  /** At most two segments may be `{something}`. */
  readonly path: string;
  /** What it is for, shown on the index page. */
  readonly summary: string;
  /** Parameters that it knows; any other is refused. */
  readonly parameters?: readonly string[];
  /** Answers whatever `Host` says: for probes and scrapers, which use addresses, and tell nothing that a page could abuse. */
  readonly anyHost?: true;
  /** A page of another site may not ask for it, though it changes nothing: it costs more than an answer. */
  readonly sameSite?: true;
  answer(views: AdminViews, request: AdminRequest): AdminReply | Promise<AdminReply>;
}
