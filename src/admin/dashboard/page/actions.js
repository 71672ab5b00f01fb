import { byId, setText } from './dom.js';

const toastMs = 6_000;
let toastTimer = 0;

/** @param {string} text */
export const say = (text) => {
  clearTimeout(toastTimer);
  setText(byId('toast'), text);
  toastTimer = setTimeout(() => setText(byId('toast'), ''), toastMs);
};

/** Asks the sidecar for a change. Whether it worked is said in words. @param {string} path @param {string} done */
export const post = async (path, done) => {
  try {
    const answer = await fetch(path, { method: 'POST' });
    const body = await answer.json();
    say(answer.ok ? done : `Refused: ${body.error ?? answer.statusText}`);
  } catch {
    say('The sidecar did not answer; nothing is known to have changed.');
  }
};

/**
 * @typedef {object} Question
 * @property {string} title
 * @property {string} text
 * @property {string} yes what the button says
 * @property {boolean} [danger]
 * @property {{ label: string, options: readonly (readonly [string, string])[] }} [choice] values with what is shown for them
 * @property {(chosen: string) => void} act
 */

/** @type {(chosen: string) => void} */
let onYes = () => {};

/** @param {Question} question */
export const ask = ({ title, text, yes, danger = false, choice, act }) => {
  const dialog = /** @type {HTMLDialogElement} */ (byId('ask'));
  setText(byId('ask-title'), title);
  setText(byId('ask-text'), text);
  const button = byId('ask-yes');
  setText(button, yes);
  button.className = danger ? 'danger' : 'main';
  const label = /** @type {HTMLLabelElement} */ (byId('ask-choice'));
  const select = /** @type {HTMLSelectElement} */ (label.querySelector('select'));
  label.hidden = choice === undefined;
  setText(/** @type {Element} */ (label.querySelector('span')), choice?.label ?? '');
  select.replaceChildren(...(choice?.options ?? []).map(([value, shown]) => new Option(shown, value)));
  onYes = act;
  dialog.showModal();
};

export const prepareAsking = () => {
  const dialog = /** @type {HTMLDialogElement} */ (byId('ask'));
  const select = /** @type {HTMLSelectElement} */ (dialog.querySelector('select'));
  byId('ask-no').addEventListener('click', () => dialog.close());
  byId('ask-yes').addEventListener('click', () => {
    dialog.close();
    onYes(select.value);
  });
};
