export { registryPaths } from './paths.ts';
export { Registry, type RegistryOptions } from './registry.ts';
