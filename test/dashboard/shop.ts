import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { GrpcStatus } from '../../src/grpc/index.ts';
import type { Caller } from '../mesh/caller.ts';
import { MeshCertificates, startSidecar, type TestSidecar } from '../mesh/mesh.ts';
import { answerOk, answerTrailersOnly, closedPort, type Handler, startUpstream } from '../mesh/upstream.ts';

/** A sidecar beside a shop's checkout, which calls four services: one well, one with a bad endpoint, one that fails, one that is slow. */
export interface Shop {
  readonly sidecar: TestSidecar;
  readonly url: string;
  /** One round of calls, in and out. */
  round(): Promise<void>;
  /** What `recommendations` answers from here on. */
  heal(): void;
}

const policies = (
  places: Readonly<Record<'payments' | 'bad' | 'inventory' | 'recommendations' | 'shipping' | 'nobody', string>>,
): string => `
routes:
  - name: charge
    match: { prefix: /shop.Payments/ }
    route:
      cluster: payments
      timeout: 2s
      retry_policy: { retry_on: "unavailable,connect-failure", num_retries: 2 }
      idempotent: true
  - name: reserve
    match: { path: /shop.Inventory/Reserve }
    route: { cluster: inventory, timeout: 1s }
  - name: browse
    match: { prefix: /shop.Inventory/ }
    route: { cluster: inventory, timeout: 500ms }
  - name: recommend
    match: { prefix: /shop.Recommendations/ }
    route: { cluster: recommendations, timeout: 1s }
  - name: track
    match: { prefix: /shop.Shipping/ }
    route: { cluster: shipping, timeout: 60ms }
clusters:
  payments:
    endpoints: ["${places.payments}", "${places.bad}"]
    tls: { mode: disable }
    outlier_detection: { consecutive_5xx: 3, interval: 1s, base_ejection_time: 600s, max_ejection_percent: 50 }
    circuit_breakers: { consecutive_failures: 100 }
  inventory:
    endpoints: ["${places.inventory}"]
    tls: { mode: disable }
  recommendations:
    endpoints: ["${places.recommendations}", "${places.nobody}"]
    tls: { mode: disable }
    circuit_breakers: { consecutive_failures: 3, recovery_timeout: 300s }
  shipping:
    endpoints: ["${places.shipping}"]
    tls: { mode: disable }
    circuit_breakers: { consecutive_failures: 1000 }
`;

/** Answers after some milliseconds. */
const slowly =
  (ms: () => number): Handler =>
  (call) =>
    void setTimeout(() => {
      if (!call.stream.destroyed) answerOk(call);
    }, ms()).unref();

export const startShop = async (t: TestContext): Promise<Shop> => {
  const certificates = await MeshCertificates.create(t);
  const pair = await certificates.pair('checkout', 60);
  const lasting = { CLIENT_CERT_PATH: join(certificates.folder, 'tls.crt'), CLIENT_KEY_PATH: join(certificates.folder, 'tls.key') };
  writeFileSync(lasting.CLIENT_CERT_PATH, pair.certPem);
  writeFileSync(lasting.CLIENT_KEY_PATH, pair.keyPem, { mode: 0o600 });
  let healed = false;
  const payments = await startUpstream(
    t,
    slowly(() => 4 + 6 * Math.random()),
  );
  const bad = await startUpstream(t, (call) => answerTrailersOnly(call, GrpcStatus.UNAVAILABLE));
  const inventory = await startUpstream(t, (call, index) =>
    index % 40 === 39 ? answerTrailersOnly(call, GrpcStatus.NOT_FOUND) : slowly(() => 1 + 3 * Math.random())(call, index),
  );
  const recommendations = await startUpstream(t, (call) => (healed ? answerOk(call) : answerTrailersOnly(call, GrpcStatus.UNAVAILABLE)));
  const shipping = await startUpstream(
    t,
    slowly(() => (Math.random() < 0.03 ? 200 : 15 + 15 * Math.random())),
  );
  const service = await startUpstream(
    t,
    slowly(() => 8 + 25 * Math.random() ** 3),
  );
  const sidecar = await startSidecar(t, {
    name: 'checkout',
    localService: service.port,
    certificates: { CA_CERT_PATH: join(certificates.folder, 'ca.crt'), ...lasting },
    policies: policies({
      payments: payments.address,
      bad: bad.address,
      inventory: inventory.address,
      recommendations: recommendations.address,
      shipping: shipping.address,
      nobody: `127.0.0.1:${await closedPort()}`,
    }),
    environment: { INBOUND_TLS: 'permissive', SERVICE_VERSION: 'v2.14.0' },
  });
  const out: Caller = sidecar.caller();
  const into: Caller = sidecar.inboundCaller();
  let rounds = 0;
  return {
    sidecar,
    url: `http://127.0.0.1:${sidecar.adminPort}/`,
    heal: () => {
      healed = true;
    },
    round: async () => {
      rounds++;
      const calls = [
        out.call({ path: '/shop.Payments/Charge' }),
        out.call({ path: '/shop.Inventory/Reserve' }),
        out.call({ path: '/shop.Inventory/List' }),
        out.call({ path: '/shop.Shipping/Track' }),
        into.call({ path: '/shop.Checkout/Start' }),
        into.call({ path: '/shop.Checkout/Pay' }),
        ...(rounds % 10 === 0 ? [out.call({ path: '/shop.Recommendations/ForCart' })] : []),
      ];
      await Promise.all(calls);
    },
  };
};
