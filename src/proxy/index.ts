export { DirectionProxy } from './direction-proxy.ts';
export { Listener, type ListenerOptions, type ListenerTls } from './listener.ts';
export { Proxy, type ProxyOptions } from './proxy.ts';
