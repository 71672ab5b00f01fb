import { ask, post } from './actions.js';
import { byId, el, setAttribute, setText, showList } from './dom.js';
import { Departures, Endpoints, SourceLine } from './endpoints.js';
import { count, failedText, span, timeOfDay } from './format.js';
import { cellsOf, createRow, createTable, showTable } from './table.js';

/** @typedef {import('../model.ts').ClusterSection} Cluster */
/** @typedef {import('../model.ts').BreakerRow} Breaker */
/** @typedef {{ readonly cluster: Cluster, readonly nowMs: number }} Seen */

/** @type {readonly import('./table.js').Column[]} */
const clusterColumns = [
  { label: 'Cluster', heads: true },
  {
    label: 'Breaker',
    width: '9rem',
    tip: 'CLOSED lets calls through. OPEN refuses them (circuit_open) until its time is over. HALF_OPEN lets a probe through. Of several breakers the worst is shown.',
  },
  {
    label: 'Healthy',
    width: '5.75rem',
    tip: 'Endpoints that are neither ejected nor failing their health checks, of all that are known.',
    number: true,
  },
  { label: 'Under way', width: '6rem', tip: 'Attempts that wait for their end now.', number: true },
  {
    label: 'Attempts',
    width: '6rem',
    tip: 'Attempts since the endpoints are known; a call that is tried again counts again.',
    number: true,
  },
  { label: 'Failed', width: '8.5rem', tip: 'Of these attempts, those that failed.', number: true },
  { label: '', width: '15.5rem', narrow: true, bare: true },
];
/** @type {readonly import('./table.js').Column[]} */
const breakerColumns = [
  { label: 'Breaker of', heads: true },
  { label: 'State' },
  { label: 'Failures in a row', width: '9rem', number: true },
  { label: '', width: '15.5rem', narrow: true, bare: true },
];

const tones = /** @type {Readonly<Record<string, string>>} */ ({ OPEN: 'bad', HALF_OPEN: 'warn', CLOSED: 'good' });
const words = /** @type {Readonly<Record<string, string>>} */ ({ OPEN: 'open', HALF_OPEN: 'half-open', CLOSED: 'closed' });
/** @type {Breaker} */
const pristine = { state: 'CLOSED', failures: 0 };

/** @param {Breaker} breaker @param {number} nowMs */
const breakerStory = ({ openedAtMs, held, heldUntilMs, failures }, nowMs) => {
  if (held !== undefined) return heldUntilMs === undefined ? 'held by hand until a reset' : `held by hand until ${timeOfDay(heldUntilMs)}`;
  if (openedAtMs !== undefined) return `since ${span(nowMs - openedAtMs)}`;
  return failures === 0 ? '' : `${count(failures)} ${failures === 1 ? 'failure' : 'failures'} in a row`;
};

/** @param {string} cluster @param {Breaker} breaker @param {string} action */
const breakerPath = (cluster, { endpoint, method }, action) => {
  const query = new URLSearchParams({ ...(endpoint === undefined ? {} : { endpoint }), ...(method === undefined ? {} : { method }) });
  return `/clusters/${encodeURIComponent(cluster)}/circuit_breakers/${action}?${query}`;
};

const holdTimes = /** @type {const} */ ([
  ['60s', '1 minute'],
  ['5m', '5 minutes'],
  ['15m', '15 minutes'],
  ['1h', '1 hour'],
  ['', 'until a reset'],
]);

/** @param {'open' | 'close'} action @param {string} cluster @param {Breaker} breaker @param {string} whose */
const askHold = (action, cluster, breaker, whose) =>
  ask({
    title: action === 'open' ? `Hold the breaker of ${whose} open?` : `Hold the breaker of ${whose} closed?`,
    text:
      action === 'open'
        ? 'All its calls are refused at once with circuit_open, until the time is over or somebody resets it.'
        : 'Calls go through however many fail, until the time is over or somebody resets it.',
    yes: action === 'open' ? 'Hold open' : 'Hold closed',
    danger: action === 'open',
    choice: { label: 'For', options: holdTimes },
    act: (ttl) => {
      const path = breakerPath(cluster, breaker, action);
      void post(ttl === '' ? path : `${path}&ttl=${ttl}`, `The breaker of ${whose} is held ${action === 'open' ? 'open' : 'closed'}.`);
    },
  });

