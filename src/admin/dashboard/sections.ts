import { type Clock, formatHostPort } from '../../core/index.ts';
import type { PolicyProblem } from '../../policy/index.ts';
import { certificatesJson } from '../certificate-page.ts';
import type { AdminViews, CertificatesView } from '../views.ts';
import { clusterSection } from './cluster-section.ts';
import { fateNotes } from './fate-notes.ts';
import type { CertificateRow, FailuresSection, PoliciesSection, Sections, ServerSection } from './model.ts';
import type { RecentMinute } from './recent-minute.ts';
import { routesSection } from './routes-section.ts';

const clustersAtMost = 200;
const reloadsAtMost = 20;
const problemsAtMost = 10;

const problemRow = ({ severity, location: { file, line, column }, message, remedy }: PolicyProblem) => ({
  severity,
  place: file === '' ? '' : `${file}:${line}:${column}`,
  message: message.slice(0, 400),
  remedy: remedy.slice(0, 400),
});

/** Everything the page shows beside the charts, read from the views at each look. */
export class SectionReader {
  readonly #views: AdminViews;
  readonly #clock: Clock;
  readonly #minute: RecentMinute;
  readonly #startedAtMs: number;
  #certificates: { readonly view: CertificatesView; readonly rows: readonly CertificateRow[] } | undefined;

  constructor(views: AdminViews, clock: Clock, minute: RecentMinute) {
    this.#views = views;
    this.#clock = clock;
    this.#minute = minute;
    this.#startedAtMs = Math.round(clock.wallNow() - views.serverInfo().uptimeMs);
  }

  read(): Sections {
    const views = this.#views;
    const nowMs = this.#clock.wallNow();
    const sections: Record<string, unknown> = {
      server: this.#server(),
      routes: routesSection({
        policies: views.policies(),
        calls: views.calls,
        minute: this.#minute,
        serviceName: views.serverInfo().serviceName,
      }),
      certificates: this.#certificateRows(nowMs),
      policies: this.#policies(),
      failures: { total: views.failures.total, calls: views.failures.calls } satisfies FailuresSection,
      fates: fateNotes,
    };
    for (const view of views.clusters().slice(0, clustersAtMost)) sections[`cluster ${view.name}`] = clusterSection(view, nowMs);
    return sections;
  }

  #server(): ServerSection {
    const { overload, registration, serviceName, serviceVersion, version } = this.#views.serverInfo();
    const { ready, state, why } = this.#views.readiness();
    return {
      service: serviceName,
      ...(serviceVersion !== undefined && { serviceVersion }),
      version,
      state,
      ready,
      ...(why !== undefined && { why }),
      startedAtMs: this.#startedAtMs,
      runtime: `node ${process.version}`,
      pid: process.pid,
      overload,
      ...(registration !== undefined && {
        registration: {
          state: registration.state,
          id: registration.id,
          address: `${registration.address}:${registration.port}`,
          agent: registration.agent,
          ...(registration.error !== undefined && { error: registration.error.slice(0, 400) }),
        },
      }),
      listeners: this.#views.listeners().map(({ name, address, port, connections }) => ({
        name,
        address: formatHostPort({ host: address, port }),
        ...(connections !== undefined && { active: connections.active }),
        ...(connections !== undefined && Number.isFinite(connections.limit) && { limit: connections.limit }),
      })),
    };
  }

  /** Reading a certificate costs more than all the rest: only when there is another one. */
  #certificateRows(nowMs: number): readonly CertificateRow[] {
    const view = this.#views.certificates();
    if (view === undefined) return [];
    const known = this.#certificates;
    if (known !== undefined && known.view.chain.pem === view.chain.pem && known.view.authorities.pem === view.authorities.pem)
      return known.rows;
    const rows = certificatesJson(view, nowMs).certificates.flatMap(({ ca_cert, cert_chain }) => [
      ...cert_chain.map((each) => certificateRow('own', each)),
      ...ca_cert.map((each) => certificateRow('authority', each)),
    ]);
    this.#certificates = { view, rows };
    return rows;
  }

  #policies(): PoliciesSection {
    const { version, files } = this.#views.policies();
    return {
      version,
      files: files.map(({ path }) => path).slice(0, 50),
      reloads: this.#views
        .reloads()
        .slice(-reloadsAtMost)
        .toReversed()
        .map((record) => ({
          atMs: record.atMs,
          ok: record.ok,
          version: record.version,
          files: record.files.length,
          problems: record.problems.slice(0, problemsAtMost).map(problemRow),
        })),
    };
  }
}

type CertificateJson = ReturnType<typeof certificatesJson>['certificates'][number]['cert_chain'][number];

const certificateRow = (role: CertificateRow['role'], json: CertificateJson): CertificateRow => ({
  role,
  file: json.path,
  names: json.subject_alt_names.flatMap((name) => Object.values(name)).slice(0, 10),
  serial: json.serial_number,
  fromMs: Date.parse(json.valid_from),
  untilMs: Date.parse(json.expiration_time),
});
