import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { BrowserContextOptions } from 'playwright-core';
import { checkLeaks } from '../harness/leak-check.ts';
import { startSidecar } from '../mesh/mesh.ts';
import { until } from '../mesh/upstream.ts';
import { browserProgram, type OpenedPage, openPage } from './browser.ts';
import { type Shop, startShop } from './shop.ts';

checkLeaks();

const { skip } = browserProgram;
const contrast = readFileSync(join(import.meta.dirname, 'contrast.js'), 'utf8');

/** A page that shows the sidecar; it must have complained of nothing when `work` is done. */
const withPage = async (
  url: string,
  work: (page: OpenedPage['page'], opened: OpenedPage) => Promise<void>,
  options?: BrowserContextOptions,
) => {
  const opened = await openPage(url, options);
  try {
    await opened.page.locator('#link.live').waitFor();
    await work(opened.page, opened);
    assert.deepEqual(opened.complaints, []);
  } finally {
    await opened.close();
  }
};

const rounds = async (shop: Shop, count: number): Promise<void> => {
  for (let i = 0; i < count; i++) await shop.round();
};

/** A shop whose breaker of `recommendations` has opened, and whose bad endpoint of `payments` is ejected. */
const ailingShop = async (t: TestContext): Promise<Shop> => {
  const shop = await startShop(t);
  await rounds(shop, 40);
  return shop;
};

const stateOf = async (shop: Shop, cluster: string): Promise<string> => {
  const { text } = await shop.sidecar.admin('GET', '/clusters?format=json');
  const { cluster_statuses } = JSON.parse(text) as { cluster_statuses: { name: string; circuit_breaker: { state: string } }[] };
  return cluster_statuses.find(({ name }) => name === cluster)?.circuit_breaker.state ?? 'none';
};

const streams = async (shop: Shop): Promise<number> => {
  const { text } = await shop.sidecar.admin('GET', '/stats?filter=admin.event_streams_active');
  return Number(text.split(': ')[1]);
};

test('a sidecar that nothing is wrong with says so, and nothing else', { skip }, async (t) => {
  const { adminPort } = await startSidecar(t, {});
  await withPage(`http://127.0.0.1:${adminPort}/`, async (page) => {
    await page.getByText(/^Nothing needs attention/).waitFor();
    assert.equal(await page.locator('#attention-list li').count(), 1);
  });
});

test('a breaker that real failures have opened is seen, and a click resets it', { skip }, async (t) => {
  const shop = await ailingShop(t);
  await withPage(shop.url, async (page) => {
    const row = page.locator('#cluster-recommendations');
    await row.getByText('open', { exact: true }).waitFor();
    await page.locator('#attention-list').getByText('recommendations: breaker open').waitFor();
    assert.match(await page.title(), /^\(\d+\) checkout – Outrider$/);
    const failures = page.locator('#failures-body');
    await failures.getByText('circuit_open').first().waitFor();
    await failures
      .getByText(/Circuit breaker OPEN/)
      .first()
      .waitFor();
    await failures.getByText('route_timeout').or(failures.getByText('app_error')).first().waitFor();
    shop.heal();
    await row.getByRole('button', { name: 'Reset the breaker of recommendations' }).click();
    await page.locator('#toast', { hasText: 'The breaker of recommendations is closed' }).waitFor();
    await row.getByText('closed', { exact: true }).waitFor();
    await page.locator('#attention-list').getByText('recommendations: breaker open').waitFor({ state: 'detached' });
  });
  assert.equal(await stateOf(shop, 'recommendations'), 'CLOSED');
  assert.equal((await shop.sidecar.caller().call({ path: '/shop.Recommendations/ForCart' })).status, 0);
});

test('an ejected endpoint is seen with its reason, and a click takes it back', { skip }, async (t) => {
  const shop = await ailingShop(t);
  await withPage(shop.url, async (page) => {
    await page.locator('#attention-list').getByText('payments: 1 of 2 endpoints unhealthy').click();
    const inner = page.locator('#cluster-payments-endpoints');
    await inner.getByText(/ejected \(consecutive_5xx\) since/).waitFor();
    await inner.getByRole('button', { name: /^Take back/ }).click();
    await inner.getByText('ejected', { exact: true }).waitFor({ state: 'detached' });
  });
});

