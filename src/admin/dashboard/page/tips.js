import { byId, el } from './dom.js';

/** A word that says what it means when it is pointed at or has the focus. @param {string} text @param {string} tip */
export const term = (text, tip) => el('span', { class: 'term', tabindex: '0', 'data-tip': tip }, text);

const gapPx = 6;

/** One tooltip for the whole page: it is cut by no table that scrolls. */
export const showTips = () => {
  const tip = byId('tip');
  /** @type {Element | null} */
  let owner = null;

  const hide = () => {
    owner?.removeAttribute('aria-describedby');
    owner = null;
    tip.classList.remove('shown');
  };
  /** @param {Element | null} wanted */
  const show = (wanted) => {
    if (wanted === owner) return;
    hide();
    const text = wanted?.getAttribute('data-tip');
    if (wanted === null || !text) return;
    owner = wanted;
    tip.textContent = text;
    wanted.setAttribute('aria-describedby', 'tip');
    const place = wanted.getBoundingClientRect();
    const { width, height } = tip.getBoundingClientRect();
    const below = place.bottom + gapPx + height <= innerHeight;
    tip.style.left = `${Math.max(8, Math.min(place.left, innerWidth - width - 8))}px`;
    tip.style.top = `${below ? place.bottom + gapPx : Math.max(8, place.top - gapPx - height)}px`;
    tip.classList.add('shown');
  };
  /** @param {Event} event */
  const onEvent = ({ target }) => show(target instanceof Element ? target.closest('[data-tip]') : null);
  document.addEventListener('pointerover', onEvent);
  document.addEventListener('focusin', onEvent);
  document.addEventListener('focusout', hide);
  document.addEventListener('keydown', ({ key }) => {
    if (key === 'Escape') hide();
  });
  addEventListener('scroll', hide, { capture: true, passive: true });
};
