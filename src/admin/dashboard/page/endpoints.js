import { post } from './actions.js';
import { el, setAttribute, setText, showList } from './dom.js';
import { count, failedText, moment, span } from './format.js';
import { cellsOf, createRow, createTable } from './table.js';

/** @typedef {import('../model.ts').ClusterSection} Cluster */
/** @typedef {import('../model.ts').DepartureRow} Departure */
/** @typedef {import('../model.ts').EndpointRow} Endpoint */

/** @type {readonly import('./table.js').Column[]} */
const endpointColumns = [
  { label: 'Endpoint', heads: true },
  {
    label: 'State',
    tip: 'Whether it gets calls, and why. Failing: its health checks fail. Ejected: outlier detection has it out, since its calls failed. Unchecked: no check has passed yet. Draining: it is listed no longer, and finishes what is under way. Where too few are healthy (healthy_panic_threshold) those that are not get calls as well.',
  },
  { label: 'Weight', width: '5.25rem', tip: 'How many calls it gets beside the others.', number: true },
  { label: 'Under way', width: '6rem', number: true },
  { label: 'Attempts', width: '6rem', number: true },
  { label: 'Failed', width: '8.5rem', number: true },
  { label: '', width: '7rem', narrow: true, bare: true },
];
/** @type {readonly import('./table.js').Column[]} */
const departureColumns = [
  { label: 'Instance', heads: true },
  { label: 'When', width: '11rem' },
  { label: 'Why', tip: 'As far as the source says it.' },
];

const kinds = /** @type {Readonly<Record<string, string>>} */ ({
  static: 'the policy',
  consul: 'Consul',
  dns: 'DNS',
  file: 'a file',
  http: 'an HTTP discoverer',
  kubernetes: 'Kubernetes',
});

/** Who has told of the endpoints, in a word or two. @param {string} source */
const sourceWords = (source) => {
  const [kind = ''] = source.split(':', 1);
  return kinds[kind] ?? kind;
};

const stateWords = /** @type {const} */ ({
  healthy: ['good', 'healthy'],
  unchecked: ['warn', 'unchecked'],
  failing: ['bad', 'failing its check'],
  ejected: ['bad', 'ejected'],
  breaker_open: ['bad', 'breaker open'],
  breaker_half_open: ['warn', 'breaker half-open'],
  draining: ['', 'draining'],
});

/** @param {Endpoint} endpoint @param {Cluster} cluster @returns {string} why a healthy one gets calls, or does not all the same */
const useOf = ({ priority }, { breakers, scope }) => {
  const [worst] = scope === 'cluster' ? breakers : [];
  if (worst?.state === 'OPEN') return 'no calls: the breaker of the cluster is open';
  if (worst?.state === 'HALF_OPEN') return 'probes alone: the breaker of the cluster is half-open';
  return priority === 0 ? 'gets calls' : 'gets calls when those of a lower priority number cannot carry them all';
};

/** @param {import('../model.ts').BreakerRow} breaker @param {number} nowMs */
const ownBreakerStory = ({ state, openedAtMs, held, heldUntilMs }, nowMs) => {
  const words = state === 'OPEN' ? 'open' : state === 'HALF_OPEN' ? 'half-open (probes alone)' : 'closed';
  const since = openedAtMs === undefined ? '' : ` since ${moment(openedAtMs, nowMs)}`;
  const hand = held === undefined ? '' : `, held by hand until ${heldUntilMs === undefined ? 'a reset' : moment(heldUntilMs, nowMs)}`;
  return `its own breaker is ${words}${since}${hand}`;
};

/** Times of day and no spans: the text keeps its length while it stands. @param {Endpoint} endpoint @param {Cluster} cluster @param {number} nowMs */
export const stateStory = (endpoint, cluster, nowMs) => {
  const { active, breaker, check, departure, ejection, flags, state } = endpoint;
  if (state === 'draining') {
    const since = departure === undefined ? '' : ` since ${moment(departure.atMs, nowMs)} (${departure.why})`;
    return `no new calls: not listed${since}; ${active === 0 ? 'nothing is under way' : 'finishes what is under way'}`;
  }
  const parts = [
    ...(state === 'healthy' ? [useOf(endpoint, cluster)] : []),
    ...(ejection === undefined
      ? []
      : [`ejected (${ejection.type}) since ${moment(ejection.sinceMs, nowMs)} until ${moment(ejection.untilMs, nowMs)} at least`]),
    ...(check === undefined ? [] : [`${check.method}: ${check.why}`]),
    ...(breaker === undefined ? (state === 'breaker_open' ? ['its own breaker is open'] : []) : [ownBreakerStory(breaker, nowMs)]),
    // What the check has found says it already.
    ...flags.filter((flag) => flag !== 'failed_outlier_check' && (check === undefined || !flag.endsWith('active_hc'))),
  ];
  return parts.join('; ');
};

