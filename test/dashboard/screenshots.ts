/**
 * Makes the pictures of the dashboard for docs/images: a real sidecar under calls that partly fail, in headless Chromium.
 *
 *     npm run screenshots            needs Chromium (Debian: chromium, or CHROMIUM_BIN); takes two minutes
 *     npm run screenshots -- quick   after seconds, with charts that have hardly begun
 */
import { mkdirSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { openPage } from './browser.ts';
import { startShop } from './shop.ts';

const folder = resolve(process.env['SCREENSHOTS'] ?? join(import.meta.dirname, '../../docs/images'));
const trafficMs = process.argv.includes('quick') ? 8_000 : 110_000;
const largestBytes = 200_000;

const pictures = [
  { name: 'dashboard-light', viewport: { width: 1280, height: 1190 }, colorScheme: 'light', opened: false },
  { name: 'dashboard-dark', viewport: { width: 1280, height: 1190 }, colorScheme: 'dark', opened: true },
  { name: 'dashboard-narrow', viewport: { width: 390, height: 1600 }, colorScheme: 'light', opened: false },
] as const;

test('pictures of the dashboard', { timeout: 300_000 }, async (t) => {
  mkdirSync(folder, { recursive: true });
  const shop = await startShop(t);
  // A page that looks on keeps points of two seconds; without one they are of fifteen.
  const onlooker = await openPage(shop.url);
  let done = false;
  const traffic = (async () => {
    for (let i = 0; !done; i++) await Promise.all([shop.round(), sleep(60 + 40 * Math.sin(i / 60))]);
  })();
  await sleep(trafficMs);
  for (const { name, viewport, colorScheme, opened } of pictures) {
    const { page, close } = await openPage(shop.url, { viewport, colorScheme });
    await page.locator('#link.live').waitFor();
    if (opened) await page.locator('#cluster-payments .toggle').click();
    else await page.locator('#cluster-payments').waitFor();
    await page.mouse.move(0, 0);
    await page.evaluate('document.activeElement?.blur()');
    await sleep(500);
    const path = join(folder, `${name}.png`);
    await page.screenshot({ path, animations: 'disabled' });
    const { size } = statSync(path);
    console.log(`${path} ${Math.round(size / 1024)} KiB`);
    if (size > largestBytes) throw new Error(`${path} has ${size} bytes: more than ${largestBytes}`);
    if (process.env['SCREENSHOTS'] !== undefined) await page.screenshot({ path: join(folder, `${name}-whole.png`), fullPage: true });
    await close();
  }
  done = true;
  await traffic;
  await onlooker.close();
});
