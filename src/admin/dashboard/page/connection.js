import { byId, setText } from './dom.js';
import { timeOfDay } from './format.js';

/** Points come every two seconds, in a large mesh every ten: a sidecar that says nothing for so long is gone, or stands still. */
const silenceMs = 25_000;
const againMs = 2_000;

/**
 * Follows `/events`, and begins again by itself. A page that nobody sees lets go: a browser has six connections for all its tabs, and a
 * sidecar that nobody looks at does nothing for it.
 *
 * @param {(event: import('../model.ts').DashboardEvent) => void} onEvent
 */
export const follow = (onEvent) => {
  /** @type {EventSource | undefined} */
  let source;
  let timer = 0;
  let watch = 0;
  let lastMs = 0;

  /** @param {boolean} live @param {string} text */
  const tell = (live, text) => {
    document.documentElement.classList.toggle('stale', !live && lastMs > 0);
    byId('link').classList.toggle('live', live);
    byId('link').classList.toggle('gone', !live);
    setText(byId('link-text'), text);
  };
  const lose = () => {
    tell(false, 'lost');
    setText(
      byId('lost'),
      lastMs === 0
        ? 'The sidecar does not answer. Trying again…'
        : `The sidecar has not answered since ${timeOfDay(lastMs)}: what you see is from then. Trying again…`,
    );
  };
  const stop = () => {
    clearTimeout(timer);
    clearTimeout(watch);
    source?.close();
    source = undefined;
  };
  const restart = () => {
    stop();
    timer = setTimeout(start, againMs);
  };
  const onSilence = () => {
    lose();
    restart();
  };
  const start = () => {
    stop();
    if (document.hidden) return;
    const opened = new EventSource('/events');
    source = opened;
    watch = setTimeout(onSilence, silenceMs);
    opened.onmessage = ({ data }) => {
      clearTimeout(watch);
      watch = setTimeout(onSilence, silenceMs);
      lastMs = Date.now();
      setText(byId('lost'), '');
      tell(true, 'live');
      onEvent(JSON.parse(data));
    };
    opened.onerror = () => {
      lose();
      // One that was refused is not tried again by the browser.
      restart();
    };
  };
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) {
      stop();
      tell(true, 'resting');
    } else start();
  });
  start();
};
