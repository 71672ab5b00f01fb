import type { PolicyProblem, SourceLocation } from './types.ts';

/** A place in a policy file: where it is written, and its path in the document. */
export interface Place {
  readonly location: SourceLocation;
  readonly path: string;
}

/** Nobody reads more; a file of another kind would otherwise print one line for each of its keys. */
const mostProblems = 200;

/** Collects everything that is wrong, so that one run tells all of it. */
export class Problems {
  readonly #files: readonly string[];
  readonly #list: PolicyProblem[] = [];
  readonly #seen = new Set<string>();
  #errors = 0;
  #dropped = 0;

  /** @param files in the order in which they are read. */
  constructor(files: readonly string[]) {
    this.#files = files;
  }

  /** @param message what is wrong. @param remedy what to write instead. Both without a full stop. */
  error(place: Place, message: string, remedy: string): void {
    this.#errors++;
    this.#add({ severity: 'error', location: place.location, path: place.path, message, remedy });
  }

  warning(place: Place, message: string, remedy: string): void {
    this.#add({ severity: 'warning', location: place.location, path: place.path, message, remedy });
  }

  get hasErrors(): boolean {
    return this.#errors > 0;
  }

  /** In the order of files, lines and columns. */
  list(): readonly PolicyProblem[] {
    const sorted = this.#list.toSorted(
      (a, b) =>
        this.#files.indexOf(a.location.file) - this.#files.indexOf(b.location.file) ||
        a.location.line - b.location.line ||
        a.location.column - b.location.column,
    );
    const last = sorted.at(-1);
    if (this.#dropped === 0 || last === undefined) return sorted;
    const message = `${this.#dropped} more problems are not shown`;
    return [...sorted, { severity: last.severity, location: last.location, path: '', message, remedy: 'mend the ones above first' }];
  }

  #add(problem: PolicyProblem): void {
    // What is reached through several aliases is written once, and told once.
    const { file, line, column } = problem.location;
    const key = `${problem.severity}\0${file}\0${line}\0${column}\0${problem.message}`;
    if (this.#seen.has(key)) return;
    this.#seen.add(key);
    if (this.#list.length < mostProblems) this.#list.push(problem);
    else this.#dropped++;
  }
}

/** `file:line:column: path: what is wrong; what to write instead`, a warning with that word before the path. */
export const formatProblem = ({ severity, location, path, message, remedy }: PolicyProblem): string => {
  const place = location.line === 0 ? location.file : `${location.file}:${location.line}:${location.column}`;
  return [place, severity === 'warning' ? 'warning' : '', path, `${message}; ${remedy}`].filter((part) => part !== '').join(': ');
};
