import { formatHostPort } from '../core/index.ts';
import { clusterConfigJson, routeConfigJson } from './policy-pages.ts';
import { redacted, secretName } from './secrets.ts';
import type { AdminViews, ListenerView } from './views.ts';

const placeName = /_(PATH|FILE)$/i;

/** Settings as they may be shown: values of secrets and passwords inside of URLs are gone, paths of files with secrets stay. */
const redactSettings = (settings: Readonly<Record<string, string>>): Readonly<Record<string, string>> =>
  Object.fromEntries(
    Object.entries(settings).map(([name, value]) => [
      name,
      secretName.test(name) && !placeName.test(name) ? redacted : value.replaceAll(/(\/\/)[^/?#\s@]*@/g, `$1${redacted}@`),
    ]),
  );

const socketAddress = ({ address, port }: ListenerView) => ({ socket_address: { address, port_value: port } });

/** `/listeners?format=json`: Envoy's `envoy.admin.v3.Listeners`. */
export const listenersJson = (listeners: readonly ListenerView[]) => ({
  listener_statuses: listeners.map((listener) => ({
    name: listener.name,
    local_address: socketAddress(listener),
    ...(listener.connections !== undefined && { connections: listener.connections }),
  })),
});

export const listenersText = (listeners: readonly ListenerView[]): string =>
  listeners.map(({ name, address, port }) => `${name}::${formatHostPort({ host: address, port })}\n`).join('');

const type = (name: string) => `type.googleapis.com/envoy.admin.v3.${name}`;

/** Envoy's `envoy.admin.v3.ConfigDump`: what is in force, in one answer, without secrets. */
export const configDumpJson = (views: AdminViews) => {
  const { serviceName, version } = views.serverInfo();
  const table = views.policies();
  return {
    configs: [
      {
        '@type': type('BootstrapConfigDump'),
        bootstrap: { node: { id: serviceName, cluster: serviceName, user_agent_name: 'outrider', user_agent_version: version } },
        settings: redactSettings(views.settings()),
      },
      {
        '@type': type('ListenersConfigDump'),
        static_listeners: views.listeners().map((listener) => ({ listener: { name: listener.name, address: socketAddress(listener) } })),
      },
      {
        '@type': type('ClustersConfigDump'),
        version_info: table.version,
        static_clusters: views.clusters().map(({ policy, name }) => ({ cluster: clusterConfigJson({ ...policy, name }) })),
      },
      {
        '@type': type('RoutesConfigDump'),
        version_info: table.version,
        static_route_configs: [
          { route_config: routeConfigJson('outbound', table.outbound) },
          { route_config: routeConfigJson('inbound', table.inbound) },
        ],
      },
    ],
  };
};
