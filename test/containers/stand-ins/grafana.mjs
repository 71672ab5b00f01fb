// A stand-in for Grafana in tests, where its image cannot be pulled and its sources cannot be built: reads what is provisioned as Grafana would (data
// sources, providers of dashboards, dashboards), refuses to start where something of it is wrong, and answers the paths that tell of it. Draws nothing.
import { readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { parse } from 'yaml';

const provisioning = process.env.GF_PATHS_PROVISIONING ?? '/etc/grafana/provisioning';
const yamlOf = (folder) =>
  readdirSync(join(provisioning, folder))
    .filter((name) => /\.ya?ml$/.test(name))
    .map((name) => parse(readFileSync(join(provisioning, folder, name), 'utf8')));

const datasources = yamlOf('datasources').flatMap((file) => file.datasources ?? []);
for (const { name, type, url } of datasources)
  if (!name || !type || !url) throw new Error(`a data source without name, type or url: ${name}`);
const folders = yamlOf('dashboards').flatMap((file) => file.providers.map(({ options }) => options.path));
const dashboards = folders.flatMap((folder) =>
  readdirSync(folder, { recursive: true })
    .filter((name) => name.endsWith('.json'))
    .map((name) => JSON.parse(readFileSync(join(folder, name), 'utf8'))),
);
for (const { uid, title, panels } of dashboards)
  if (!uid || !title || !Array.isArray(panels)) throw new Error(`a dashboard without uid, title or panels: ${title}`);

const answers = {
  '/api/health': () => ({ database: 'ok', version: 'stand-in', commit: 'stand-in' }),
  '/api/datasources': () => datasources.map(({ name, type, url, uid }) => ({ name, type, url, uid })),
  '/api/search': () => dashboards.map(({ uid, title }) => ({ uid, title, type: 'dash-db' })),
};
createServer((request, response) => {
  const answer = answers[new URL(request.url, 'http://grafana').pathname];
  response.writeHead(answer === undefined ? 404 : 200, { 'content-type': 'application/json' });
  response.end(JSON.stringify(answer?.() ?? { message: 'not in the stand-in' }));
}).listen(3000, () => console.log(`stand-in for Grafana: ${datasources.length} data sources, ${dashboards.length} dashboards`));
process.on('SIGTERM', () => process.exit(0));
