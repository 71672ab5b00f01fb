import { byId, el, setAttribute, setText } from './dom.js';
import { count, duration, percent, rate, successOf } from './format.js';
import { createRow, createTable, showTable } from './table.js';

/** @typedef {import('../model.ts').RouteRow} Route */

/** @type {readonly import('./table.js').Column[]} */
const routeColumns = [
  { label: 'Route', heads: true },
  { label: 'To' },
  { label: 'Written in', tip: 'file:line:column of the policy that the route comes from.' },
  { label: 'Limits', width: '8.5rem', tip: 'Timeout of a call with all its attempts, and how often it is tried again.' },
  { label: 'Calls/s', width: '5.25rem', number: true, tip: 'Calls that ended, a second, in the last minute.' },
  { label: 'Success', width: '5.5rem', number: true, tip: 'Share of calls that ended OK, without those that their callers cancelled.' },
  { label: 'p50', width: '5.25rem', number: true },
  { label: 'p99', width: '5.25rem', number: true, tip: '99 of 100 calls took at most this long (estimated from buckets).' },
];

/** @param {Route} route */
const limitsOf = ({ timeoutMs, retries }) =>
  [timeoutMs === 0 ? 'no timeout' : duration(timeoutMs), retries === 0 ? '' : `${retries} ${retries === 1 ? 'retry' : 'retries'}`]
    .filter((part) => part !== '')
    .join(', ');

/** @param {HTMLElement} row @param {Route} route */
const showRoute = (row, route) => {
  const [name, to, where, limits, calls, success, p50, p99] = /** @type {HTMLElement[]} */ ([...row.children]);
  if (!name || !to || !where || !limits || !calls || !success || !p50 || !p99) return;
  if (name.childElementCount === 0) {
    name.append(el('span'), el('span', { class: 'sub mono' }));
    where.append(el('span', { class: 'mono' }));
  }
  const [title, match] = /** @type {HTMLElement[]} */ ([...name.children]);
  if (title !== undefined) setText(title, route.name);
  const repeats =
    route.name === route.match || route.name === `prefix ${route.match.slice(0, -1)}` || route.name.endsWith(` ${route.match}`);
  if (match !== undefined) setText(match, repeats ? route.direction : `${route.direction} ${route.match}`);
  setText(to, route.cluster);
  if (where.firstElementChild !== null) setText(where.firstElementChild, route.location === '' ? '–' : route.location);
  setText(limits, route.location === '' ? '–' : limitsOf(route));
  const share = successOf(route);
  setText(calls, route.shared ? 'see above' : rate(route.perSecond));
  setText(success, route.shared ? '–' : percent(share));
  setAttribute(success, 'class', share === null || share >= 0.99 ? 'number' : share >= 0.95 ? 'number warn-text' : 'number bad-text');
  setText(p50, route.shared ? '–' : duration(route.p50));
  setText(p99, route.shared ? '–' : duration(route.p99));
};

const routeTable = createTable('Routes', routeColumns);

/** @param {import('../model.ts').RoutesSection} routes */
export const showRoutes = ({ rows, left }) => {
  const note = 'In the order of evaluation, with the last minute of each.';
  setText(byId('routes-note'), left === 0 ? note : `${note} ${count(left)} more: /routes lists them all.`);
  showTable(byId('routes-body'), routeTable, rows, {
    keyOf: ({ direction, name, match, location, cluster }) => [direction, name, match, location, cluster].join(' '),
    create: () => createRow(routeColumns),
    update: showRoute,
    empty: 'No route yet. Write some under routes of a policy file (POLICY_PATH); without one, calls go where their :authority says.',
  });
};