test('everything can be done by keyboard alone, and the focus is always seen', { skip }, async (t) => {
  const shop = await startShop(t);
  await rounds(shop, 3);
  await withPage(shop.url, async (page) => {
    await page.locator('#cluster-inventory').waitFor();
    const focused = () => page.evaluate<string>('document.activeElement.getAttribute("aria-label") ?? document.activeElement.textContent');
    const tabTo = async (wanted: string): Promise<void> => {
      const seen: string[] = [];
      for (let i = 0; i < 150; i++) {
        await page.keyboard.press('Tab');
        const name = await focused();
        seen.push(name);
        const outline = await page.evaluate<string>('getComputedStyle(document.activeElement).outlineStyle');
        assert.notEqual(outline, 'none', `the focus on "${name}" is not seen`);
        if (name === wanted) return;
      }
      assert.fail(`Tab never came to "${wanted}", but to ${seen.join(' | ')}`);
    };
    await page.keyboard.press('Tab');
    assert.equal(await focused(), 'Skip to the content');
    await page.keyboard.press('Enter');
    await tabTo('Calls/s');
    const tip = page.locator('#tip.shown');
    assert.match(await tip.innerText(), /a second, in the last minute/);
    assert.equal(await page.evaluate('document.activeElement.getAttribute("aria-describedby")'), 'tip');
    await page.keyboard.press('Escape');
    await tip.waitFor({ state: 'detached' });
    await tabTo('inventory');
    await page.keyboard.press('Enter');
    await page.locator('#cluster-inventory-endpoints').getByRole('columnheader', { name: 'Endpoint' }).waitFor();
    assert.equal(await page.locator('#cluster-inventory .toggle').getAttribute('aria-expanded'), 'true');
    await tabTo('Hold open the breaker of inventory');
    await page.keyboard.press('Enter');
    const dialog = page.getByRole('dialog', { name: 'Hold the breaker of inventory open?' });
    await dialog.waitFor();
    await page.keyboard.press('Escape');
    await dialog.waitFor({ state: 'hidden' });
    assert.equal(await focused(), 'Hold open the breaker of inventory', 'the focus is back');
    assert.equal(await stateOf(shop, 'inventory'), 'CLOSED', 'Escape changes nothing');
    await page.keyboard.press('Enter');
    await dialog.waitFor();
    await dialog.getByRole('combobox').press('ArrowDown');
    await tabTo('Hold open');
    await page.keyboard.press('Enter');
    await page
      .locator('#cluster-inventory')
      .getByText(/held by hand until/)
      .waitFor();
    assert.equal(await stateOf(shop, 'inventory'), 'OPEN');
  });
});

for (const colorScheme of ['light', 'dark'] as const) {
  test(`every text is readable on what lies behind it: ${colorScheme}`, { skip }, async (t) => {
    const shop = await ailingShop(t);
    await withPage(
      shop.url,
      async (page) => {
        await page.locator('#failures-body .failure').first().waitFor();
        await page.locator('#cluster-payments .toggle').click();
        const ground = await page.evaluate<string>('getComputedStyle(document.body).backgroundColor');
        assert.equal(ground, colorScheme === 'light' ? 'rgb(244, 246, 249)' : 'rgb(14, 18, 24)');
        const { looked, found } = await page.evaluate<{ looked: number; found: string[] }>(contrast);
        assert.ok(looked > 150, `only ${looked} texts`);
        assert.deepEqual(found, []);
      },
      { colorScheme },
    );
  });
}

test('the colours can be chosen, and the choice stays', { skip }, async (t) => {
  const shop = await startShop(t);
  await withPage(
    shop.url,
    async (page) => {
      const ground = () => page.evaluate<string>('getComputedStyle(document.body).backgroundColor');
      const light = await ground();
      const button = page.locator('#theme');
      await button.click();
      assert.equal(await button.innerText(), 'Colours: light');
      await button.click();
      assert.equal(await button.innerText(), 'Colours: dark');
      assert.notEqual(await ground(), light);
      await page.reload();
      await page.locator('#link.live').waitFor();
      assert.equal(await button.innerText(), 'Colours: dark');
      assert.notEqual(await ground(), light);
    },
    { colorScheme: 'light' },
  );
});

for (const width of [390, 1280]) {
  test(`${width} pixels wide: nothing sticks out, and nothing moves while data comes`, { skip }, async (t) => {
    const shop = await startShop(t);
    await withPage(
      shop.url,
      async (page) => {
        await page.evaluate(
          'window.moved = []; new PerformanceObserver((list) => { for (const entry of list.getEntries()) window.moved.push({ by: entry.value, what: entry.sources.map(({ node }) => node?.id || node?.className || node?.nodeName) }); }).observe({ type: "layout-shift", buffered: true }); 0',
        );
        await rounds(shop, 30);
        await page.locator('#attention-list').getByText('recommendations: breaker open').waitFor();
        await page.locator('#failures-body .failure').first().waitFor({ state: 'attached' });
        const moved = await page.evaluate<{ by: number; what: string[] }[]>('window.moved');
        const sum = moved.reduce((total, { by }) => total + by, 0);
        assert.ok(sum < 0.01, JSON.stringify(moved));
        for (const toggle of await page.locator('.toggle').all()) await toggle.click();
        const wide = await page.evaluate<number>('document.documentElement.scrollWidth - document.documentElement.clientWidth');
        assert.ok(wide <= 0, `the page scrolls sideways by ${wide} pixels`);
        const cut = await page.evaluate<string[]>(
          '[...document.querySelectorAll("main td, main th, main dd, main .badge, main button")].filter((node) => node.checkVisibility() && !node.closest("#attention, thead, .hidden") && node.getBoundingClientRect().right > document.documentElement.clientWidth).map((node) => node.textContent)',
        );
        assert.deepEqual(cut, []);
      },
      { viewport: { width, height: 900 } },
    );
  });
}

