import { byId, el, setAttribute, setText } from './dom.js';
import { count, duration, fullTime, statusName, timeOfDay } from './format.js';
import { createRow, createTable, showTable } from './table.js';

/** @typedef {import('../model.ts').FailedCallRow} FailedCall */
/** @typedef {Readonly<Record<string, import('../model.ts').FateNote>>} FateNotes */
/** @typedef {{ readonly key: string, readonly newest: FailedCall, readonly times: number }} Failure */

/** @type {readonly import('./table.js').Column[]} */
const failureColumns = [
  { label: 'Time', width: '6.5rem', narrow: true, bare: true, tip: 'When the call ended; of several that failed alike, the last of them.' },
  {
    label: 'Fate',
    width: '12.5rem',
    narrow: true,
    bare: true,
    tip: 'Why it ended: app_error is what the service said itself, everything else is a reason of the mesh (x-outrider-reason).',
  },
  { label: 'Call and cause', bare: true },
  { label: 'Went to', width: '15rem', tip: 'Cluster and endpoint of the last attempt, and the route that the call followed.' },
  { label: 'Took', width: '6rem', number: true, narrow: true, tip: 'From the request’s headers to the end, all attempts together.' },
];

/** What the service itself says is not the mesh's failure. @param {string} fate */
const toneOf = (fate) => (fate === 'app_error' ? 'warn' : 'bad');

/** Figures in a message differ from call to call. @param {FailedCall} call */
const kindOf = ({ direction, fate, path, cluster, message }) =>
  [direction, fate, path, cluster, message?.replaceAll(/\d+/g, '0')].join('\u0000');

/** @param {readonly FailedCall[]} calls newest first @param {boolean} alike in one @returns {readonly Failure[]} */
const failuresOf = (calls, alike) => {
  if (!alike) return calls.map((call) => ({ key: String(call.id), newest: call, times: 1 }));
  return [...Map.groupBy(calls, kindOf)].flatMap(([key, same]) => {
    const [newest] = same;
    return newest === undefined ? [] : [{ key, newest, times: same.length }];
  });
};

/** @param {Failure} failure @param {FateNotes} notes */
const createFailure = ({ newest }, notes) => {
  const row = createRow(failureColumns, 'failure');
  const [time, fate, what, where] = [...row.children];
  const note = notes[newest.fate];
  const { cluster = '', authority, direction, message, path } = newest;
  time?.append(el('time'), el('span', { class: 'sub' }, direction));
  fate?.append(
    el('span', { class: `badge ${toneOf(newest.fate)}`, tabindex: '0', 'data-tip': note?.meaning ?? '' }, newest.fate),
    el('span', { class: 'sub' }, statusName(newest.grpcStatus)),
  );
  // Most messages of ours end with what to do.
  const remedy = message?.includes('; ') ? '' : (note?.remedy ?? '');
  what?.append(
    el('span', { class: 'mono path' }, path === '' ? '(no path)' : path),
    el('span', { class: 'badge times' }),
    el('span', { class: 'sub' }, message ?? note?.meaning ?? ''),
    ...(remedy === '' ? [] : [el('span', { class: 'sub' }, remedy)]),
    el('span', { class: 'sub mono' }),
  );
  where?.append(
    el(
      'span',
      {},
      cluster === '' ? (authority === '' ? '–' : authority) : cluster,
      el('span', { class: 'sub mono' }),
      el('span', { class: 'sub mono' }, newest.location ?? ''),
    ),
  );
  return row;
};

/** @param {HTMLElement} row @param {Failure} failure */
const showFailure = (row, { newest, times }) => {
  const [time, , what, where, took] = [...row.children];
  const clock = time?.firstElementChild;
  const badge = what?.querySelector('.times');
  const trace = what?.lastElementChild;
  const endpoint = where?.querySelector('.mono');
  if (!clock || !badge || !trace || !endpoint || !took) return;
  setText(clock, timeOfDay(newest.atMs));
  setAttribute(clock, 'datetime', new Date(newest.atMs).toISOString());
  setAttribute(clock, 'data-tip', fullTime(newest.atMs));
  setText(badge, times === 1 ? '' : `${count(times)} times`);
  setAttribute(badge, 'hidden', times === 1 ? '' : undefined);
  const attempts = newest.attempts > 1 ? `, ${count(newest.attempts)} attempts` : '';
  setText(trace, newest.traceId === undefined ? '' : `${times === 1 ? 'trace' : 'last trace'} ${newest.traceId}`);
  setText(endpoint, `${newest.endpoint ?? ''}${attempts}`);
  setText(took, duration(newest.durationMs));
};

const failureTable = createTable('Recent failures', failureColumns);

/** @param {import('../model.ts').FailuresSection} failures @param {FateNotes} notes */
export const showFailures = ({ calls, total }, notes) => {
  const { checked } = /** @type {HTMLInputElement} */ (byId('failures-alike'));
  setText(
    byId('failures-note'),
    `The last 100 calls that failed, newest first; of one kind at most five a second. ${total === 0 ? '' : `${count(total)} since the start.`}`.trim(),
  );
  showTable(byId('failures-body'), failureTable, failuresOf(calls, checked), {
    keyOf: ({ key }) => key,
    create: (failure) => createFailure(failure, notes),
    update: showFailure,
    empty: 'No call has failed since the start. What fails is listed here with its cause and what to do.',
  });
};
