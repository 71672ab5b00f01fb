import { el, setAttribute, setText } from './dom.js';

/** @typedef {import('uplot')} UPlotChart */
/** @typedef {readonly [number, number, number, number, number, number | null, number | null, number | null, number, number, number, number | null, number | null, number | null]} Point */

/** @type {typeof import('uplot')} */
const UPlot = /** @type {any} */ (globalThis).uPlot;

export const windowSeconds = 15 * 60;
const windows = [60, 120, 300, windowSeconds];
/** As much as there is something to show of, in steps: a minute's points in a quarter of an hour are a smear. @param {number} first @param {number} now */
const secondsShown = (first, now) => windows.find((seconds) => seconds >= now - first) ?? windowSeconds;

const axisPx = 46;

/** Has the colours that its variables stand for, in the scheme that is shown. */
const probe = document.createElement('i');
probe.hidden = true;
document.body.append(probe);

/** @param {string} name of a variable of the style */
const colour = (name) => {
  probe.style.color = `var(${name})`;
  return getComputedStyle(probe).color;
};

/** @type {Set<Chart>} */
const charts = new Set();

/** The colours of the page have changed. */
export const repaintCharts = () => {
  for (const chart of charts) chart.repaint();
};

/**
 * @typedef {object} Series
 * @property {string} label
 * @property {string} variable of the style: its colour
 * @property {string} [fill] variable of the style
 * @property {number[]} [dash]
 * @property {string} name of the class of its key
 */

/** @param {UPlotChart} plot @param {readonly number[]} ticks */
const showTimes = (plot, ticks) => {
  const { min = 0, max = 0 } = plot.scales['x'] ?? {};
  const precise = max - min <= 300;
  return ticks.map((tick) => new Date(tick * 1_000).toLocaleTimeString('en-GB').slice(0, precise ? 8 : 5));
};

export class Chart {
  /** @type {UPlotChart | undefined} */
  #plot;
  /** @type {readonly (readonly (number | null)[])[]} */
  #data;
  #canvas;
  #value;
  #silent;
  #series;
  #format;
  #tick;
  #limits;
  #showsTime;

  /**
   * @param {Element} parent
   * @param {{ title: string, label: string, series: readonly Series[], format: (value: number | null) => string, tick: (value: number) => string, limits: (most: number, least: number) => [number, number], showsTime?: boolean }} options
   */
  constructor(parent, { title, label, series, format, tick, limits, showsTime = false }) {
    this.#series = series;
    this.#format = format;
    this.#tick = tick;
    this.#limits = limits;
    this.#showsTime = showsTime;
    this.#data = [[], ...series.map(() => [])];
    this.#value = el('span');
    this.#canvas = el('div', { class: showsTime ? 'canvas last' : 'canvas', role: 'img', 'aria-label': label });
    this.#silent = el('p', { class: 'silent', hidden: '' });
    const keys = series.length === 1 ? [] : series.map((each) => el('span', { class: each.name }, each.label));
    parent.append(
      el(
        'div',
        { class: 'chart' },
        el('div', { class: 'chart-head' }, el('span', {}, title, ' ', this.#value), el('span', { class: 'keys' }, ...keys)),
        this.#canvas,
        this.#silent,
      ),
    );
    charts.add(this);
    new ResizeObserver(() => this.#resize()).observe(this.#canvas);
  }

  /** @param {readonly (readonly (number | null)[])[]} data times in seconds, then each series @param {number} nowSeconds @param {string} silent what to say where there is nothing to show */
  show(data, nowSeconds, silent) {
    this.#data = data;
    setText(this.#silent, silent);
    setAttribute(this.#silent, 'hidden', silent === '' ? '' : undefined);
    if (this.#plot === undefined) this.#make();
    const plot = this.#plot;
    if (plot === undefined) return;
    plot.batch(() => {
      plot.setData(/** @type {any} */ (data), false);
      plot.setScale('x', { min: nowSeconds - secondsShown(data[0]?.[0] ?? nowSeconds, nowSeconds), max: nowSeconds });
      const values = data.slice(1).flatMap((each) => each.filter((value) => value !== null));
      const [min, max] = this.#limits(Math.max(0, ...values), values.length === 0 ? 0 : Math.min(...values));
      plot.setScale('y', { min, max });
    });
  }

  repaint() {
    this.#plot?.redraw(false, true);
  }

  #resize() {
    const { clientWidth, clientHeight } = this.#canvas;
    if (clientWidth === 0) return;
    if (this.#plot === undefined) return;
    if (this.#plot.width !== clientWidth || this.#plot.height !== clientHeight)
      this.#plot.setSize({ width: clientWidth, height: clientHeight });
  }

  /** What is under the cursor. @param {UPlotChart} plot */
  #point(plot) {
    const { idx } = plot.cursor;
    if (idx === null || idx === undefined || plot.cursor.left === undefined || plot.cursor.left < 0) {
      setText(this.#value, '');
      return;
    }
    const at = this.#data[0]?.[idx];
    const values = this.#series.map(({ label }, i) => {
      const value = this.#format(this.#data[i + 1]?.[idx] ?? null);
      return this.#series.length === 1 ? value : `${label} ${value}`;
    });
    setText(
      this.#value,
      at === undefined || at === null ? '' : `· ${new Date(at * 1_000).toLocaleTimeString('en-GB')} · ${values.join(', ')}`,
    );
  }

  #make() {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    if (width === 0) return;
    const font = '11px system-ui, sans-serif';
    const axis = { font, stroke: () => colour('--muted'), ticks: { show: false }, grid: { stroke: () => colour('--grid'), width: 1 } };
    this.#plot = new UPlot(
      {
        width,
        height,
        padding: [10, 22, this.#showsTime ? 0 : 4, 0],
        legend: { show: false },
        cursor: { sync: { key: 'traffic' }, y: false, points: { size: 6 }, drag: { x: false, y: false } },
        hooks: { setCursor: [(plot) => this.#point(plot)] },
        scales: { x: { time: true, auto: false }, y: { auto: false } },
        axes: [
          { ...axis, show: this.#showsTime, size: 26, gap: 8, space: 70, grid: { show: false }, values: showTimes },
          { ...axis, size: axisPx, gap: 6, space: 24, values: (_plot, ticks) => ticks.map(this.#tick) },
        ],
        series: [
          {},
          ...this.#series.map(({ label, variable, fill, dash }) => ({
            label,
            stroke: () => colour(variable),
            width: 1.5,
            points: { show: false },
            spanGaps: false,
            ...(fill === undefined ? {} : { fill: () => colour(fill) }),
            ...(dash === undefined ? {} : { dash }),
          })),
        ],
      },
      /** @type {any} */ (this.#data),
      this.#canvas,
    );
  }
}
