import { prepareAsking } from './actions.js';
import { showAttention } from './attention.js';
import { repaintCharts } from './charts.js';
import { Clusters } from './clusters.js';
import { follow } from './connection.js';
import { showCertificates, showPolicies, showServer, showSources } from './details.js';
import { byId, setAttribute, setText } from './dom.js';
import { showFailures } from './failures.js';
import { span } from './format.js';
import { showRoutes } from './routes.js';
import { showTips } from './tips.js';
import { Traffic } from './traffic.js';

/**
 * @typedef {object} State
 * @property {import('../model.ts').ServerSection} server
 * @property {import('../model.ts').RoutesSection} routes
 * @property {readonly import('../model.ts').CertificateRow[]} certificates
 * @property {import('../model.ts').PoliciesSection} policies
 * @property {import('../model.ts').FailuresSection} failures
 * @property {import('./failures.js').FateNotes} fates
 * @property {readonly import('../model.ts').ClusterSection[]} clusters
 */

/** @type {Map<string, any>} */
let sections = new Map();

/** @returns {State} */
const stateNow = () => ({
  server: sections.get('server'),
  routes: sections.get('routes'),
  certificates: sections.get('certificates'),
  policies: sections.get('policies'),
  failures: sections.get('failures'),
  fates: sections.get('fates'),
  clusters: [...sections].flatMap(([name, value]) => (name.startsWith('cluster ') ? [value] : [])),
});

/** @param {import('../model.ts').ServerSection} server @param {number} nowMs @param {number} concerns */
const showHeader = ({ service, serviceVersion, version, state, ready, startedAtMs }, nowMs, concerns) => {
  setText(byId('service'), service);
  const badge = byId('state');
  setText(badge, ready ? state.toLowerCase() : state === 'LIVE' ? 'not ready' : state.toLowerCase().replaceAll('_', ' '));
  setAttribute(badge, 'class', `badge ${ready ? 'good' : 'bad'}`);
  const facts = [serviceVersion ?? '', `Outrider ${version}`, `up ${span(nowMs - startedAtMs)}`];
  setText(byId('facts'), facts.filter((fact) => fact !== '').join(' · '));
  const title = `${concerns === 0 ? '' : `(${concerns}) `}${service} – Outrider`;
  if (document.title !== title) document.title = title;
};

const traffic = new Traffic();
const clusters = new Clusters();
let startedAtMs = 0;

/** @param {import('../model.ts').DashboardEvent} event */
const onEvent = ({ nowMs, whole, points, sections: changed }) => {
  if (whole) sections = new Map();
  for (const [name, value] of Object.entries(changed)) {
    if (value === null) sections.delete(name);
    else sections.set(name, value);
  }
  const state = stateNow();
  if (state.server === undefined) return;
  // Its failures are numbered anew: another process has begun.
  if (startedAtMs !== 0 && startedAtMs !== state.server.startedAtMs) showFailures({ total: 0, calls: [] }, state.fates);
  startedAtMs = state.server.startedAtMs;
  traffic.take(points, whole);
  traffic.show(nowMs, state.server, state.routes);
  clusters.show(state.clusters, nowMs);
  if ('failures' in changed) showFailures(state.failures, state.fates);
  if ('routes' in changed) showRoutes(state.routes);
  showCertificates(state.certificates, nowMs);
  showSources(state.clusters, nowMs);
  if ('policies' in changed) showPolicies(state.policies);
  showServer(state.server, nowMs);
  const concerns = showAttention(state, nowMs, (cluster) => clusters.goTo(cluster));
  showHeader(state.server, nowMs, concerns);
  document.documentElement.classList.remove('waiting');
};

const themes = /** @type {const} */ (['auto', 'light', 'dark']);
const prepareTheme = () => {
  const root = document.documentElement;
  const button = byId('theme');
  const show = () => {
    setText(button, `Colours: ${root.dataset['theme'] ?? 'auto'}`);
    repaintCharts();
  };
  button.addEventListener('click', () => {
    const next = themes[(themes.findIndex((name) => name === (root.dataset['theme'] ?? 'auto')) + 1) % themes.length] ?? 'auto';
    if (next === 'auto') delete root.dataset['theme'];
    else root.dataset['theme'] = next;
    try {
      localStorage.setItem('outrider-colours', next);
    } catch {
      // Then it is for this visit.
    }
    show();
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', repaintCharts);
  show();
};

byId('failures-alike').addEventListener('change', () => {
  const { failures, fates } = stateNow();
  if (failures !== undefined) showFailures(failures, fates);
});
prepareAsking();
prepareTheme();
showTips();
follow(onEvent);
