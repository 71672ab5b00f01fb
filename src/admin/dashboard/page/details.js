import { ask, post } from './actions.js';
import { byId, el, setAttribute, setText, showList } from './dom.js';
import { count, fullTime, span } from './format.js';
import { createRow, createTable, showTable } from './table.js';
import { term } from './tips.js';

/** @typedef {import('../model.ts').CertificateRow} Certificate */
/** @typedef {import('../model.ts').ClusterSection} Cluster */
/** @typedef {import('../model.ts').ReloadRow} Reload */
/** @typedef {import('../model.ts').ServerSection} Server */

const dayMs = 86_400_000;

/** @param {number} untilMs @param {number} nowMs */
export const certificateTone = (untilMs, nowMs) => (untilMs - nowMs < 2 * dayMs ? 'bad' : untilMs - nowMs < 14 * dayMs ? 'warn' : 'good');

/** @param {number} untilMs @param {number} nowMs */
export const timeLeft = (untilMs, nowMs) => {
  const left = untilMs - nowMs;
  if (left <= 0) return 'expired';
  const days = Math.floor(left / dayMs);
  return days >= 2 ? `${count(days)} days` : span(left);
};

// ---- certificates ----

/** @type {readonly import('./table.js').Column[]} */
const certificateColumns = [
  { label: 'Certificate', heads: true },
  {
    label: 'Left',
    width: '7rem',
    narrow: true,
    tip: 'Until it expires. Yellow below 14 days, red below two: renew it, and the sidecar takes it up by itself.',
  },
  { label: 'Until', width: '7rem', narrow: true },
];
const certificates = createTable('Certificates', certificateColumns);

/** @param {readonly Certificate[]} rows @param {number} nowMs */
export const showCertificates = (rows, nowMs) =>
  showTable(byId('certificates-body'), certificates, rows, {
    keyOf: ({ file, serial, role }) => `${role} ${file} ${serial}`,
    create: ({ names, role, file }) => {
      const row = createRow(certificateColumns);
      const [name, left] = [...row.children];
      const title = role === 'own' ? (names.at(0) ?? 'own certificate') : 'authority';
      name?.append(title, el('span', { class: 'sub mono' }, file));
      if (role === 'own' && names.length > 1) name?.append(el('span', { class: 'sub' }, names.slice(1).join(', ')));
      left?.append(el('span', { class: 'badge' }));
      return row;
    },
    update: (row, { untilMs }) => {
      const [, left, until] = [...row.children];
      const badge = left?.firstElementChild;
      if (!badge || !until) return;
      setAttribute(badge, 'class', `badge ${certificateTone(untilMs, nowMs)}`);
      setText(badge, timeLeft(untilMs, nowMs));
      setText(until, fullTime(untilMs).slice(0, 10));
    },
    empty:
      'None: this sidecar runs without TLS. Make some with outrider certs, and set CA_CERT_PATH, CLIENT_CERT_PATH and CLIENT_KEY_PATH.',
  });

// ---- discovery ----

/** @type {readonly import('./table.js').Column[]} */
const sourceColumns = [
  { label: 'Cluster', heads: true },
  { label: 'Source', tip: 'Who was asked last for its endpoints.' },
  {
    label: 'Confirmed',
    tip: 'Whether the source still says that the endpoints are right. Yellow: nobody could say for a while; calls go on with the last good ones.',
  },
];
const sources = createTable('Sources of discovery', sourceColumns);

/** @param {readonly Cluster[]} clusters @param {number} nowMs */
export const showSources = (clusters, nowMs) =>
  showTable(
    byId('discovery-body'),
    sources,
    clusters.filter(({ local }) => !local),
    {
      keyOf: ({ name }) => name,
      create: () => {
        const row = createRow(sourceColumns);
        row.children[2]?.append(el('span', {}, el('span', { class: 'badge' }), el('span', { class: 'sub' })));
        return row;
      },
      update: (row, { name, source, size, updatedAtMs, staleSinceMs, error }) => {
        const [cluster, from, state] = [...row.children];
        const [badge, story] = [...(state?.firstElementChild?.children ?? [])];
        if (!cluster || !from || !badge || !story) return;
        setText(cluster, name);
        setText(from, source);
        const fixed = source === 'static' || source === '';
        const tone = error !== undefined || staleSinceMs !== undefined ? 'warn' : size === 0 ? 'bad' : fixed ? 'quiet' : 'good';
        setAttribute(badge, 'class', `badge ${tone}`);
        setText(
          badge,
          staleSinceMs !== undefined
            ? `stale for ${span(nowMs - staleSinceMs)}`
            : error !== undefined
              ? 'failing'
              : size === 0
                ? 'empty'
                : fixed
                  ? 'fixed'
                  : 'current',
        );
        const changed = updatedAtMs === undefined || fixed ? '' : `changed ${span(nowMs - updatedAtMs)} ago`;
        setText(story, error ?? changed);
      },
      empty: 'No cluster has a source yet. Set CONSUL_HTTP_ADDR, or write endpoints, dns, http or file in a cluster of a policy file.',
    },
  );

// ---- lists of facts ----

