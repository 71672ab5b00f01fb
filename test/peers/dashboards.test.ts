/** Dashboards of deploy/grafana: what Grafana's own types say of them, and what those cannot see. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { parse } from 'yaml';
import { panelsOf, readDashboards } from './dashboards.ts';
import { grafanaSchema, problemsOf } from './grafana-schema.ts';

const schema = await grafanaSchema();
const dashboards = readDashboards();

test("the dashboards are right by Grafana's own types", { skip: schema.skip }, async () => {
  assert.deepEqual(Object.keys(dashboards).toSorted(), ['certificates', 'mesh', 'route', 'service']);
  assert.equal(await problemsOf(schema, dashboards), '');
});

test('and those types see a key that is unknown, a word that is none of theirs, and a field that is missing', {
  skip: schema.skip,
}, async () => {
  // biome-ignore lint/suspicious/noExplicitAny: what is changed is made wrong on purpose.
  const wrong = (change: (dashboard: any, panel: any) => void): unknown => {
    // biome-ignore lint/suspicious/noExplicitAny: as above.
    const copy = structuredClone(dashboards['mesh']) as any;
    change(
      copy,
      copy.panels.find(({ type }: { type: string }) => type === 'timeseries'),
    );
    return copy;
  };
  const problems = await problemsOf(schema, {
    key: wrong((_, panel) => Object.assign(panel.options, { legends: {} })),
    word: wrong((_, panel) => Object.assign(panel.options.tooltip, { mode: 'all' })),
    field: wrong((_, panel) => void delete panel.fieldConfig),
    color: wrong((_, panel) => Object.assign(panel.fieldConfig.defaults.color, { mode: 'rainbow' })),
    unit: wrong((dashboard) => Object.assign(dashboard, { schemaVersion: 'new' })),
  });
  for (const name of ['key', 'word', 'field', 'color', 'unit']) assert.match(problems, new RegExp(`^${name}\\.ts\\(`, 'm'), name);
});

test('ids are different, panels do not overlap, and every one says what it shows', () => {
  for (const dashboard of Object.values(dashboards)) {
    const taken = new Set<string>();
    const ids = new Set<number>();
    for (const panel of panelsOf(dashboard) as readonly {
      readonly id: number;
      readonly type: string;
      readonly title: string;
      readonly description?: string;
      readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
    }[]) {
      const place = `${dashboard.title}: ${panel.title}`;
      assert.ok(!ids.has(panel.id), place);
      ids.add(panel.id);
      if (panel.type !== 'row') assert.match(panel.description ?? '', /\.$/, place);
      const { x, y, w, h } = panel.gridPos;
      assert.ok(x >= 0 && x + w <= 24, place);
      for (let column = x; column < x + w; column++) {
        for (let line = y; line < y + h; line++) {
          assert.ok(!taken.has(`${column}/${line}`), `${place} lies on another panel`);
          taken.add(`${column}/${line}`);
        }
      }
    }
  }
});

test('every data source is the one that is chosen, every link leads to a dashboard, and every variable is there', () => {
  const uids = Object.values(dashboards).map(({ uid }) => uid);
  for (const dashboard of Object.values(dashboards)) {
    const text = JSON.stringify(dashboard);
    for (const [, uid] of text.matchAll(/"type":"prometheus","uid":"([^"]*)"/g)) assert.equal(uid, `$${'{datasource}'}`, dashboard.title);
    for (const [, uid] of text.matchAll(/"url":"\/d\/([\w-]+)/g)) assert.ok(uids.includes(uid ?? ''), `${dashboard.title} leads to ${uid}`);
    const names = dashboard.templating.list.map(({ name }) => name);
    for (const [, name = ''] of text.matchAll(/\$\{?([a-z]\w*)/g))
      assert.ok(names.includes(name), `${dashboard.title} has no variable ${name}`);
    // Links to the other dashboards give variables on, so each that is named in a link has to be one of the other's.
    for (const [, uid, query = ''] of text.matchAll(/\/d\/([\w-]+)\?([^"]*)/g)) {
      const other = Object.values(dashboards).find((one) => one.uid === uid);
      const theirs = other?.templating.list.map(({ name }) => name) ?? [];
      for (const [, name = ''] of query.matchAll(/var-(\w+)=/g)) assert.ok(theirs.includes(name), `${uid} has no variable ${name}`);
    }
  }
});

test('latency panels ask for exemplars, and the provisioned data source knows where they lead', () => {
  const asking = Object.values(dashboards).flatMap((dashboard) =>
    panelsOf(dashboard).flatMap(({ title, targets = [] }) =>
      targets.some(({ exemplar }) => exemplar === true) ? [`${dashboard.title}: ${title}`] : [],
    ),
  );
  assert.ok(
    asking.includes('Outrider service: Latency as callers see it') && asking.includes('Outrider route: Latency'),
    asking.join(', '),
  );
  const file = new URL('../../deploy/grafana/provisioning/datasources/outrider.yml', import.meta.url);
  const { datasources } = parse(readFileSync(file, 'utf8')) as {
    datasources: { uid: string; type: string; jsonData?: { exemplarTraceIdDestinations?: { name: string; datasourceUid: string }[] } }[];
  };
  const [destination] = datasources.flatMap(({ jsonData }) => jsonData?.exemplarTraceIdDestinations ?? []);
  assert.equal(destination?.name, 'trace_id');
  assert.ok(datasources.some(({ uid, type }) => uid === destination?.datasourceUid && type === 'jaeger'));
});
