/** One command of a `console` block, and the lines that the document shows of its output. */
export interface ConsoleStep {
  readonly command: string;
  readonly output: readonly string[];
  /** In the document, from 1. */
  readonly line: number;
}

export interface ConsoleSection {
  /** Of the second level. */
  readonly title: string;
  readonly line: number;
  readonly steps: readonly ConsoleStep[];
}

/** Sections of a document that have commands: lines that begin with `$ ` in blocks fenced as `console`, a backslash at the end goes on in the next one. */
export const consoleSectionsOf = (document: string): readonly ConsoleSection[] => {
  const sections: { title: string; line: number; steps: { command: string; output: string[]; line: number }[] }[] = [];
  let isConsole = false;
  let isFenced = false;
  for (const [i, text] of document.split('\n').entries()) {
    const heading = /^## (.*)$/.exec(text)?.[1];
    if (text.startsWith('```')) {
      isConsole = !isFenced && text === '```console';
      isFenced = !isFenced;
    } else if (!isFenced && heading !== undefined) sections.push({ title: heading, line: i + 1, steps: [] });
    else if (isConsole) {
      const steps = sections.at(-1)?.steps ?? [];
      const last = steps.at(-1);
      if (text.startsWith('$ ')) steps.push({ command: text.slice(2), output: [], line: i + 1 });
      else if (last === undefined) throw new Error(`line ${i + 1}: output without a command`);
      else if (last.output.length === 0 && last.command.endsWith('\\')) last.command = `${last.command.slice(0, -1)}${text.trim()}`;
      else if (text.trim() !== '' && text.trim() !== '...') last.output.push(text);
    }
  }
  return sections.filter(({ steps }) => steps.length > 0);
};

const escaped = (text: string): string => text.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&');

/**
 * What a line of the document stands for: blanks for any blanks, a number for any number, `…` for anything. The value of a counter
 * (`name: 0`) that is zero must be zero, and one that is not must not be.
 */
export const patternOf = (documented: string): RegExp => {
  const value = /^(\S+: )(\d+)$/.exec(documented.trim());
  const loose = (text: string): string =>
    text
      .split('…')
      .map((part) => escaped(part).replaceAll(/\d+/g, '\\d+').replaceAll(/\s+/g, '\\s+'))
      .join('.*');
  if (value === null) return new RegExp(`^\\s*${loose(documented.trim())}\\s*$`);
  return new RegExp(`^${loose(value[1] ?? '')}${Number(value[2]) === 0 ? '0' : '0*[1-9]\\d*'}$`);
};

/** The first documented line that the output does not have behind the ones before it. */
export const firstMissing = (documented: readonly string[], output: string): string | undefined => {
  const lines = output.split('\n');
  let at = 0;
  for (const line of documented) {
    const pattern = patternOf(line);
    while (at < lines.length && !pattern.test(lines[at] ?? '')) at++;
    if (at === lines.length) return line;
    at++;
  }
  return undefined;
};
