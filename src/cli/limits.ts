import { totalmem } from 'node:os';
import { openFilesLimit, SocketBudget } from '../core/index.ts';
import type { ConnectionLimitOptions } from '../proxy/index.ts';
import type { SidecarConfiguration } from './configuration.ts';

/** Descriptors of the runtime itself, of files that are read and folders that are watched. */
const filesReserve = 64;
/** The admin port's share of the descriptors, and the most it is good for. */
const adminShare = 1 / 8;
const adminConnectionsAtMost = 256;
/** What is left belongs to connections to upstreams. */
const acceptedShare = 0.8;
/** Envoy's advice for a proxy at the edge; one connection is worth some 50 KiB. */
const usualConnections = 50_000;

export interface ProcessLimits {
  readonly connections: ConnectionLimitOptions;
  readonly adminConnections: number;
  /** Infinite where there is none. */
  readonly memoryBytes: number;
  /** Whole sentences without a full stop. */
  readonly warnings: readonly string[];
}

type Configured = Pick<SidecarConfiguration, 'maxConnections' | 'maxConnectionsPerListener' | 'maxConnectionsPerSource' | 'maxMemoryBytes'>;

/** What the machine allows. */
export interface MachineLimits {
  readonly openFiles: number;
  /** Of the container, else of the machine. */
  readonly memoryBytes: number;
}

export const machineLimits = (): MachineLimits => {
  // 0, or more than there is, where nothing constrains the process.
  const constrained = process.constrainedMemory();
  return { openFiles: openFilesLimit(), memoryBytes: Math.min(constrained > 0 ? constrained : Number.POSITIVE_INFINITY, totalmem()) };
};

/** The limits of one sidecar: as configured, as the machine allows, and so that the admin port and the files keep their descriptors. */
export const processLimits = (configured: Configured, { openFiles, memoryBytes }: MachineLimits): ProcessLimits => {
  const adminConnections = Math.max(4, Math.min(adminConnectionsAtMost, Math.floor(openFiles * adminShare)));
  const sockets = Math.max(2, openFiles - filesReserve - adminConnections);
  const possible = Math.max(1, Math.floor(sockets * acceptedShare));
  const wanted = configured.maxConnections ?? Math.min(possible, usualConnections);
  const perProcess = Math.min(wanted, possible);
  const perListener = Math.min(perProcess, configured.maxConnectionsPerListener ?? Math.max(1, Math.floor(perProcess * acceptedShare)));
  const tooMany = `MAX_CONNECTIONS is ${wanted}, and ${openFiles} open files allow ${possible}; raise the limit (ulimit -n), or lower MAX_CONNECTIONS`;
  return {
    connections: {
      perProcess,
      perListener,
      perSource: configured.maxConnectionsPerSource === 0 ? Number.POSITIVE_INFINITY : configured.maxConnectionsPerSource,
      sockets: new SocketBudget(sockets),
    },
    adminConnections,
    memoryBytes: Math.min(memoryBytes, configured.maxMemoryBytes ?? Number.POSITIVE_INFINITY),
    warnings: wanted > possible ? [tooMany] : [],
  };
};
