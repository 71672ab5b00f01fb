/** What a path answers. */
export interface RegistryReply {
  readonly status: number;
  readonly contentType: string | undefined;
  readonly body: string | Buffer;
  readonly headers?: Readonly<Record<string, string>>;
}

/** An answer other than the one that was asked for, in Consul's words: a status and a line of plain text. */
export class RegistryProblem extends Error {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;

  constructor(status: number, message: string, headers: Readonly<Record<string, string>> = {}) {
    super(message);
    this.name = 'RegistryProblem';
    this.status = status;
    this.headers = headers;
  }
}

const plain = 'text/plain; charset=utf-8';

export const problemReply = ({ status, message, headers }: RegistryProblem): RegistryReply => ({
  status,
  contentType: plain,
  body: message,
  headers,
});

/** What Consul's agent answers to a change: 200 without a body. */
export const done: RegistryReply = { status: 200, contentType: plain, body: '' };

export const json = (value: unknown, pretty: boolean, headers: Readonly<Record<string, string>> = {}): RegistryReply => ({
  status: 200,
  contentType: 'application/json',
  body: pretty ? `${JSON.stringify(value, null, 4)}\n` : JSON.stringify(value),
  headers,
});
