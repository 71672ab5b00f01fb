/** The certificates of a PEM text in their order, each as PEM; whatever else it holds (keys, comments) is passed over. */
export const certificateBlocks = (pem: string): readonly string[] =>
  pem.match(/-----BEGIN (?:TRUSTED )?CERTIFICATE-----[\s\S]*?-----END (?:TRUSTED )?CERTIFICATE-----/g) ?? [];
