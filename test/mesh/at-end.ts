import type { TestContext } from 'node:test';

const endings = new WeakMap<TestContext, (() => unknown)[]>();

/** Ends things with the test in the reverse of the order in which they began: clients before sidecars before services. */
export const atEnd = (t: TestContext, end: () => unknown): void => {
  const known = endings.get(t);
  if (known !== undefined) {
    known.push(end);
    return;
  }
  const stack = [end];
  endings.set(t, stack);
  t.after(async () => {
    const errors: unknown[] = [];
    for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
      try {
        await next();
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length > 0) throw errors[0];
  });
};
