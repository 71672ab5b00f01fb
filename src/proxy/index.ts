export { DirectionProxy } from './direction-proxy.ts';
export { Listener, type ListenerOptions, type ListenerTls } from './listener.ts';
export type { ConnectionLimitOptions } from './overload/connection-limits.ts';
export { type DrainOptions, type ProxyOptions, SidecarProxy } from './sidecar-proxy.ts';
