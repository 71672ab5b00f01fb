import { certificateTone, timeLeft } from './details.js';
import { byId, el, setAttribute, setText, showList } from './dom.js';
import { percent, span, successOf, timeOfDay } from './format.js';

/** @typedef {{ tone: 'bad' | 'warn', text: string, href: string, cluster?: string }} Concern */
/** @typedef {import('./main.js').State} State */

/** @param {State} state @returns {readonly Concern[]} */
const ofServer = ({ server }) => [
  ...(server.ready
    ? []
    : [{ tone: /** @type {const} */ ('bad'), text: `not ready: ${server.why ?? server.state.toLowerCase()}`, href: '#server' }]),
  ...server.overload.map((action) => ({ tone: /** @type {const} */ ('bad'), text: `overloaded: ${action}`, href: '#server' })),
  ...(server.registration === undefined || server.registration.state === 'registered'
    ? []
    : [{ tone: /** @type {const} */ ('warn'), text: `registration: ${server.registration.state}`, href: '#server' }]),
];

/** @param {import('../model.ts').ClusterSection} cluster @param {number} nowMs @returns {readonly Concern[]} */
const ofCluster = (cluster, nowMs) => {
  const { name, breakers, healthy, size, staleSinceMs } = cluster;
  const to = { href: `#cluster-${name}`, cluster: name };
  /** @type {Concern[]} */
  const found = [];
  const open = breakers.filter(({ state }) => state === 'OPEN').length;
  const half = breakers.some(({ state }) => state === 'HALF_OPEN');
  if (open > 0) found.push({ ...to, tone: 'bad', text: `${name}: breaker open${open > 1 ? ` (${open})` : ''}` });
  else if (half) found.push({ ...to, tone: 'warn', text: `${name}: breaker half-open` });
  if (breakers.some(({ held }) => held === 'CLOSED')) found.push({ ...to, tone: 'warn', text: `${name}: breaker held closed` });
  if (size === 0) found.push({ ...to, tone: 'bad', text: `${name}: no endpoints` });
  else if (healthy === 0) found.push({ ...to, tone: 'bad', text: `${name}: no healthy endpoint` });
  else if (healthy < size) found.push({ ...to, tone: 'warn', text: `${name}: ${size - healthy} of ${size} endpoints unhealthy` });
  if (staleSinceMs !== undefined && nowMs - staleSinceMs > 10_000)
    found.push({ tone: 'warn', text: `${name}: discovery stale for ${span(nowMs - staleSinceMs)}`, href: '#discovery' });
  return found;
};

/** @param {State} state @param {number} nowMs @returns {readonly Concern[]} */
const concernsOf = (state, nowMs) => {
  const { certificates, clusters, policies, routes } = state;
  const [last] = policies.reloads;
  const found = [
    ...ofServer(state),
    ...clusters.flatMap((cluster) => ofCluster(cluster, nowMs)),
    .../** @type {const} */ (['outbound', 'inbound']).flatMap((direction) => {
      const share = successOf(routes.totals[direction]);
      if (share === null || share >= 0.99) return [];
      return [
        {
          tone: share < 0.95 ? /** @type {const} */ ('bad') : /** @type {const} */ ('warn'),
          text: `${direction}: ${percent(share)} success`,
          href: '#traffic',
        },
      ];
    }),
    ...(last === undefined || last.ok
      ? []
      : [{ tone: /** @type {const} */ ('bad'), text: `policies refused at ${timeOfDay(last.atMs)}`, href: '#policies' }]),
    ...certificates.flatMap(({ untilMs, role }) => {
      const tone = certificateTone(untilMs, nowMs);
      const left = timeLeft(untilMs, nowMs);
      const text = `${role === 'own' ? 'certificate' : 'authority'} ${left === 'expired' ? left : `expires in ${left}`}`;
      return tone === 'good' ? [] : [{ tone: /** @type {'bad' | 'warn'} */ (tone), text, href: '#certificates' }];
    }),
  ];
  return found.sort((a, b) => Number(a.tone === 'warn') - Number(b.tone === 'warn'));
};

/** @type {ReadonlySet<string>} */
let saidBefore = new Set();
/** @type {Concern} */
const calm = { tone: 'warn', text: '', href: '' };

/** One line of a fixed height: nothing below it moves when something happens. @param {State} state @param {number} nowMs @param {(cluster: string) => void} goTo */
export const showAttention = (state, nowMs, goTo) => {
  const concerns = concernsOf(state, nowMs);
  const list = byId('attention-list');
  list.querySelector('.waiting')?.remove();
  showList(
    list,
    concerns.length === 0 ? [calm] : concerns,
    // A figure in it may change, and it stays the same concern.
    ({ href, text }) => `${href} ${text.replaceAll(/[\d.,]+/g, '')}`,
    ({ href, cluster }) => {
      if (href === '')
        return el('li', { class: 'calm' }, 'Nothing needs attention: breakers are closed, endpoints healthy, sources current.');
      const link = el('a', { class: 'badge', href });
      link.addEventListener('click', (event) => {
        if (cluster === undefined) return;
        event.preventDefault();
        goTo(cluster);
      });
      return el('li', {}, link);
    },
    (node, { tone, text }) => {
      const link = node.firstElementChild;
      if (link === null) return;
      setAttribute(link, 'class', `badge ${tone}`);
      setText(link, text);
    },
  );
  const texts = new Set(concerns.map(({ text }) => text.replaceAll(/ for \d+ \w+/g, '')));
  const news = [...texts].filter((text) => !saidBefore.has(text) && !/\d %/.test(text));
  if (news.length > 0) setText(byId('said'), `Needs attention: ${news.join('; ')}`);
  else if (texts.size === 0 && saidBefore.size > 0) setText(byId('said'), 'Nothing needs attention any more.');
  saidBefore = texts;
  return concerns.length;
};
