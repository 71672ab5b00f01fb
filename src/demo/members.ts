import { type DemoServiceName, demoServices } from './protocol.ts';

/** The program that calls the services; it has a sidecar like everyone else. */
export const clientName = 'demo-client';
export type MeshMember = DemoServiceName | typeof clientName;
export const meshMembers: readonly MeshMember[] = [clientName, ...demoServices];
