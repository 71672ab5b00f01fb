import { type CheckGroup, type CheckResult, type Outcome, outcomes } from './check-result.ts';

export interface Screen {
  readonly colours: boolean;
  /** Columns of a terminal; 0: lines are not wrapped, so that `grep` finds whole ones. */
  readonly columns: number;
}

const signs: Readonly<Record<Outcome, string>> = { ok: '✓', warning: '!', failed: '✗', skipped: '-' };
const colourOf: Readonly<Record<Outcome, number>> = { ok: 32, warning: 33, failed: 31, skipped: 90 };
const [bold, dim] = [1, 90];

export const countOutcomes = (groups: readonly CheckGroup[]): Readonly<Record<Outcome, number>> => {
  const counts = { ok: 0, warning: 0, failed: 0, skipped: 0 };
  for (const { results } of groups) for (const { outcome } of results) counts[outcome]++;
  return counts;
};

const leastTextColumns = 30;

/** Breaks at blanks; a word that is longer than a line has a line of its own. */
const wrap = (text: string, columns: number): readonly string[] => {
  if (columns < leastTextColumns) return [text];
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > columns) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line];
};

/** For people: grouped by service, aligned, and below whatever is not right the command that helps. Ends with a line that sums it up. */
export const formatReport = (groups: readonly CheckGroup[], tookMs: number, { colours, columns }: Screen): string => {
  const paint = (code: number, text: string): string => (colours ? `\x1b[${code}m${text}\x1b[0m` : text);
  const width = Math.max(...groups.flatMap(({ results }) => results.map(({ check }) => check.length)));
  const margin = width + 6;
  const lineOf = ({ check, outcome, detail, remedy }: CheckResult): readonly string[] => {
    const [first = '', ...rest] = wrap(detail, columns - margin);
    const sign = paint(colourOf[outcome], signs[outcome]);
    const shown = (text: string): string => (outcome === 'skipped' ? paint(dim, text) : text);
    return [
      `  ${sign} ${shown(check.padEnd(width))}  ${shown(first)}`,
      ...rest.map((line) => `${' '.repeat(margin)}${shown(line)}`),
      // In one piece, so that it can be copied.
      ...(remedy === undefined || remedy === '' ? [] : [`${' '.repeat(margin - 2)}${paint(dim, '→')} ${remedy}`]),
    ];
  };
  const blocks = groups.map(({ service, instance, address, results }) => {
    const title = paint(bold, service ?? 'mesh');
    const where = [address, instance].filter((part) => part !== undefined).join('  ');
    return [where === '' ? title : `${title}  ${paint(dim, where)}`, ...results.flatMap(lineOf)];
  });
  const counts = countOutcomes(groups);
  const summary = outcomes
    .filter((outcome) => outcome === 'ok' || counts[outcome] > 0)
    .map((outcome) => paint(colourOf[outcome], `${counts[outcome]} ${plural(outcome, counts[outcome])}`))
    .join(', ');
  const verdict = counts.failed === 0 ? paint(32, 'the mesh is well') : paint(31, 'something is wrong');
  return `${blocks.map((lines) => lines.join('\n')).join('\n\n')}\n\n${verdict}: ${summary} in ${(tookMs / 1_000).toFixed(1)} s\n`;
};

const plural = (outcome: Outcome, count: number): string => (outcome === 'warning' && count !== 1 ? 'warnings' : outcome);

/** For scripts: a shape that stays. `service` and `instance` are null where a check is of the mesh, or of nobody registered. */
export const reportJson = (groups: readonly CheckGroup[]): string => {
  const counts = countOutcomes(groups);
  const checks = groups.flatMap(({ service, instance, address, results }) =>
    results.map(({ check, outcome, detail, remedy }) => ({
      service: service ?? null,
      instance: instance ?? null,
      address: address ?? null,
      check,
      result: outcome,
      detail,
      remedy: remedy ?? null,
    })),
  );
  return `${JSON.stringify({ ok: counts.failed === 0, summary: counts, checks }, null, 2)}\n`;
};