/** @param {string} cluster @param {() => Breaker} breakerNow */
const breakerButtons = (cluster, breakerNow) => {
  const whose = () => breakerNow().endpoint ?? breakerNow().method ?? cluster;
  const reset = el('button', { type: 'button', 'data-role': 'reset' }, 'Reset');
  const open = el('button', { type: 'button', class: 'plain' }, 'Open…');
  const close = el('button', { type: 'button', class: 'plain' }, 'Close…');
  reset.addEventListener(
    'click',
    () => void post(breakerPath(cluster, breakerNow(), 'reset'), `The breaker of ${whose()} is closed, and nothing is held.`),
  );
  open.addEventListener('click', () => askHold('open', cluster, breakerNow(), whose()));
  close.addEventListener('click', () => askHold('close', cluster, breakerNow(), whose()));
  for (const [button, does] of /** @type {const} */ ([
    [reset, 'Reset'],
    [open, 'Hold open'],
    [close, 'Hold closed'],
  ]))
    button.setAttribute('aria-label', `${does} the breaker of ${whose()}`);
  return el('div', { class: 'buttons' }, reset, open, close);
};

/** @param {HTMLElement} buttons @param {Breaker} breaker */
const showButtons = (buttons, { state, held, failures }) => {
  const reset = buttons.querySelector('[data-role=reset]');
  if (reset === null) return;
  setAttribute(reset, 'class', state !== 'CLOSED' || held !== undefined ? 'main' : failures > 0 ? undefined : 'plain');
};

/** @param {HTMLElement} cell @param {Breaker} breaker @param {number} nowMs */
const showBreaker = (cell, breaker, nowMs) => {
  let [badge, story] = /** @type {HTMLElement[]} */ ([...(cell.firstElementChild?.children ?? [])]);
  if (badge === undefined || story === undefined) {
    badge = el('span', { class: 'badge' });
    story = el('span', { class: 'sub' });
    cell.append(el('span', {}, badge, story));
  }
  setAttribute(badge, 'class', `badge ${breaker.held === 'CLOSED' ? 'warn' : (tones[breaker.state] ?? '')}`);
  setText(badge, words[breaker.state] ?? breaker.state);
  setText(story, breakerStory(breaker, nowMs));
};

/** What opens below the row of a cluster. */
class Inner {
  row;
  #cell;
  #rule = el('p');
  #breakers = createTable('Circuit breakers', breakerColumns);
  #source = new SourceLine();
  #endpoints = new Endpoints();
  #left = el('p');
  #departures = new Departures();

  /** @param {string} id */
  constructor(id) {
    this.#cell = el(
      'td',
      { colspan: String(clusterColumns.length), role: 'cell' },
      this.#rule,
      this.#source.node,
      this.#endpoints.table,
      this.#left,
      this.#departures.node,
    );
    this.row = el('tr', { class: 'inner', role: 'row', id }, this.#cell);
    this.row.hidden = true;
  }

