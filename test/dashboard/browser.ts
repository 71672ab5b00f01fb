import { after } from 'node:test';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { peerProgram } from '../peers/peer-programs.ts';

/** Headless Chromium; `skip` says how to get it where it is missing. */
export const browserProgram = await peerProgram('chromium');

let browser: Promise<Browser> | undefined;
// Registered before a file's leak check, which would else find the browser.
after(async () => (await browser)?.close());

export interface OpenedPage {
  readonly page: Page;
  /** What the page has complained of: errors of the console and of scripts, and requests to anywhere but the sidecar. */
  readonly complaints: string[];
  close(): Promise<void>;
}

/** A page in a profile of its own that has loaded `url`. Requests to other origins fail, and are complaints. */
export const openPage = async (url: string, options: BrowserContextOptions = {}): Promise<OpenedPage> => {
  browser ??= chromium.launch({ executablePath: browserProgram.path });
  const context = await (await browser).newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  const complaints: string[] = [];
  const { origin } = new URL(url);
  page.on('console', (line) => {
    if (line.type() === 'error' || line.type() === 'warning') complaints.push(`console: ${line.text()}`);
  });
  page.on('pageerror', (error) => complaints.push(`error: ${error.stack ?? error.message}`));
  page.on('request', (request) => {
    if (!request.url().startsWith(`${origin}/`) && !request.url().startsWith('data:')) complaints.push(`request: ${request.url()}`);
  });
  await page.goto(url, { waitUntil: 'domcontentloaded' });
  return { page, complaints, close: () => context.close() };
};
