import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fates, reasons } from '../../../src/core/index.ts';
import { envoyEnds, hasResponseFlag, responseCodeDetails, responseFlagsText } from '../../../src/telemetry/access-log/response-flags.ts';
import { endedCall } from './ended-call.ts';

test('every fate has an end in the words of Envoy, and every reason but one a flag', () => {
  assert.deepEqual(Object.keys(envoyEnds).sort(), [...fates].sort());
  for (const fate of fates) assert.match(envoyEnds[fate].details, /^[a-z0-9_.]+(\{[a-z_]+\})?$/, fate);
  assert.deepEqual(
    reasons.filter((reason) => envoyEnds[reason].flag === undefined),
    ['message_too_large'],
  );
  assert.deepEqual([envoyEnds.ok.flag, envoyEnds.app_error.flag], [undefined, undefined]);
});

test('a call that succeeded has no flag, and one that was tried several times says so only where that was in vain', () => {
  assert.equal(responseFlagsText(endedCall(), false), '-');
  assert.equal(responseFlagsText(endedCall({ attempts: 3 }), false), '-');
  const inVain = endedCall({ fate: 'app_error', grpcStatus: 14, attempts: 3, retriesExhausted: true });
  assert.equal(responseFlagsText(inVain, false), 'URX');
  // Somebody further down has asked not to be called again.
  assert.equal(responseFlagsText(endedCall({ fate: 'app_error', attempts: 1, retriesExhausted: true }), false), '-');
});

test('several flags stand in the order in which Envoy prints them', () => {
  const call = endedCall({ fate: 'fault_injected', delayInjected: true, attempts: 2, retriesExhausted: true });
  assert.equal(responseFlagsText(call, false), 'DI,FI,URX');
  assert.equal(responseFlagsText(call, true), 'DelayInjected,FaultInjected,UpstreamRetryLimitExceeded');
  assert.ok(hasResponseFlag(call, ['URX', 'UH']));
  assert.ok(!hasResponseFlag(call, ['UH']));
  assert.ok(hasResponseFlag(call, []));
  assert.ok(!hasResponseFlag(endedCall(), []));
});

test('a caller that resets its call is told from one whose connection is gone', () => {
  const reset = endedCall({ fate: 'cancelled' });
  const gone = endedCall({ fate: 'cancelled', connectionLost: true });
  assert.deepEqual([responseFlagsText(reset, false), responseCodeDetails(reset)], ['DR', 'http2.remote_reset']);
  assert.deepEqual([responseFlagsText(gone, false), responseCodeDetails(gone)], ['DC', 'downstream_remote_disconnect']);
});

test('details say whether the answer had begun', () => {
  const end = (bytesSent: number) => responseCodeDetails(endedCall({ fate: 'upstream_reset', bytesSent }));
  assert.deepEqual(
    [end(0), end(5)],
    ['upstream_reset_before_response_started{remote_reset}', 'upstream_reset_after_response_started{remote_reset}'],
  );
});
