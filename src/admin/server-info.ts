import type { RegistrationView } from '../discovery/index.ts';
import { protoDuration } from './durations.ts';
import type { AdminViews } from './views.ts';

/** Envoy's `envoy.admin.v3.ServerInfo`. */
export const serverInfoJson = (views: AdminViews) => {
  const { version, serviceName, serviceVersion, uptimeMs, overload, registration } = views.serverInfo();
  const uptime = protoDuration(Math.floor(uptimeMs / 1_000) * 1_000);
  return {
    version,
    state: views.readiness().state,
    uptime_current_epoch: uptime,
    uptime_all_epochs: uptime,
    node: { id: serviceName, cluster: serviceName, ...(serviceVersion !== undefined && { metadata: { service_version: serviceVersion } }) },
    overload_actions: overload,
    ...(registration !== undefined && { registration: registrationJson(registration) }),
    runtime: `node ${process.version}`,
    pid: process.pid,
  };
};

const registrationJson = ({ state, id, address, port, agent, sinceMs, error }: RegistrationView) => ({
  state,
  id,
  address,
  port,
  agent,
  since: new Date(sinceMs).toISOString(),
  ...(error !== undefined && { error }),
});
