import { Chart, windowSeconds } from './charts.js';
import { byId, el } from './dom.js';
import { duration, durationTick, percent, rate, rateTick, splitMs, successOf } from './format.js';
import { term } from './tips.js';

/** @typedef {import('./charts.js').Point} Point */
/** @typedef {import('../model.ts').RecentFigures} Figures */

/** Two points that are further apart have nothing between them. */
const gapMs = 5_000;
const firstFigure = { inbound: 2, outbound: 8 };

/** A round number above the largest value, so that the scale does not move with each point. @param {number} most */
const roundAbove = (most) => {
  if (most <= 0) return 1;
  const step = 10 ** Math.floor(Math.log10(most));
  return ([1, 1.5, 2, 3, 4, 6, 8, 10].find((times) => times * step >= most * 1.05) ?? 20) * step;
};

class Panel {
  #direction;
  /** @type {Readonly<Record<string, HTMLElement>>} */
  #figures;
  #rate;
  #success;
  #latency;

  /** @param {'inbound' | 'outbound'} direction */
  constructor(direction) {
    this.#direction = direction;
    const panel = byId(`traffic-${direction}`);
    const figures = {
      calls: ['Calls/s', 'Calls that ended, a second, in the last minute.'],
      success: ['Success', 'Calls that ended OK, of those that were not cancelled by their callers, in the last minute.'],
      p50: ['p50', 'Half of the calls of the last minute took at most this long (estimated from buckets).'],
      p95: ['p95', '95 of 100 calls of the last minute took at most this long (estimated from buckets).'],
      p99: ['p99', '99 of 100 calls of the last minute took at most this long (estimated from buckets).'],
    };
    this.#figures = Object.fromEntries(Object.keys(figures).map((name) => [name, el('dd', {}, '–')]));
    panel.append(
      el(
        'dl',
        { class: 'figures' },
        ...Object.entries(figures).map(([name, [label = '', tip = '']]) =>
          el('div', {}, el('dt', {}, term(label, tip)), /** @type {HTMLElement} */ (this.#figures[name])),
        ),
      ),
    );
    this.#rate = new Chart(panel, {
      title: 'Calls per second',
      label: `${direction} calls per second of the last 15 minutes`,
      series: [
        { label: 'all', variable: '--accent', fill: '--area', name: 'accent' },
        { label: 'failed', variable: '--bad', fill: '--bad-area', name: 'bad' },
      ],
      format: (value) => (value === null ? '–' : rate(value)),
      tick: rateTick,
      limits: (most) => [0, roundAbove(most)],
    });
    this.#success = new Chart(panel, {
      title: 'Success',
      label: `${direction} share of calls that ended OK of the last 15 minutes`,
      series: [{ label: 'success', variable: '--good', name: 'good' }],
      format: (value) => (value === null ? '–' : `${Number(value.toFixed(2))} %`),
      tick: (value) => `${Number(value.toFixed(2))} %`,
      limits: (_most, least) => [least >= 99 ? 99 : least >= 90 ? 90 : least >= 50 ? 50 : 0, 100],
    });
    this.#latency = new Chart(panel, {
      title: 'Latency',
      label: `${direction} latency of the last 15 minutes: median, 95th and 99th percentile`,
      series: [
        { label: 'p50', variable: '--accent', name: 'accent' },
        { label: 'p95', variable: '--second', dash: [6, 3], name: 'second' },
        { label: 'p99', variable: '--third', dash: [2, 2], name: 'third' },
      ],
      format: (value) => duration(value),
      tick: durationTick,
      limits: (most) => [0, roundAbove(most)],
      showsTime: true,
    });
  }

  /** @param {Figures} figures */
  showFigures(figures) {
    const success = successOf(figures);
    this.#write('calls', rate(figures.perSecond), '');
    this.#write('success', percent(success).replace(' %', ''), success === null ? '' : '%');
    for (const name of /** @type {const} */ (['p50', 'p95', 'p99'])) this.#write(name, ...splitMs(figures[name]));
    const tone = success === null || success >= 0.99 ? '' : success >= 0.95 ? 'warn-text' : 'bad-text';
    const node = this.#figures['success'];
    if (node !== undefined && node.className !== tone) node.className = tone;
  }

  /** @param {readonly Point[]} points @param {number} nowMs @param {string} address where calls of this direction come in @param {number} recent calls of the last minute */
  showPoints(points, nowMs, address, recent) {
    const from = firstFigure[this.#direction];
    /** @type {(number | null)[][]} */
    const columns = [[], [], [], [], [], [], []];
    /** @param {readonly (number | null)[]} values */
    const add = (values) => {
      for (const [i, value] of values.entries()) columns[i]?.push(value);
    };
    let lastMs = 0;
    let total = 0;
    for (const point of points) {
      const [atMs, lengthMs] = point;
      const [calls = 0, ok = 0, cancelled = 0] = /** @type {readonly number[]} */ (point.slice(from, from + 3));
      const success = successOf({ calls, ok, cancelled });
      const seconds = lengthMs / 1_000;
      const values = [
        calls / seconds,
        Math.max(0, calls - ok - cancelled) / seconds,
        success === null ? null : success * 100,
        .../** @type {readonly (number | null)[]} */ (point.slice(from + 3, from + 6)),
      ];
      const gap = atMs - lengthMs - lastMs > gapMs;
      if (gap && lastMs > 0) add([lastMs / 1_000 + 0.001, null, null, null, null, null, null]);
      // Of what follows nothing, the beginning is shown too: one point alone is no line.
      if (gap) add([(atMs - lengthMs) / 1_000, ...values]);
      add([atMs / 1_000, ...values]);
      total += calls;
      lastMs = atMs;
    }
    const [xs = [], all = [], failed = [], success = [], ...latency] = columns;
    const now = nowMs / 1_000;
    const silent =
      total > 0 || recent > 0
        ? ''
        : this.#direction === 'inbound'
          ? `No calls. Peers reach this service at ${address}.`
          : `No calls. Let the service call through ${address}.`;
    this.#rate.show([xs, all, failed], now, silent);
    this.#success.show([xs, success], now, '');
    this.#latency.show([xs, ...latency], now, '');
  }

  /** @param {string} name @param {string} value @param {string} unit */
  #write(name, value, unit) {
    const node = this.#figures[name];
    if (node === undefined || node.textContent === `${value}${unit}`) return;
    node.replaceChildren(value, ...(unit === '' ? [] : [el('small', {}, unit)]));
  }
}

export class Traffic {
  #panels = { inbound: new Panel('inbound'), outbound: new Panel('outbound') };
  /** @type {Point[]} */
  #points = [];

  /** @param {readonly Point[]} points @param {boolean} whole they are all there are */
  take(points, whole) {
    if (whole) this.#points = [];
    this.#points.push(...points);
  }

  /** @param {number} nowMs @param {import('../model.ts').ServerSection} server @param {import('../model.ts').RoutesSection} routes */
  show(nowMs, server, routes) {
    const first = this.#points.findIndex(([atMs]) => atMs > nowMs - windowSeconds * 1_000);
    if (first > 0) this.#points.splice(0, first);
    for (const direction of /** @type {const} */ (['inbound', 'outbound'])) {
      const address = server.listeners.find(({ name }) => name === direction)?.address ?? 'its listener';
      this.#panels[direction].showFigures(routes.totals[direction]);
      this.#panels[direction].showPoints(this.#points, nowMs, address, routes.totals[direction].calls);
    }
  }
}
