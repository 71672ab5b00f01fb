import type { TargetMaker } from './target.ts';

/** Every target by its name. Each loads what it needs and no more, since whatever is loaded is counted for coverage. */
export const targets: Readonly<Record<string, TargetMaker>> = {
  frames: async () => new (await import('./targets/frames.ts')).FramesTarget(),
  hpack: async () => new (await import('./targets/hpack.ts')).HpackTarget(),
  connection: async () => new (await import('./targets/connection.ts')).ConnectionTarget(),
  proxy: async () => await (await import('./targets/proxy.ts')).ProxyTarget.start(),
  'grpc-text': async () => new (await import('./targets/grpc-text.ts')).GrpcTextTarget(),
  policy: async () => new (await import('./targets/policy.ts')).PolicyTarget(),
  discovery: async () => new (await import('./targets/discovery.ts')).DiscoveryTarget(),
  registry: async () => new (await import('./targets/registry.ts')).RegistryTarget(),
  consul: async () => new (await import('./targets/consul.ts')).ConsulTarget(),
  health: async () => new (await import('./targets/health.ts')).HealthTarget(),
  certificates: async () => new (await import('./targets/certificates.ts')).CertificatesTarget(),
};
