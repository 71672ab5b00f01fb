import { el, showList } from './dom.js';
import { term } from './tips.js';

/**
 * @typedef {object} Column
 * @property {string} label
 * @property {string} [tip] what its figures mean
 * @property {boolean} [number] aligned to the right
 * @property {boolean} [narrow] its text is not broken
 * @property {string} [width] so that no column moves when a figure grows; the others share what is left
 * @property {boolean} [heads] names the row
 * @property {boolean} [bare] without its label on a narrow page
 */

/** A table with headers, whose roles are written out: on a narrow page it is laid out as cards. @param {string} caption @param {readonly Column[]} columns */
export const createTable = (caption, columns) => {
  const heads = columns.map(({ label, tip, number, narrow, width }) => {
    const head = el(
      'th',
      { scope: 'col', role: 'columnheader', class: [number ? 'number' : '', narrow ? 'narrow' : ''].join(' ').trim() || undefined },
      label === '' ? el('span', { class: 'hidden' }, 'Actions') : tip === undefined ? label : term(label, tip),
    );
    if (width !== undefined) head.style.width = width;
    return head;
  });
  const body = el('tbody', { role: 'rowgroup' });
  const table = el(
    'table',
    { role: 'table', class: 'fixed' },
    el('caption', { class: 'hidden' }, caption),
    el('thead', { role: 'rowgroup' }, el('tr', { role: 'row' }, ...heads)),
    body,
  );
  return { table, body };
};

/** A row with one cell for each column. @param {readonly Column[]} columns @param {string} [name] of its class */
export const createRow = (columns, name) =>
  el(
    'tr',
    { role: 'row', class: name },
    ...columns.map(({ label, number, narrow, heads, bare }) => {
      const classes = [number ? 'number' : '', narrow ? 'narrow' : ''].join(' ').trim() || undefined;
      if (heads) return el('th', { scope: 'row', role: 'rowheader', class: classes });
      return el('td', { role: 'cell', class: classes, 'data-label': bare ? undefined : label });
    }),
  );

/** @param {Element} row */
export const cellsOf = (row) => /** @type {HTMLElement[]} */ ([...row.children]);

/**
 * The table with its rows, or where there are none a text that says what to do.
 *
 * @template T
 * @param {Element} place
 * @param {{ table: HTMLElement, body: HTMLElement }} made
 * @param {readonly T[]} items
 * @param {{ keyOf: (item: T) => string, create: (item: T) => HTMLElement, update: (node: HTMLElement, item: T) => void, empty: string, rows?: Element }} how
 */
export const showTable = (place, made, items, { keyOf, create, update, empty, rows = made.body }) => {
  const wanted = items.length === 0 ? 'empty' : 'table';
  if (place.getAttribute('data-shows') !== wanted) {
    place.replaceChildren(wanted === 'empty' ? el('p', { class: 'empty' }, empty) : made.table);
    place.setAttribute('data-shows', wanted);
  }
  showList(rows, items, keyOf, create, update);
};