  /** @param {Seen} seen */
  show({ cluster, nowMs }) {
    const { breakers, left, location, rule, size, scope } = cluster;
    setText(this.#rule, [rule, `Balanced by ${cluster.balancer}.`, location === '' ? '' : `Defined in ${location}.`].join(' ').trim());
    if (scope !== 'cluster' && breakers.length > 0) {
      if (this.#breakers.table.parentElement === null) this.#cell.insertBefore(this.#breakers.table, this.#endpoints.table);
      this.#showBreakers(cluster, nowMs);
    } else this.#breakers.table.remove();
    this.#source.show(cluster, nowMs);
    this.#endpoints.show(cluster, nowMs);
    this.#departures.show(cluster, nowMs);
    const none = `No endpoint is known. ${cluster.error ?? `Its source (${cluster.source}) has told of none: see whether the service runs and is registered.`}`;
    setText(this.#left, size === 0 ? none : left > 0 ? `${count(left)} more: /clusters lists them all.` : '');
    this.#left.hidden = this.#left.textContent === '';
  }

  /** @param {Cluster} cluster @param {number} nowMs */
  #showBreakers({ name, breakers }, nowMs) {
    showList(
      this.#breakers.body,
      breakers,
      ({ endpoint, method }) => endpoint ?? method ?? '',
      (breaker) => {
        const row = createRow(breakerColumns);
        row.firstElementChild?.append(el('span', { class: 'mono' }, breaker.endpoint ?? breaker.method ?? ''));
        row.lastElementChild?.append(breakerButtons(name, () => breaker));
        return row;
      },
      (row, breaker) => {
        const [, state, failures, actions] = cellsOf(row);
        if (!state || !failures || !actions) return;
        showBreaker(state, breaker, nowMs);
        setText(failures, count(breaker.failures));
        showButtons(actions, breaker);
      },
    );
  }
}

/** The rows of one cluster. */
class ClusterRows {
  body;
  #row = createRow(clusterColumns);
  #toggle;
  #source = el('span', { class: 'sub' });
  #inner;
  /** @type {Seen} */
  #seen;
  #open = false;

  /** @param {Seen} seen */
  constructor(seen) {
    this.#seen = seen;
    const { name, local } = seen.cluster;
    const id = `cluster-${name}`;
    this.#inner = new Inner(`${id}-endpoints`);
    this.#toggle = el('button', { type: 'button', class: 'toggle', 'aria-expanded': 'false', 'aria-controls': `${id}-endpoints` }, name);
    this.#toggle.addEventListener('click', () => this.open(!this.#open));
    const cells = cellsOf(this.#row);
    cells[0]?.append(this.#toggle, this.#source);
    if (!local)
      cells
        .at(-1)
        ?.append(
          breakerButtons(name, () => (this.#seen.cluster.scope === 'cluster' ? (this.#seen.cluster.breakers[0] ?? pristine) : pristine)),
        );
    this.body = el('tbody', { id, role: 'rowgroup' }, this.#row, this.#inner.row);
  }

  /** @param {boolean} wanted */
  open(wanted) {
    this.#open = wanted;
    setAttribute(this.#toggle, 'aria-expanded', String(wanted));
    this.#inner.row.hidden = !wanted;
    if (wanted) this.#inner.show(this.#seen);
  }

  focus() {
    this.#toggle.focus();
  }

  /** @param {Seen} seen */
  show(seen) {
    this.#seen = seen;
    const { cluster, nowMs } = seen;
    const [, breaker, healthy, active, total, failed, actions] = cellsOf(this.#row);
    if (!breaker || !healthy || !active || !total || !failed || !actions) return;
    const worst = cluster.breakers[0] ?? pristine;
    showBreaker(breaker, worst, nowMs);
    setText(
      this.#source,
      cluster.local ? 'the service beside this sidecar' : cluster.onDemand ? `${cluster.source}, called by name` : cluster.source,
    );
    setText(healthy, `${count(cluster.healthy)} of ${count(cluster.size)}`);
    setAttribute(
      healthy,
      'class',
      `number ${cluster.size > 0 && cluster.healthy === cluster.size ? '' : cluster.healthy === 0 ? 'bad-text' : 'warn-text'}`.trim(),
    );
    setText(active, count(cluster.active));
    setText(total, count(cluster.total));
    setText(failed, failedText(cluster.total, cluster.errors));
    setAttribute(failed, 'class', cluster.errors > 0 ? 'number bad-text' : 'number');
    showButtons(actions, worst);
    if (this.#open) this.#inner.show(seen);
  }
}

export class Clusters {
  /** @type {Map<string, ClusterRows>} */
  #rows = new Map();
  #made = createTable('Clusters', clusterColumns);

  constructor() {
    this.#made.body.remove();
  }

  /** @param {readonly Cluster[]} clusters @param {number} nowMs */
  show(clusters, nowMs) {
    const shown = new Set(clusters.map(({ name }) => name));
    for (const name of this.#rows.keys()) if (!shown.has(name)) this.#rows.delete(name);
    showTable(
      byId('clusters-body'),
      this.#made,
      clusters.map((cluster) => ({ cluster, nowMs })),
      {
        rows: this.#made.table,
        keyOf: ({ cluster }) => cluster.name,
        create: (seen) => {
          const rows = new ClusterRows(seen);
          this.#rows.set(seen.cluster.name, rows);
          return rows.body;
        },
        update: (_node, seen) => this.#rows.get(seen.cluster.name)?.show(seen),
        empty:
          'No cluster yet. Name one under clusters of a policy file, or set CONSUL_HTTP_ADDR so that services are found by their names.',
      },
    );
  }

  /** Opens the rows of one, and goes there. @param {string} name */
  goTo(name) {
    const rows = this.#rows.get(name);
    rows?.open(true);
    rows?.body.scrollIntoView({ block: 'center' });
    rows?.focus();
  }
}
