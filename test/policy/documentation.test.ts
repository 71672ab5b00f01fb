import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse } from 'yaml';
import {
  compileExample,
  compileText,
  problemsWithoutPlace,
  tableText,
  wholeFile,
  withField,
  writes,
  type YamlValue,
} from './document-frames.ts';
import { type DocumentExample, examplesOf, type FieldSection, fieldSectionsOf, readPolicyDocument } from './policy-document.ts';
import { fieldsNamed, type PolicyField, policyFields } from './policy-fields.ts';

// docs/policies.md, read and executed: what it says of a field is what the compiler does.

const text = readPolicyDocument();
const sections = fieldSectionsOf(text);
const fields = policyFields();
const at = (line: number): string => `docs/policies.md:${line}`;

/** The names of all headings with the fields that they mean. */
const named = new Map(sections.flatMap(({ names }) => names.map((name) => [name, fieldsNamed(name, fields)] as const)));
const fieldsOf = ({ names }: FieldSection): readonly PolicyField[] => names.flatMap((name) => named.get(name) ?? []);
const pathsNamed = (name: string): readonly string[] => (named.get(name) ?? []).flatMap(({ paths }) => paths);
const sectionsByField = new Map<PolicyField, FieldSection[]>(fields.map((field) => [field, []]));
for (const section of sections) for (const field of fieldsOf(section)) sectionsByField.get(field)?.push(section);

test('every field of the schema has one section', () => {
  const lines = fields.flatMap((field) => {
    const found = sectionsByField.get(field) ?? [];
    const [path = field.id] = field.paths;
    if (found.length === 1) return [];
    return found.length === 0
      ? [`no section for ${path}: add "### \`${path.split('.').slice(-2).join('.')}\`" to docs/policies.md`]
      : [`${path} has several sections: ${found.map(({ line }) => at(line)).join(', ')}`];
  });
  assert.deepEqual(lines, []);
});

test('every section names one field that exists', () => {
  const lines = sections.flatMap(({ names, line }) =>
    names.flatMap((name) => {
      const found = named.get(name) ?? [];
      if (found.length === 1) return [];
      return found.length === 0
        ? [`${at(line)}: there is no field ${name}`]
        : [`${at(line)}: ${name} means ${found.map(({ paths }) => paths[0]).join(' and ')}: write more of the path`];
    }),
  );
  assert.deepEqual(lines, []);
});

test('every section says what its field means, what holds where it is left out, and shows it in an example', () => {
  const lines = sections.flatMap((section) => {
    const { names, line, rule, hasText, examples } = section;
    const found = fieldsOf(section);
    const kind = rule?.kind;
    const wanted = found.every(({ inert }) => inert) ? 'without effect' : found.every(({ required }) => required) ? 'required' : undefined;
    const missing = names.filter((name) => !examples.some((example) => writes(wholeFile(example), pathsNamed(name))));
    return [
      ...(hasText ? [] : [`${at(line)}: says nothing`]),
      ...(rule === undefined
        ? [`${at(line)}: begin a line with "Default: \`value\`", "Default: none", "Required", "Changes nothing" or "Without effect"`]
        : []),
      ...(rule !== undefined && wanted !== undefined && kind !== wanted ? [`${at(line)}: the schema says ${wanted}, not ${kind}`] : []),
      ...(wanted === undefined && (kind === 'required' || kind === 'without effect')
        ? [`${at(line)}: ${kind}, and the schema does not say so`]
        : []),
      ...missing.map((name) => `${at(line)}: no example with ${name}`),
    ];
  });
  assert.deepEqual(lines, []);
});

test('what editors show as the default is what the document says', () => {
  const lines = sections.flatMap((section) => {
    const { line, rule } = section;
    return fieldsOf(section).flatMap(({ description, paths }) => {
      // Words such as "all" or "any number" say it in other terms.
      const shown = /(?:^|[ ;,])(\d[\w.]*|true|false) where left out/.exec(description)?.[1];
      if (shown === undefined || (rule?.kind === 'default' && rule.value === shown)) return [];
      return [`${at(line)}: says ${rule?.kind === 'default' ? rule.value : rule?.kind} of ${paths[0]}, and the schema ${shown}`];
    });
  });
  assert.deepEqual(lines, []);
});

for (const example of examplesOf(text)) {
  test(`the example in line ${example.line} compiles as the document says`, () => {
    const compiled = compileExample(example);
    assert.deepEqual(problemsWithoutPlace(compiled), example.problems, wholeFile(example));
  });
}

const compiles = (example: DocumentExample, file: string): string | undefined => {
  const { table } = compileText(example.frame, file);
  return table === undefined ? undefined : tableText(table);
};

/** What is wrong with a rule, held against an example that writes the field. */
const contradiction = (example: DocumentExample, paths: readonly string[], { rule }: FieldSection): string | undefined => {
  const file = wholeFile(example);
  const written = compiles(example, file);
  const without = compiles(example, withField(file, paths, undefined));
  switch (rule?.kind) {
    case 'default': {
      const byDefault = compiles(example, withField(file, paths, parse(rule.value) as YamlValue));
      if (byDefault === undefined || without === undefined) return `does not compile with ${rule.value}, or without it`;
      if (byDefault !== without) return `${rule.value} is not what holds where it is left out`;
      return written === without ? `the example says nothing else than the default ${rule.value}` : undefined;
    }
    case 'none':
      return written === without ? 'nothing changes where it is left out' : undefined;
    case 'required':
      return without === undefined ? undefined : 'may be left out';
    case 'changes nothing':
    case 'without effect':
      return written === without ? undefined : 'something changes where it is left out';
    case undefined:
      return undefined;
  }
};

for (const section of sections) {
  for (const name of section.names) {
    test(`${name}: what the document says of its default holds`, () => {
      const paths = pathsNamed(name);
      const right = section.examples.filter((example) => compileExample(example).table !== undefined && writes(wholeFile(example), paths));
      const found = right.map((example) => contradiction(example, paths, section));
      // One example that shows it is enough: others may be about contradictions.
      assert.ok(found.includes(undefined), `${at(section.line)}: ${found.join('; ') || 'no example that compiles writes it'}`);
    });
  }
}
