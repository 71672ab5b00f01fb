import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { AdminReply } from '../reply.ts';

const folder = join(import.meta.dirname, 'page');

/** In this order: what holds on narrow pages comes last. */
const styles = ['page.css', 'sections.css', 'tables.css'];

/** In this order, each after those it imports. They share one scope in the page, so no name is defined twice. */
const scripts = [
  'dom.js',
  'format.js',
  'tips.js',
  'actions.js',
  'table.js',
  'charts.js',
  'traffic.js',
  'endpoints.js',
  'clusters.js',
  'failures.js',
  'routes.js',
  'details.js',
  'attention.js',
  'connection.js',
  'main.js',
];

/** The modules of the page as one script: what they import of each other is in the same scope, and nothing is loaded. */
const joined = (): string =>
  scripts
    .map((name) =>
      readFileSync(join(folder, name), 'utf8')
        .replaceAll(/^import\s[^;]*;\n/gm, '')
        .replaceAll(/^export (?=const |let |class |function )/gm, ''),
    )
    .join('\n');

/** Nothing in the page may end the element that it stands in. */
const inElement = (text: string, element: 'script' | 'style'): string => text.replaceAll(new RegExp(`</(?=${element})`, 'gi'), '<\\/');

const hashOf = (text: string): string => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;

const escapes: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
const escapeHtml = (value: string): string => value.replaceAll(/[&<>"']/g, (character) => escapes[character] ?? '');

export interface ListedPath {
  readonly method: string;
  readonly path: string;
  readonly summary: string;
}

const listed = ({ method, path, summary }: ListedPath): string => {
  const shown = escapeHtml(path);
  const name = method === 'GET' && path !== '/' ? `<a href="${shown}">${shown}</a>` : shown;
  return `<tr><td class="method">${method}</td><td class="path">${name}</td><td>${escapeHtml(summary)}</td></tr>`;
};

/**
 * The page with all that it needs in it. It holds nothing of this sidecar but the list of paths: what it shows comes over `/events`. The
 * hashes of its scripts and styles are all that its policy allows, so that nothing that came from the network could ever run in it.
 */
export const dashboardPage = (paths: readonly ListedPath[]): AdminReply => {
  const uplot = dirname(createRequire(import.meta.url).resolve('uplot'));
  const sheets = [join(uplot, 'uPlot.min.css'), ...styles.map((name) => join(folder, name))];
  const style = inElement(sheets.map((path) => readFileSync(path, 'utf8')).join('\n'), 'style');
  const early = inElement(readFileSync(join(folder, 'early.js'), 'utf8'), 'script');
  const library = inElement(readFileSync(join(uplot, 'uPlot.iife.min.js'), 'utf8'), 'script');
  const script = inElement(`(() => {\n'use strict';\n${joined()}})();`, 'script');
  // By functions: `$` means something in a text that replaces.
  const body = readFileSync(join(folder, 'page.html'), 'utf8')
    .replace('/* style */', () => style)
    .replace('/* early */', () => early)
    .replace('/* library */', () => library)
    .replace('/* script */', () => script)
    .replace('<!-- paths -->', () => paths.map(listed).join('\n'));
  return {
    status: 200,
    contentType: 'text/html; charset=utf-8',
    body,
    headers: {
      'content-security-policy': [
        "default-src 'none'",
        `script-src ${[early, library, script].map(hashOf).join(' ')}`,
        `style-src ${hashOf(style)}`,
        "connect-src 'self'",
        'img-src data:',
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
      ].join('; '),
      'referrer-policy': 'no-referrer',
      vary: 'accept',
    },
  };
};
