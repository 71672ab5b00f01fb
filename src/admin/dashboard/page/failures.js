import { byId, el, setText } from './dom.js';
import { count, duration, fullTime, statusName, timeOfDay } from './format.js';
import { createRow, createTable, showTable } from './table.js';

/** @typedef {import('../model.ts').FailedCallRow} FailedCall */
/** @typedef {Readonly<Record<string, import('../model.ts').FateNote>>} FateNotes */

/** @type {readonly import('./table.js').Column[]} */
const failureColumns = [
  { label: 'Time', narrow: true, bare: true, tip: 'When the call ended.' },
  {
    label: 'Fate',
    narrow: true,
    bare: true,
    tip: 'Why it ended: app_error is what the service said itself, everything else is a reason of the mesh (x-outrider-reason).',
  },
  { label: 'Call and cause', bare: true },
  { label: 'Went to', tip: 'Cluster and endpoint of the last attempt.' },
  { label: 'Took', number: true, narrow: true, tip: 'From the request’s headers to the end, all attempts together.' },
];

/** What the service itself says is not the mesh's failure. @param {string} fate */
const toneOf = (fate) => (fate === 'app_error' ? 'warn' : 'bad');

/** A failed call never changes: its row is written once. @param {FailedCall} call @param {FateNotes} notes */
const createFailure = (call, notes) => {
  const row = createRow(failureColumns, 'failure');
  const [time, fate, what, where, took] = [...row.children];
  const note = notes[call.fate];
  time?.append(
    el('time', { datetime: new Date(call.atMs).toISOString(), 'data-tip': fullTime(call.atMs) }, timeOfDay(call.atMs)),
    el('span', { class: 'sub' }, call.direction),
  );
  fate?.append(
    el('span', { class: `badge ${toneOf(call.fate)} term`, tabindex: '0', 'data-tip': note?.meaning ?? '' }, call.fate),
    el('span', { class: 'sub' }, statusName(call.grpcStatus)),
  );
  const remedy = note?.remedy ?? '';
  what?.append(
    el('span', { class: 'mono' }, call.path === '' ? '(no path)' : call.path),
    el('span', { class: 'sub' }, call.message ?? note?.meaning ?? ''),
    ...(remedy === '' ? [] : [el('span', { class: 'sub' }, el('strong', {}, 'Remedy: '), remedy)]),
    ...(call.traceId === undefined ? [] : [el('span', { class: 'sub mono' }, `trace ${call.traceId}`)]),
  );
  const attempts = call.attempts > 1 ? `${count(call.attempts)} attempts` : '';
  where?.append(
    el(
      'span',
      {},
      call.cluster ?? (call.authority === '' ? '–' : call.authority),
      el('span', { class: 'sub mono' }, call.endpoint ?? ''),
      el('span', { class: 'sub' }, [call.location ?? '', attempts].filter((part) => part !== '').join(' · ')),
    ),
  );
  took?.append(duration(call.durationMs));
  return row;
};

const failureTable = createTable('Recent failures', failureColumns);

/** @param {import('../model.ts').FailuresSection} failures @param {FateNotes} notes */
export const showFailures = ({ calls, total }, notes) => {
  setText(
    byId('failures-note'),
    `The last 100 calls that failed, newest first; of one kind at most five a second. ${total === 0 ? '' : `${count(total)} since the start.`}`.trim(),
  );
  showTable(byId('failures-body'), failureTable, calls, {
    keyOf: ({ id }) => String(id),
    create: (call) => createFailure(call, notes),
    update: () => {},
    empty: 'No call has failed since the start. What fails is listed here with its cause and what to do.',
  });
};
