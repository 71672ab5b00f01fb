import { createHash } from 'node:crypto';
import { type Clock, ConfigurationError, FolderWatch, type Logger, type Watch, WatchSource } from '../core/index.ts';
import { formatProblem } from './problems.ts';
import { compileReading, isDescriptorSet, type PolicyReading, readPolicyTexts } from './read-policies.ts';
import type { PolicyFileInfo, PolicyProblem, PolicyTable, ReloadRecord } from './types.ts';

export interface PolicyFilesOptions {
  readonly clock: Clock;
  readonly log: Logger;
  /** Policies from elsewhere, merged after those of the path, in this order. */
  readonly others?: readonly PolicyTexts[];
  /** Services are looked up by their names: clusters need no endpoints. */
  readonly looksUpNames?: boolean;
}

/** Texts of policies that somebody else reads, such as those in Consul. */
export interface PolicyTexts extends Watch<PolicyReading> {
  /** As problems name them all. */
  readonly where: string;
  close(): void;
}

/** Reloads that `/policies` tells about. */
const longestHistory = 50;
/** Problems that a log line carries; all of them are in the history. */
const mostLogged = 10;

const nothingRead: PolicyReading = { texts: [], descriptorSets: [], problems: [] };

const emptySha256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';

/**
 * The policies of a file or folder, and of others who know some, read again when they change. The whole table is swapped, or nothing is: on any error, and
 * where the file or the last file of the folder is gone or empty, the last good table stays in force. A file that is only half
 * written is an error like any other, and is read again when the rest has come.
 */
export class PolicyFiles implements Watch<PolicyTable> {
  /** Statistics `policy.reload_ok` and `policy.reload_failed`; the first reading counts as neither. */
  reloadOk = 0;
  reloadFailed = 0;
  readonly #path: string | undefined;
  readonly #others: readonly PolicyTexts[];
  readonly #looksUpNames: boolean;
  /** How many texts each of the others had in the table that is in force. */
  #otherCounts: readonly number[] = [];
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #table: WatchSource<PolicyTable>;
  readonly #watch: FolderWatch | undefined;
  readonly #subscriptions: readonly (() => void)[];
  readonly #history: ReloadRecord[] = [];
  /** What was read last, good or not. */
  #seen: string;
  #namesDescriptorSets = false;

