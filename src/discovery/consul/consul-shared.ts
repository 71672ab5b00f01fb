import type { Clock, Logger } from '../../core/index.ts';
import type { ConsulClient } from './consul-client.ts';
import type { InstanceReader } from './instance-reader.ts';
import type { QueryPace } from './query-pace.ts';
import type { WaitingPlaces } from './waiting-places.ts';

/** What happened with all questions of a sidecar. */
export interface ConsulCounts {
  questions: number;
  failures: number;
  /** Answers that were too large, or no list of instances. */
  answersRefused: number;
  instancesRefused: number;
  indexResets: number;
  /** Answers of servers that were too far behind their leader. */
  tooOld: number;
}

/** What all watches of a sidecar share. */
export interface ConsulShared {
  readonly clock: Clock;
  readonly log: Logger;
  /** From 0 to 1, for jitter. */
  readonly random: () => number;
  readonly client: ConsulClient;
  readonly pace: QueryPace;
  readonly places: WaitingPlaces;
  /** For questions that are answered at once. */
  readonly atOnce: WaitingPlaces;
  readonly reader: InstanceReader;
  readonly counts: ConsulCounts;
}
