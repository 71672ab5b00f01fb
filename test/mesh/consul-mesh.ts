import type { TestContext } from 'node:test';
import type { ConsulProcess } from '../peers/consul-process.ts';
import { MeshCertificates, startSidecar, type TestSidecar } from './mesh.ts';
import { answerOk, type Handler, startUpstream, type Upstream } from './upstream.ts';

export interface Instance {
  /** In the catalogue. */
  readonly id: string;
  readonly service: Upstream;
  readonly sidecar: TestSidecar;
}

/** A caller's sidecar that has nothing but the address of Consul, and instances of services behind mutual TLS that tests register by hand. */
export class ConsulMesh {
  readonly caller: TestSidecar;
  readonly certificates: MeshCertificates;
  readonly #t: TestContext;
  #instances = 0;

  private constructor(t: TestContext, certificates: MeshCertificates, caller: TestSidecar) {
    this.#t = t;
    this.certificates = certificates;
    this.caller = caller;
  }

  static async start(
    t: TestContext,
    consul: Pick<ConsulProcess, 'address'>,
    options: { readonly environment?: Readonly<Record<string, string>>; readonly policies?: string } = {},
  ): Promise<ConsulMesh> {
    const certificates = await MeshCertificates.create(t);
    const caller = await startSidecar(t, {
      name: 'caller',
      certificates: await certificates.issue('caller'),
      ...(options.policies === undefined ? {} : { policies: options.policies }),
      environment: { CONSUL_HTTP_ADDR: consul.address, REGISTRATION: 'off', ...options.environment },
    });
    return new ConsulMesh(t, certificates, caller);
  }

  /** A service and its sidecar, which nobody knows of yet. */
  async instance(name: string, handler: Handler = (call) => answerOk(call), certificate = name): Promise<Instance> {
    const service = await startUpstream(this.#t, handler);
    const sidecar = await startSidecar(this.#t, {
      name,
      localService: service.port,
      certificates: await this.certificates.issue(certificate),
      environment: { REGISTRATION: 'off' },
    });
    return { id: `${name}-${++this.#instances}`, service, sidecar };
  }
}

export const registrationOf = ({ id, sidecar }: Instance, more: object = {}) => ({
  Name: sidecar.name,
  ID: id,
  Address: '127.0.0.1',
  Port: sidecar.inboundPort,
  ...more,
});

/** The value of one statistic of a cluster that may not be there yet. */
export const clusterStat = (sidecar: TestSidecar, cluster: string, stat: string): number => {
  try {
    return sidecar.stat(`cluster.${cluster}.${stat}`);
  } catch {
    return 0;
  }
};