/** @param {HTMLElement} row @param {Endpoint} endpoint @param {Cluster} cluster @param {number} nowMs */
const showEndpoint = (row, endpoint, cluster, nowMs) => {
  const [name, health, weight, active, total, failed, actions] = cellsOf(row);
  if (!name || !health || !weight || !active || !total || !failed || !actions) return;
  if (name.childElementCount === 0) name.append(el('span', { class: 'mono' }, endpoint.key), el('span', { class: 'sub' }));
  const found = endpoint.foundAtMs === undefined ? '' : `from ${sourceWords(cluster.source)} since ${moment(endpoint.foundAtMs, nowMs)}`;
  setText(/** @type {Element} */ (name.lastElementChild), [endpoint.name, endpoint.place, found].filter((part) => part).join(' · '));
  if (health.childElementCount === 0) health.append(el('span', {}, el('span', { class: 'badge' }), el('span', { class: 'sub' })));
  const [badge, story] = cellsOf(/** @type {Element} */ (health.firstElementChild));
  if (badge === undefined || story === undefined) return;
  const [tone, words] = stateWords[endpoint.state];
  setAttribute(badge, 'class', `badge ${tone}`.trim());
  setText(badge, words);
  setText(story, stateStory(endpoint, cluster, nowMs));
  setText(weight, count(endpoint.weight));
  setText(active, count(endpoint.active));
  setText(total, count(endpoint.total));
  setText(failed, failedText(endpoint.total, endpoint.errors));
  setAttribute(failed, 'class', endpoint.errors > 0 ? 'number bad-text' : 'number');
  const button = actions.querySelector('button');
  if (button !== null) button.hidden = endpoint.ejection === undefined || endpoint.state === 'draining';
};

/** @param {string} cluster @param {Endpoint} endpoint */
const createEndpoint = (cluster, { key }) => {
  const row = createRow(endpointColumns);
  const button = el('button', { type: 'button', 'aria-label': `Take back ${key}` }, 'Uneject');
  button.hidden = true;
  button.addEventListener(
    'click',
    () => void post(`/clusters/${encodeURIComponent(cluster)}/endpoints/${encodeURIComponent(key)}/uneject`, `${key} gets calls again.`),
  );
  row.lastElementChild?.append(el('div', { class: 'buttons' }, button));
  return row;
};

/** Where the endpoints of a cluster come from, when it was asked last, and whether it can still say that they are right. */
export class SourceLine {
  #from = el('span');
  #fresh = el('span');
  #error = el('span', { class: 'warn-text' });
  node = el('p', { class: 'source' }, this.#from, this.#fresh, this.#error);

  /** @param {Cluster} cluster @param {number} nowMs */
  show({ error, onDemand, source, staleSinceMs, updatedAtMs }, nowMs) {
    const kind = sourceWords(source);
    const fixed = kind === kinds['static'] || source === '';
    const named = source.includes(':') ? ` (${source})` : '';
    const answered =
      updatedAtMs === undefined ? 'which has not answered yet' : `${fixed ? 'read' : 'last answer'} ${moment(updatedAtMs, nowMs)}`;
    setText(this.#from, `Endpoints from ${kind === '' ? 'nowhere' : kind}${named}${onDemand ? ', called by name' : ''}, ${answered}. `);
    const stale = staleSinceMs !== undefined;
    setText(
      this.#fresh,
      stale
        ? `Not confirmed for ${span(nowMs - staleSinceMs)}. `
        : fixed || error !== undefined || updatedAtMs === undefined
          ? ''
          : 'Confirmed. ',
    );
    setAttribute(this.#fresh, 'class', stale ? 'warn-text' : undefined);
    setText(this.#error, error === undefined ? '' : `Last error: ${error}`);
  }
}

/** The endpoints of a cluster, each with its state and why it gets calls, or none. */
export class Endpoints {
  #made = createTable('Endpoints', endpointColumns);
  table = this.#made.table;

  /** @param {Cluster} cluster @param {number} nowMs */
  show(cluster, nowMs) {
    const { endpoints, name } = cluster;
    this.table.hidden = endpoints.length === 0;
    showList(
      this.#made.body,
      endpoints,
      // It can be back while calls of its former self are under way.
      ({ key, state }) => (state === 'draining' ? `draining ${key}` : key),
      (endpoint) => createEndpoint(name, endpoint),
      (row, endpoint) => showEndpoint(row, endpoint, cluster, nowMs),
    );
  }
}

/** @param {Departure} departure */
const createDeparture = ({ address, instance, why }) => {
  const row = createRow(departureColumns);
  const [who, , reason] = cellsOf(row);
  who?.append(
    el('span', { class: 'mono' }, instance === '' ? address : instance),
    el('span', { class: 'sub mono' }, instance === '' ? '' : address),
  );
  reason?.append(why);
  return row;
};

/** Instances that the source lists no longer, and why. */
export class Departures {
  #made = createTable('Not listed any more', departureColumns);
  #title = el('p');
  node = el('div', { class: 'departures' }, this.#title, this.#made.table);

  /** @param {Cluster} cluster @param {number} nowMs */
  show({ departures, source }, nowMs) {
    this.#made.table.hidden = departures.length === 0;
    // Of the sources that can tell: the room is there before the first one leaves.
    this.#title.hidden = departures.length === 0 && !source.startsWith('consul:');
    setText(
      this.#title,
      departures.length === 0 ? 'No instance has left the list of late.' : 'Left the list of late and not back, the newest first:',
    );
    showList(
      this.#made.body,
      departures,
      ({ address, atMs, instance }) => `${atMs} ${address} ${instance}`,
      createDeparture,
      (row, { atMs }) => setText(/** @type {Element} */ (row.children[1]), moment(atMs, nowMs)),
    );
  }
}
