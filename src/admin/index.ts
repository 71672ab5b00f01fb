export type { AdminPath } from './admin-path.ts';
export { closeServer } from './close-server.ts';
export { type FailedCall, RecentFailures } from './dashboard/recent-failures.ts';
export { type GrpcAdminHandle, type GrpcAdminOptions, startGrpcAdmin } from './load-grpc-admin.ts';
export { adminPaths } from './paths.ts';
export { AdminProblem } from './reply.ts';
export { RequestGuard } from './request-guard.ts';
export { AdminServer, type AdminServerOptions } from './server.ts';
export type {
  AdminViews,
  BreakerAction,
  BreakerActionResult,
  BreakerTarget,
  BreakerView,
  CertificateFileView,
  CertificatesView,
  ClusterView,
  HostView,
  ListenerView,
  ReadinessView,
  ReloadPart,
  ServerInfoView,
  ServerState,
  UnejectResult,
} from './views.ts';
