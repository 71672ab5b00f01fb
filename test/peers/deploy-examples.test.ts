/** Examples of deploy/ for Kubernetes and Nomad, read as those read them; what they say of Outrider is what there is. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parseAllDocuments } from 'yaml';
import { adminPaths } from '../../src/admin/index.ts';
import { settingNames, settings } from '../../src/cli/settings.ts';
import { outriderPath, runProgram } from '../harness/program.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { npmTypes, typeErrors } from './npm-types.ts';
import { peerProgram } from './peer-programs.ts';

const folder = new URL('../../deploy/', import.meta.url);
const kubernetes = await npmTypes('kubernetes-types');
const nomad = await peerProgram('nomad-jobspec');
const variables: ReadonlySet<string> = new Set(settingNames.map((name) => settings[name].variable));

const checkPolicies = async (text: string): Promise<void> => {
  using place = temporaryFolder();
  const file = join(place.path, 'mesh.yaml');
  writeFileSync(file, text);
  const { code, stdout, stderr } = await runProgram(outriderPath, ['policy', 'check', file]);
  assert.equal(code, 0, stdout + stderr);
};

// biome-ignore lint/suspicious/noExplicitAny: whether it is as it has to be is what the first test asks.
const resources: readonly any[] = parseAllDocuments(readFileSync(new URL('kubernetes/sidecar.yaml', folder), 'utf8')).map((one) =>
  one.toJS(),
);
const resource = (kind: string) => resources.find((one) => one.kind === kind) ?? assert.fail(`no ${kind}`);

const kubernetesTypes = `import type * as core from 'kubernetes-types/core/v1';
import type { Deployment } from 'kubernetes-types/apps/v1';
import type { NetworkPolicy } from 'kubernetes-types/networking/v1';
import type { Role, RoleBinding } from 'kubernetes-types/rbac/v1';
type Named<T> = T & { kind: string; apiVersion: string; metadata: { name: string } };
export type Value = Named<core.ServiceAccount> | Named<core.ConfigMap> | Named<core.Service> | Named<Deployment> | Named<NetworkPolicy> | Named<Role> | Named<RoleBinding>;
`;

test('the resources are right by the types of Kubernetes, which see what is wrong', { skip: kubernetes.skip }, async () => {
  const right = Object.fromEntries(resources.map((one) => [one.kind, one]));
  assert.equal(Object.keys(right).length, resources.length);
  assert.equal(await typeErrors(kubernetes, kubernetesTypes, right), '');
  const wrong = structuredClone(resource('Deployment'));
  wrong.spec.template.spec.initContainers[0].startupProbe.httpGet.pathh = '/ready';
  const untyped = structuredClone(resource('Deployment'));
  untyped.spec.replicas = 'two';
  const problems = await typeErrors(kubernetes, kubernetesTypes, { wrong, untyped });
  assert.match(problems, /^wrong\.ts/m);
  assert.match(problems, /^untyped\.ts/m);
});

test('the sidecar of Kubernetes is asked, configured and ended as Outrider can be', async () => {
  const pod = resource('Deployment').spec.template.spec;
  const [sidecar] = pod.initContainers;
  assert.equal(sidecar.restartPolicy, 'Always');
  const environment: Readonly<Record<string, string>> = Object.fromEntries(
    sidecar.env.map(({ name, value }: { name: string; value: string }) => [name, value]),
  );
  for (const name of Object.keys(environment)) assert.ok(variables.has(name), name);
  for (const probe of [sidecar.startupProbe, sidecar.readinessProbe, sidecar.livenessProbe]) {
    const path = adminPaths.find((one) => one.path === probe.httpGet.path);
    // The kubelet asks by the address of the pod.
    assert.equal(path?.anyHost, true, probe.httpGet.path);
    assert.equal(sidecar.ports.find(({ name }: { name: string }) => name === probe.httpGet.port).containerPort, 9901);
  }
  // The service is ended by its own pause and signal, and the sidecar, which nobody waits for then, after it.
  assert.equal(sidecar.lifecycle, undefined);
  const drainSeconds = Number.parseInt(settings.drainTimeoutMs.fallback ?? '', 10);
  assert.ok(pod.terminationGracePeriodSeconds > pod.containers[0].lifecycle.preStop.sleep.seconds + drainSeconds);
  const names = new Set(pod.volumes.map(({ name }: { name: string }) => name));
  for (const { name } of sidecar.volumeMounts) assert.ok(names.has(name), name);
  await checkPolicies(resource('ConfigMap').data['mesh.yaml']);
});

test('the job of Nomad is read without complaint, and says of Outrider what there is', { skip: nomad.skip }, async () => {
  const file = fileURLToPath(new URL('nomad/auth-svc.nomad.hcl', folder));
  const { code, stdout, stderr } = await runProgram(nomad.path, [file]);
  assert.equal(code, 0, stderr);
  const [group] = JSON.parse(stdout).TaskGroups;
  const [sidecar, service] = group.Tasks;
  assert.deepEqual(sidecar.Lifecycle, { Hook: 'prestart', Sidecar: true });
  for (const name of Object.keys(sidecar.Env)) assert.ok(variables.has(name), name);
  assert.ok(sidecar.KillTimeout > Number.parseInt(settings.drainTimeoutMs.fallback ?? '', 10) * 1e9);
  assert.ok(service.KillTimeout > 0);

  using place = temporaryFolder();
  const wrong = join(place.path, 'wrong.nomad.hcl');
  writeFileSync(wrong, readFileSync(file, 'utf8').replace('kill_timeout', 'kill_timeuot'));
  const refused = await runProgram(nomad.path, [wrong]);
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /kill_timeuot/);
});