/** @param {Element} list @param {readonly { name: string, tip?: string, value: string, tone?: string }[]} facts */
const showFacts = (list, facts) => {
  showList(
    list,
    facts.flatMap((fact) => [
      { ...fact, head: true },
      { ...fact, head: false },
    ]),
    ({ name, head }) => `${name} ${head}`,
    ({ name, tip, head }) => (head ? el('dt', {}, tip === undefined ? name : term(name, tip)) : el('dd')),
    (node, { head, value, tone }) => {
      if (head) return;
      setText(node, value);
      setAttribute(node, 'class', tone);
    },
  );
};

// ---- policies ----

const policyFacts = el('dl', { class: 'facts-list' });
const reloadList = el('ul', { class: 'reloads', 'aria-label': 'Reloads, newest first' });

/** @param {Reload} reload */
const createReload = ({ atMs, ok, version, problems }) => {
  const errors = problems.filter(({ severity }) => severity === 'error').length;
  const warnings = problems.length - errors;
  return el(
    'li',
    {},
    el('span', { class: `badge ${ok ? 'good' : 'bad'}` }, ok ? 'loaded' : 'refused'),
    `${fullTime(atMs)} `,
    el(
      'span',
      { class: 'quiet-text' },
      ok
        ? `version ${version.slice(0, 12)}${warnings === 0 ? '' : `, ${warnings} warnings`}`
        : `${errors} ${errors === 1 ? 'mistake' : 'mistakes'}`,
    ),
    ...problems.map(({ place, message, remedy, severity }) =>
      el('span', { class: 'sub' }, el('span', { class: 'mono' }, place), ` ${severity}: ${message}. `, remedy),
    ),
  );
};

/** @param {import('../model.ts').PoliciesSection} policies */
export const showPolicies = ({ version, files, reloads }) => {
  const place = byId('policies-body');
  if (place.childElementCount === 0) {
    const button = el('button', { type: 'button' }, 'Read again now');
    button.addEventListener('click', () => void post('/reload', 'Policies and certificates were read again.'));
    place.append(policyFacts, el('div', { class: 'buttons' }, button), reloadList);
  }
  showFacts(policyFacts, [
    {
      name: 'In force',
      tip: 'Hash of all policy files; the same everywhere where the same policies are in force.',
      value: version.slice(0, 12) || 'none',
    },
    { name: 'Files', value: files.length === 0 ? 'none: set POLICY_PATH to a file or a folder' : files.join(', ') },
  ]);
  showList(
    reloadList,
    reloads,
    ({ atMs, ok, version: loaded }) => `${atMs} ${ok} ${loaded}`,
    createReload,
    () => {},
  );
  reloadList.hidden = reloads.length === 0;
};

// ---- server ----

const serverFacts = el('dl', { class: 'facts-list' });

/** @param {Server} server @param {number} nowMs */
export const showServer = (server, nowMs) => {
  const place = byId('server-body');
  if (place.childElementCount === 0) {
    const button = el('button', { type: 'button', class: 'danger' }, 'Drain…');
    button.addEventListener('click', () =>
      ask({
        title: 'Drain this sidecar?',
        text: 'It leaves the catalogue, finishes what is under way, takes nothing new, and ends. It does not come back by itself.',
        yes: 'Drain and end',
        danger: true,
        act: () => void post('/drain', 'Draining: what is under way finishes.'),
      }),
    );
    place.append(serverFacts, el('div', { class: 'buttons' }, button));
  }
  const { listeners, overload, registration } = server;
  showFacts(serverFacts, [
    {
      name: 'State',
      value: server.why === undefined ? server.state : `${server.state}: ${server.why}`,
      ...(server.ready ? {} : { tone: 'bad-text' }),
    },
    {
      name: 'Overload',
      tip: 'What is being done against a lack of memory or CPU; usually nothing.',
      value: overload.length === 0 ? 'nothing is being refused for it' : overload.join(', '),
      ...(overload.length === 0 ? {} : { tone: 'bad-text' }),
    },
    {
      name: 'Registration',
      tip: 'Whether the catalogue of Consul has this service.',
      value:
        registration === undefined
          ? 'none: CONSUL_HTTP_ADDR is not set, or REGISTRATION is off'
          : `${registration.state} as ${registration.id} at ${registration.address} with ${registration.agent}${registration.error === undefined ? '' : `: ${registration.error}`}`,
      ...(registration === undefined || registration.state === 'registered' ? {} : { tone: 'warn-text' }),
    },
    ...listeners.map(({ name, address, active, limit }) => ({
      name: name === 'admin_grpc' ? 'Admin by gRPC' : `${name.slice(0, 1).toUpperCase()}${name.slice(1)}`,
      value: `${address}${active === undefined ? '' : `, ${count(active)} connections${limit === undefined ? '' : ` of at most ${count(limit)}`}`}`,
    })),
    { name: 'Started', value: `${fullTime(server.startedAtMs)}, ${span(nowMs - server.startedAtMs)} ago` },
    { name: 'Runs as', value: `Outrider ${server.version}, ${server.runtime}, process ${server.pid}` },
  ]);
};
