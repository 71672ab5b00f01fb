import type { AdminPath } from './admin-path.ts';
import type { ServerInfoView } from './views.ts';

const escapes: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
const escapeHtml = (value: string): string => value.replaceAll(/[&<>"']/g, (character) => escapes[character] ?? '');

const row = ({ method, path, summary, parameters = [] }: AdminPath): string => {
  const shown = escapeHtml(path);
  const link = method === 'GET' ? `<a href="${shown}">${shown}</a>` : shown;
  const hint = parameters.length === 0 ? '' : ` <small>?${escapeHtml(parameters.join(' ?'))}</small>`;
  return `<tr><td>${method}</td><td>${link}${hint}</td><td>${escapeHtml(summary)}</td></tr>`;
};

/** A page without scripts that says what there is. Changes are made with `curl -X POST`. */
export const indexPage = (paths: readonly AdminPath[], { version, serviceName }: ServerInfoView): string => `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${escapeHtml(serviceName)} - Outrider</title>
<style>
  body { font: 1rem/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color-scheme: light dark }
  td { padding: .2rem 1rem .2rem 0; vertical-align: top }
</style>
<h1>${escapeHtml(serviceName)}</h1>
<p>Outrider ${escapeHtml(version)}</p>
<table>
${paths.map(row).join('\n')}
</table>
`;
