import { fileURLToPath } from 'node:url';
import type { MethodDefinition, ServiceDefinition } from '@grpc/grpc-js';
import { loadSync, type PackageDefinition } from '@grpc/proto-loader';

export const demoServices = ['auth-svc', 'learner-svc', 'event-collector-svc'] as const;
export type DemoServiceName = (typeof demoServices)[number];

export const isDemoService = (name: string): name is DemoServiceName => (demoServices as readonly string[]).includes(name);

/** The gRPC service that each service of the mesh offers. */
export const grpcServiceOf: Readonly<Record<DemoServiceName, string>> = {
  'auth-svc': 'auth.AuthService',
  'learner-svc': 'learner.LearnerService',
  'event-collector-svc': 'events.EventCollectorService',
};

export interface AuthenticateRequest {
  readonly user: string;
}
export interface AuthenticateReply {
  readonly token: string;
  readonly displayName: string;
  readonly withoutProfile: boolean;
  readonly reason: string;
}
export interface GetProfileRequest {
  readonly user: string;
}
export interface Profile {
  readonly user: string;
  readonly displayName: string;
}
export interface WatchLessonsRequest {
  readonly user: string;
  readonly count: number;
}
export interface Lesson {
  readonly number: number;
  readonly title: string;
}
export interface Event {
  readonly number: number;
  readonly kind: string;
}
export interface CollectReply {
  readonly received: number;
}
export interface Receipt {
  readonly number: number;
}

/** Loads the `.proto` files that are shipped beside the program; some milliseconds, so once per process. */
export const loadDemoProtocol = (): PackageDefinition =>
  loadSync(['auth.proto', 'learner.proto', 'events.proto', 'grpc/health/v1/health.proto'], {
    includeDirs: [fileURLToPath(new URL('../../proto/', import.meta.url))],
    longs: Number,
    enums: String,
    defaults: true,
  });

export const serviceIn = (protocol: PackageDefinition, name: string): ServiceDefinition => {
  const found = protocol[name];
  if (found === undefined || 'format' in found) throw new Error(`proto/ defines no service ${name}`);
  return found as ServiceDefinition;
};

/** One method with the types of its messages, which the loader cannot know. */
export const methodIn = <Request, Response>(
  protocol: PackageDefinition,
  service: string,
  method: string,
): MethodDefinition<Request, Response> => {
  const found = serviceIn(protocol, service)[method];
  if (found === undefined) throw new Error(`proto/ defines no method ${service}/${method}`);
  return found as MethodDefinition<Request, Response>;
};
