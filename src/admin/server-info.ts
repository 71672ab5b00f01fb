import { protoDuration } from './durations.ts';
import type { AdminViews } from './views.ts';

/** Envoy's `envoy.admin.v3.ServerInfo`. */
export const serverInfoJson = (views: AdminViews) => {
  const { version, serviceName, serviceVersion, uptimeMs, overload } = views.serverInfo();
  const uptime = protoDuration(Math.floor(uptimeMs / 1_000) * 1_000);
  return {
    version,
    state: views.readiness().state,
    uptime_current_epoch: uptime,
    uptime_all_epochs: uptime,
    node: { id: serviceName, cluster: serviceName, ...(serviceVersion !== undefined && { metadata: { service_version: serviceVersion } }) },
    overload_actions: overload,
    runtime: `node ${process.version}`,
    pid: process.pid,
  };
};