test('who wants less motion gets none', { skip }, async (t) => {
  const shop = await startShop(t);
  const motion =
    '[getComputedStyle(document.documentElement).scrollBehavior, getComputedStyle(document.querySelector("button")).transitionDuration]';
  await withPage(shop.url, async (page) => assert.deepEqual(await page.evaluate(motion), ['auto', '0s']), { reducedMotion: 'reduce' });
});

test('what comes from the network is shown as text, and never runs', { skip }, async (t) => {
  const shop = await startShop(t);
  const hostile = '/acme.<script>window.broken=1</script><img/src=x/onerror=window.broken=1>/Say';
  await withPage(shop.url, async (page) => {
    const scripts = await page.evaluate<number>('document.scripts.length');
    await shop.sidecar.caller().call({ path: hostile, authority: 'nobody"><script>window.broken=1</script>' });
    await shop.sidecar.caller().call({ path: hostile, authority: 'nobody' });
    await page.locator('#failures-body').getByText(hostile).first().waitFor();
    assert.equal(await page.evaluate('window.broken'), undefined);
    assert.equal(await page.evaluate('document.scripts.length'), scripts);
    assert.equal(await page.locator('#failures-body img').count(), 0);
  });
});

test('the page says that it has lost the sidecar, and goes on when there is one again', { skip }, async (t) => {
  const first = await startSidecar(t, { name: 'first', endsItself: true });
  const { page, close, complaints } = await openPage(`http://127.0.0.1:${first.adminPort}/`);
  try {
    await page.getByRole('heading', { name: 'first' }).waitFor();
    await first.sidecar.close();
    await page.getByText(/The sidecar has not answered since/).waitFor();
    assert.equal(await page.locator('#link-text').innerText(), 'lost');
    await startSidecar(t, { name: 'second', environment: { ADMIN_PORT: String(first.adminPort) } });
    await page.getByRole('heading', { name: 'second' }).waitFor();
    await page.locator('#link.live').waitFor();
    assert.equal(await page.getByText(/The sidecar has not answered since/).count(), 0);
    assert.ok(
      complaints.every((complaint) =>
        /ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED|ERR_EMPTY_RESPONSE|ERR_CONNECTION_RESET/.test(complaint),
      ),
      complaints.join('\n'),
    );
  } finally {
    await close();
  }
});

test('a page that nobody sees lets go, and comes back', { skip }, async (t) => {
  const shop = await startShop(t);
  await withPage(shop.url, async (page) => {
    const see = (hidden: boolean) =>
      page.evaluate(
        `Object.defineProperty(document, 'hidden', { configurable: true, get: () => ${hidden} }); document.dispatchEvent(new Event('visibilitychange'));`,
      );
    assert.equal(await streams(shop), 1);
    await see(true);
    while ((await streams(shop)) > 0);
    await page.getByText('resting').waitFor();
    await see(false);
    await page.getByText('live', { exact: true }).last().waitFor();
    while ((await streams(shop)) === 0);
  });
});

test('drain asks first; another site cannot drain, and the page can', { skip }, async (t) => {
  const shop = await startShop(t);
  const stranger = createServer((_request, response) => {
    response.setHeader('content-type', 'text/html');
    response.end('<title>stranger</title><link rel="icon" href="data:,">');
  }).listen(0, '127.0.0.1');
  await once(stranger, 'listening');
  try {
    const opened = await openPage(`http://127.0.0.1:${(stranger.address() as AddressInfo).port}/`);
    const answered = opened.page.waitForResponse((response) => response.url().endsWith('/drain'));
    await opened.page.evaluate(`fetch('${shop.url}drain', { method: 'POST', mode: 'no-cors' }).then(() => 0)`);
    assert.equal((await answered).status(), 403);
    const followed = await opened.page.evaluate(
      `new Promise((resolve) => { const source = new EventSource('${shop.url}events'); source.onopen = () => resolve('open'); source.onerror = () => { source.close(); resolve('refused'); } })`,
    );
    assert.equal(followed, 'refused');
    assert.equal(await streams(shop), 0);
    await opened.close();
  } finally {
    stranger.closeAllConnections();
    stranger.close();
  }
  await withPage(shop.url, async (page) => {
    await page.getByRole('button', { name: 'Drain…' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Cancel' }).click();
    assert.match((await shop.sidecar.admin('GET', '/ready')).text, /LIVE/);
    await page.getByRole('button', { name: 'Read again now' }).click();
    await page.getByText('Policies and certificates were read again.').waitFor();
    await page.getByRole('button', { name: 'Drain…' }).click();
    const answered = page.waitForResponse((response) => response.url().endsWith('/drain'));
    await page.getByRole('dialog').getByRole('button', { name: 'Drain and end' }).click();
    assert.equal((await answered).status(), 200);
  }).catch((error: Error) => {
    // The sidecar ends, and the page is told so by its browser.
    if (!/ERR_/.test(error.message)) throw error;
  });
  await until(() => shop.sidecar.log.some(({ msg }) => msg === 'draining'), 'the drain begins');
});
