import type { ServerResponse } from 'node:http';

export interface AdminReply {
  readonly status: number;
  readonly contentType: string;
  readonly body: string | Buffer;
  readonly headers?: Readonly<Record<string, string>>;
  /** The body goes on after `body`: takes over the response, whose headers are written. */
  follow?(response: ServerResponse): void;
}

/** An answer other than the one that was asked for; becomes JSON with `error`. */
export class AdminProblem extends Error {
  readonly status: number;
  readonly details: Readonly<Record<string, unknown>>;
  readonly headers: Readonly<Record<string, string>>;

  /** @param details are put beside `error`. */
  constructor(
    status: number,
    message: string,
    options: { readonly details?: Readonly<Record<string, unknown>>; readonly headers?: Readonly<Record<string, string>> } = {},
  ) {
    super(message);
    this.name = 'AdminProblem';
    this.status = status;
    this.details = options.details ?? {};
    this.headers = options.headers ?? {};
  }
}

export const text = (body: string, status = 200): AdminReply => ({ status, contentType: 'text/plain; charset=utf-8', body });

export const json = (value: unknown, status = 200): AdminReply => ({
  status,
  contentType: 'application/json',
  body: `${JSON.stringify(value, null, 1)}\n`,
});

export const html = (body: string, headers: Readonly<Record<string, string>> = {}): AdminReply => ({
  status: 200,
  contentType: 'text/html; charset=utf-8',
  body,
  headers: {
    'content-security-policy': "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
    ...headers,
  },
});

export const problemReply = ({ status, message, details, headers }: AdminProblem): AdminReply => ({
  ...json({ error: message, ...details }, status),
  headers,
});
