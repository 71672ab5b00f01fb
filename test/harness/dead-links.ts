import { existsSync, readFileSync } from 'node:fs';

const root = new URL('../../', import.meta.url);

/** As GitHub makes them of headings. */
const anchorsOf = (document: string): ReadonlySet<string> =>
  new Set(
    [...document.matchAll(/^#+ (.*)$/gm)].map(([, title = '']) =>
      title
        .toLowerCase()
        .replaceAll(/[^\w -]/g, '')
        .replaceAll(' ', '-'),
    ),
  );

/** Links of `file`, a path from the root of the repository, that lead to no file, or to no heading of one; those to other sites are not followed. */
export const deadLinks = (file: string): readonly string[] => {
  const document = new URL(file, root);
  const text = readFileSync(document, 'utf8');
  const dead = [...text.matchAll(/\]\((?!\w+:)([^)#]*)(?:#([^)]*))?\)/g)].flatMap(([link, other = '', anchor]) => {
    const target = other === '' ? document : new URL(other, document);
    if (!existsSync(target)) return [`${link}: there is no ${other}`];
    return anchor === undefined || anchorsOf(readFileSync(target, 'utf8')).has(anchor) ? [] : [`${link}: there is no such heading`];
  });
  return [...new Set(dead)];
};
