/** What stands in the page is made of nodes and texts alone, never of markup: paths and messages come from the network. */

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Readonly<Record<string, string | undefined>>} [attributes]
 * @param {readonly (Node | string)[]} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export const el = (tag, attributes = {}, ...children) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== undefined) made.setAttribute(name, value);
  made.append(...children);
  return made;
};

/** @param {string} id @returns {HTMLElement} */
export const byId = (id) => {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page has no #${id}`);
  return found;
};

/** Writes only what has changed: a write makes the browser lay out the page again. @param {Node} node @param {string} text */
export const setText = (node, text) => {
  if (node.textContent !== text) node.textContent = text;
};

/** @param {Element} node @param {string} name @param {string | undefined} value `undefined`: without it. */
export const setAttribute = (node, name, value) => {
  if (value === undefined) node.removeAttribute(name);
  else if (node.getAttribute(name) !== value) node.setAttribute(name, value);
};

/** @type {WeakMap<Element, Map<string, Element>>} */
const known = new WeakMap();

/**
 * Makes the children of `parent` those of `items`. The node of a key stays as long as its key does: it keeps focus, and what is open in it.
 *
 * @template T
 * @template {Element} N
 * @param {Element} parent
 * @param {readonly T[]} items
 * @param {(item: T) => string} keyOf unique
 * @param {(item: T) => N} create
 * @param {(node: N, item: T) => void} update
 */
export const showList = (parent, items, keyOf, create, update) => {
  const before = /** @type {Map<string, N>} */ (known.get(parent) ?? new Map());
  /** @type {Map<string, N>} */
  const now = new Map();
  for (const item of items) {
    const key = keyOf(item);
    const node = before.get(key) ?? create(item);
    now.set(key, node);
    update(node, item);
  }
  for (const [key, node] of before) if (!now.has(key)) node.remove();
  // What else stands in it (a table's head) stays before them.
  const ours = new Set(/** @type {Iterable<Element>} */ (now.values()));
  let at = parent.firstElementChild;
  while (at !== null && !ours.has(at)) at = at.nextElementSibling;
  for (const node of now.values()) {
    if (node === at) at = at.nextElementSibling;
    else parent.insertBefore(node, at);
  }
  known.set(parent, now);
};
