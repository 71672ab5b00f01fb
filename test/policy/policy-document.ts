import { readFileSync } from 'node:fs';

/** Where an example belongs: a whole file, or keys of a part of one. */
export type Frame = 'file' | 'route' | 'action' | 'cluster' | 'service-config';

/** A fenced block of the document, and what the compiler says of it by the block after it. */
export interface DocumentExample {
  readonly frame: Frame;
  readonly text: string;
  /** Of the document. */
  readonly line: number;
  /** Lines of the `text` block that follows: severity, path, message and remedy, without the place. */
  readonly problems: readonly string[];
}

/** `default`: as written, a YAML value; the others are the words of the document. */
export type SectionRule =
  | { readonly kind: 'default'; readonly value: string }
  | { readonly kind: 'none' | 'required' | 'changes nothing' | 'without effect' };

/** What stands below one heading of field names. */
export interface FieldSection {
  /** The names of its heading. */
  readonly names: readonly string[];
  readonly line: number;
  readonly rule: SectionRule | undefined;
  readonly examples: readonly DocumentExample[];
  /** Whether it has a sentence of its own beside rule and examples. */
  readonly hasText: boolean;
}

const documentPath = new URL('../../docs/policies.md', import.meta.url);

export const readPolicyDocument = (): string => readFileSync(documentPath, 'utf8');

const frames: Readonly<Record<string, Frame>> = {
  yaml: 'file',
  'yaml route': 'route',
  'yaml action': 'action',
  'yaml cluster': 'cluster',
  json: 'service-config',
};

interface Block {
  readonly info: string;
  readonly text: string;
  readonly line: number;
}

/** Fenced blocks and plain lines, in order. */
const splitBlocks = (text: string): readonly (Block | { readonly plain: string; readonly line: number })[] => {
  const found: (Block | { readonly plain: string; readonly line: number })[] = [];
  const lines = text.split('\n');
  for (let i = 0; i < lines.length; i++) {
    const info = /^```(.*)$/.exec(lines[i] ?? '')?.[1];
    if (info === undefined) {
      found.push({ plain: lines[i] ?? '', line: i + 1 });
      continue;
    }
    const end = lines.indexOf('```', i + 1);
    if (end === -1) throw new Error(`docs/policies.md:${i + 1}: a block without an end`);
    found.push({ info: info.trim(), text: `${lines.slice(i + 1, end).join('\n')}\n`, line: i + 1 });
    i = end;
  }
  return found;
};

const readRule = (line: string): SectionRule | undefined => {
  const value = /^Default: `([^`]+)`/.exec(line)?.[1];
  if (value !== undefined) return { kind: 'default', value };
  if (/^Default: none\b/.test(line)) return { kind: 'none' };
  if (/^Required\b/.test(line)) return { kind: 'required' };
  if (/^Changes nothing\b/.test(line)) return { kind: 'changes nothing' };
  return /^Without effect\b/.test(line) ? { kind: 'without effect' } : undefined;
};

/** All examples of the document, also those outside of sections. */
export const examplesOf = (text: string): readonly DocumentExample[] => sectionsAndExamples(text).examples;

/** The sections whose heading is names of fields in backticks. */
export const fieldSectionsOf = (text: string): readonly FieldSection[] => sectionsAndExamples(text).sections;

const sectionsAndExamples = (
  text: string,
): { readonly sections: readonly FieldSection[]; readonly examples: readonly DocumentExample[] } => {
  interface Draft {
    names: string[];
    line: number;
    rule: SectionRule | undefined;
    examples: DocumentExample[];
    hasText: boolean;
  }
  const sections: Draft[] = [];
  const examples: DocumentExample[] = [];
  let section: Draft | undefined;
  let last: { readonly example: DocumentExample; readonly problems: string[] } | undefined;
  for (const block of splitBlocks(text)) {
    if ('plain' in block) {
      const { plain, line } = block;
      if (/^#+ /.test(plain)) {
        const title = plain.replace(/^#+ /, '');
        const isFields = /^`[^`]+`(, `[^`]+`)*$/.test(title);
        section = isFields
          ? { names: [...title.matchAll(/`([^`]+)`/g)].map(([, name]) => name ?? ''), line, rule: undefined, examples: [], hasText: false }
          : undefined;
        if (section !== undefined) sections.push(section);
        last = undefined;
      } else if (section !== undefined && plain !== '') {
        const rule = readRule(plain);
        if (rule === undefined) section.hasText = true;
        else section.rule ??= rule;
      }
      continue;
    }
    const frame = frames[block.info];
    if (frame !== undefined) {
      const problems: string[] = [];
      const example = { frame, text: block.text, line: block.line, problems };
      last = { example, problems };
      examples.push(example);
      section?.examples.push(example);
    } else if (block.info === 'text' && last !== undefined) {
      last.problems.push(...block.text.trim().split('\n'));
      last = undefined;
    } else if (block.info.startsWith('yaml')) throw new Error(`docs/policies.md:${block.line}: no frame is called ${block.info}`);
  }
  return { sections, examples };
};
