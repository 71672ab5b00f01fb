/** As a host stands before a port, and in a URL: an IPv6 address in brackets. */
export const bracketed = (host: string): string => (host.includes(':') ? `[${host}]` : host);

/** `host:port` with brackets around an IPv6 address. */
export const formatHostPort = ({ host, port }: { readonly host: string; readonly port: number | string }): string =>
  `${bracketed(host)}:${port}`;
