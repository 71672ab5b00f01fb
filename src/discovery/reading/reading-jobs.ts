import type { InstanceList, InstanceSelection } from '../consul/instance-list.ts';

/** An answer of Consul's. */
export interface AnswerJob {
  readonly kind: 'consul_answer';
  readonly bytes: Uint8Array;
  readonly selection: InstanceSelection;
  /** Digest of what is known already. */
  readonly known: string;
}

/** A file of endpoints. */
export interface FileJob {
  readonly kind: 'endpoint_file';
  readonly path: string;
  readonly clusterName: string;
  readonly known: string;
}

/** What a file of endpoints says, in a form that crosses threads as one flat string. */
export interface FileList {
  readonly digest: string;
  /** One line of JSON for each endpoint, sorted by host and port; `undefined` where the digest is that of before. */
  readonly lines: string | undefined;
  readonly count: number;
}

export type ReadingJob = AnswerJob | FileJob;

/** What comes of each kind of job. */
export interface ReadingResults {
  readonly consul_answer: InstanceList;
  readonly endpoint_file: FileList;
}

export interface ReadingRequest {
  readonly id: number;
  readonly job: ReadingJob;
}

export type ReadingReply =
  | { readonly id: number; readonly result: ReadingResults[keyof ReadingResults] }
  | { readonly id: number /** Why it could not be read. */; readonly problem: string };
