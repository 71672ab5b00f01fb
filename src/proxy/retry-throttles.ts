import { RetryThrottle, type RetryThrottleOptions } from '../resilience/index.ts';

/** The tokens of `retryThrottling` by cluster, which outlive a reload that changes nothing of them. */
export class RetryThrottles {
  readonly #throttles = new Map<string, { readonly options: RetryThrottleOptions; readonly throttle: RetryThrottle }>();

  /** Names are those of clusters that exist, so there are not many. */
  of(cluster: string, options: RetryThrottleOptions): RetryThrottle {
    const known = this.#throttles.get(cluster);
    if (known?.options.maxTokens === options.maxTokens && known.options.tokenRatio === options.tokenRatio) return known.throttle;
    const throttle = new RetryThrottle(options);
    this.#throttles.set(cluster, { options, throttle });
    return throttle;
  }
}