  /**
   * @param path a file, or a folder whose `.yaml` and `.yml` files are merged in the order of their names; `undefined`: only the others.
   * @throws ConfigurationError with everything that is wrong, where there is no good table to begin with.
   */
  constructor(path: string | undefined, { clock, log, others = [], looksUpNames = false }: PolicyFilesOptions) {
    this.#looksUpNames = looksUpNames;
    this.#others = others;
    this.#path = path;
    this.#clock = clock;
    this.#log = log;
    // Before the first reading: a change in between would be lost.
    this.#watch = path === undefined ? undefined : this.#watchPath(path);
    this.#subscriptions = others.map((other) => other.subscribe(() => this.#onChange()));
    const reading = this.#read();
    const { table, problems, files } = compileReading(reading, { looksUpNames: this.#looksUpNames });
    this.#seen = fingerprint(reading);
    if (table === undefined) {
      this.close();
      throw new ConfigurationError(`policies are wrong\n${errorsOf(problems).map(formatProblem).join('\n')}`, {
        remedy: `Mend them and check with "outrider policy check${path === undefined ? '' : ` ${path}`}".`,
      });
    }
    this.#table = new WatchSource(table);
    this.#countOthers();
    this.#record(true, problems, files);
    for (const warning of problems) this.#log.warning('policy warning', { problem: formatProblem(warning) });
    this.#log.info('policies loaded', this.#describe());
  }

  get value(): PolicyTable {
    return this.#table.value;
  }

  subscribe(listener: (table: PolicyTable) => void): () => void {
    return this.#table.subscribe(listener);
  }

  /** The latest attempts to load, oldest first, as a list that grows; the last one tells whether what lies on the disk is in force. */
  get history(): readonly ReloadRecord[] {
    return this.#history;
  }

  /** Reads everything again now, also where nothing changed. Returns whether it is in force now; where not, the last record says why. */
  reload(): boolean {
    return this.#load(this.#read());
  }

  /** Ends the watch; the table stays. Idempotent. */
  close(): void {
    this.#watch?.close();
    for (const end of this.#subscriptions) end();
    for (const other of this.#others) other.close();
  }

  /** A policy that is one file may name descriptor sets that lie beside it. */
  #watchPath(path: string): FolderWatch {
    const beside = () => (this.#namesDescriptorSets ? isDescriptorSet : undefined);
    return new FolderWatch([path], this.#clock, () => this.#onChange(), beside);
  }

  #countOthers(): void {
    this.#otherCounts = this.#others.map(({ value }) => value.texts.length);
  }

  #read(): PolicyReading {
    const own = this.#path === undefined ? nothingRead : readPolicyTexts([this.#path]);
    this.#namesDescriptorSets = namesDescriptorSets(own);
    const all = [own, ...this.#others.map(({ value }) => value)];
    return {
      texts: all.flatMap(({ texts }) => texts),
      descriptorSets: all.flatMap(({ descriptorSets }) => descriptorSets),
      problems: all.flatMap(({ problems }) => problems),
    };
  }

  /** The watch calls for a touched file as well; a record for each touch would hide those that matter. */
  #onChange(): void {
    const reading = this.#read();
    if (fingerprint(reading) !== this.#seen) this.#load(reading);
  }

  #load(reading: PolicyReading): boolean {
    this.#seen = fingerprint(reading);
    const { table, problems, files } = compileReading(reading, { looksUpNames: this.#looksUpNames });
    const vanished = table === undefined ? [] : this.#vanished(files);
    if (table === undefined || vanished.length > 0) return this.#refuse([...problems, ...vanished], files);

    this.reloadOk++;
    const before = this.value.version;
    this.#countOthers();
    this.#table.set(table);
    this.#record(true, problems, files);
    this.#log.info('policies reloaded', { ...this.#describe(), before, warnings: problems.length });
    return true;
  }

  /** Policies that were there and are not, without anybody having said that none are wanted. */
  #vanished(files: readonly PolicyFileInfo[]): readonly PolicyProblem[] {
    const refuse = (file: string, message: string): PolicyProblem => ({
      severity: 'error',
      location: { file, line: 0, column: 0 },
      path: '',
      message,
      remedy: 'write "routes: []" where no policies are wanted',
    });
    if (files.length === 0 && this.value.files.length > 0)
      return [refuse(this.#path ?? this.value.files[0]?.path ?? '', 'holds no policy files any more')];
    const emptied = this.#others.find(({ value }, i) => value.texts.length === 0 && (this.#otherCounts[i] ?? 0) > 0);
    if (emptied !== undefined) return [refuse(emptied.where, 'holds no policies any more')];
    const former = new Map(this.value.files.map(({ path, sha256 }) => [path, sha256]));
    return files
      .filter(({ path, sha256 }) => sha256 === emptySha256 && (former.get(path) ?? emptySha256) !== emptySha256)
      .map(({ path }) => refuse(path, 'has become empty'));
  }

  #refuse(problems: readonly PolicyProblem[], files: readonly PolicyFileInfo[]): false {
    this.reloadFailed++;
    const errors = errorsOf(problems);
    this.#log.error('policies not reloaded, the last good ones stay in force', {
      ...this.#describe(),
      errors: errors.length,
      problems: errors.slice(0, mostLogged).map(formatProblem),
    });
    this.#record(false, problems, files);
    return false;
  }

  #record(ok: boolean, problems: readonly PolicyProblem[], files: readonly PolicyFileInfo[]): void {
    this.#history.push(Object.freeze({ atMs: this.#clock.wallNow(), ok, problems, version: this.value.version, files }));
    if (this.#history.length > longestHistory) this.#history.shift();
  }

  #describe(): { path?: string; version: string; files: number; routes: number; clusters: number } {
    const { version, files, outbound, inbound, clusters } = this.value;
    return {
      ...(this.#path !== undefined && { path: this.#path }),
      version,
      files: files.length,
      routes: outbound.routes.length + inbound.routes.length,
      clusters: clusters.size,
    };
  }
}

const errorsOf = (problems: readonly PolicyProblem[]): readonly PolicyProblem[] => problems.filter(({ severity }) => severity === 'error');

const namesDescriptorSets = ({ texts }: PolicyReading): boolean =>
  texts.some(({ bytes }) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).includes('descriptor_sets'));

/** Equal where the same was read. */
const fingerprint = ({ descriptorSets, texts, problems }: PolicyReading): string => {
  const hash = createHash('sha256');
  for (const { path, bytes } of [...texts, ...descriptorSets]) hash.update(`${path}\0${bytes.length}\0`).update(bytes);
  for (const problem of problems) hash.update(formatProblem(problem));
  return hash.digest('hex');
};
