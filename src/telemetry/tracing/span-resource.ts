import type { Attributes } from '@opentelemetry/api';

/** Who the spans are from. What the SDK's exporters ask of a `Resource`, without the package that finds out about the machine. */
export class SpanResource {
  readonly attributes: Attributes;

  constructor(attributes: Attributes) {
    this.attributes = Object.freeze({ ...attributes });
  }

  get asyncAttributesPending(): boolean {
    return false;
  }

  merge(): this {
    return this;
  }

  getRawAttributes(): [string, Attributes[string]][] {
    return Object.entries(this.attributes);
  }
}
