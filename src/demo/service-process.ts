import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { type Clock, ConfigurationError, holdProcess } from '../core/index.ts';
import { demoServices, isDemoService } from './protocol.ts';
import { DemoService } from './service.ts';

/** What the demo tells a service while it runs: one JSON object per line on its stdin. */
export type ServiceOrder =
  | { readonly order: 'connect'; readonly address: string }
  | { readonly order: 'delay'; readonly ms: number }
  | { readonly order: 'fail_every'; readonly calls: number };

export interface ServiceProcessOptions {
  readonly name: string;
  readonly port: number;
  readonly clock: Clock;
  /** `host:port` of its sidecar's outbound listener, where that is known before it starts. */
  readonly outbound?: string;
  /** Orders, one per line; the service ends with them. Without them it obeys `stop` alone. */
  readonly orders: Readable | undefined;
  readonly say: (line: string) => void;
  readonly stop: AbortSignal;
}

const obey = (service: DemoService, order: ServiceOrder): void => {
  switch (order.order) {
    case 'connect':
      service.connect(order.address);
      return;
    case 'delay':
      service.misbehaviour.delayMs = order.ms;
      return;
    case 'fail_every':
      service.misbehaviour.failEvery = order.calls;
      return;
  }
};

/**
 * Runs one service of the demo mesh until `stop`, or until its orders end: that is how it notices that the demo itself was
 * killed, and does not stay behind. Says `{"msg":"ready","port":N}` once it listens.
 */
export const runDemoService = async ({ name, port, clock, outbound, orders, say, stop }: ServiceProcessOptions): Promise<number> => {
  if (!isDemoService(name))
    throw new ConfigurationError(`--name ${name}: no service of the demo`, { remedy: `write one of ${demoServices.join(', ')}` });
  const release = holdProcess();
  const service = await DemoService.start({ name, port, clock });
  if (outbound !== undefined) service.connect(outbound);
  const lines = orders === undefined ? undefined : createInterface({ input: orders });
  lines?.on('line', (line) => obey(service, JSON.parse(line) as ServiceOrder));
  say(`${JSON.stringify({ msg: 'ready', port: service.port })}\n`);
  await new Promise<void>((resolve) => {
    lines?.on('close', resolve);
    stop.addEventListener('abort', () => resolve());
  });
  lines?.close();
  orders?.destroy();
  service.stop();
  release();
  return 0;
};
