import { readdirSync, readFileSync } from 'node:fs';

const folder = new URL('../../deploy/grafana/dashboards/', import.meta.url);

export interface DashboardQuery {
  /** Dashboard, panel and letter, for people. */
  readonly place: string;
  readonly expression: string;
}

interface PanelText {
  readonly title?: string;
  readonly type: string;
  readonly targets?: readonly { readonly refId: string; readonly expr: string; readonly exemplar?: boolean }[];
  readonly panels?: readonly PanelText[];
}

export interface DashboardText {
  readonly uid: string;
  readonly title: string;
  readonly panels: readonly PanelText[];
  readonly templating: {
    readonly list: readonly { readonly name: string; readonly type: string; readonly query: string | { readonly query: string } }[];
  };
}

/** Every dashboard, by the name of its file. */
export const readDashboards = (): Readonly<Record<string, DashboardText>> =>
  Object.fromEntries(
    readdirSync(folder)
      .filter((name) => name.endsWith('.json'))
      .map((name) => [name.replace('.json', ''), JSON.parse(readFileSync(new URL(name, folder), 'utf8')) as DashboardText]),
  );

export const panelsOf = ({ panels }: DashboardText): readonly PanelText[] => panels.flatMap((panel) => [panel, ...(panel.panels ?? [])]);

/** What `label_values(selector, label)` of a variable asks for, as an expression. */
const labelValues = /^label_values\((.+), (\w+)\)$/s;

/** Every query of panels and variables, with Grafana's variables put in. */
export const queriesOf = (dashboard: DashboardText, variables: Readonly<Record<string, string>>): readonly DashboardQuery[] => {
  const filled = (expression: string): string => {
    const text = expression.replaceAll(/\$\{?(__)?(\w+)\}?/g, (found, hidden: string | undefined, name: string) => {
      const value = variables[`${hidden ?? ''}${name}`];
      // What label_replace names by its groups stays.
      return value ?? (/^\d+$/.test(name) ? found : `<nothing is known of ${found}>`);
    });
    return text;
  };
  const ofPanels = panelsOf(dashboard).flatMap(({ title, targets = [] }) =>
    targets.map(({ refId, expr }) => ({ place: `${dashboard.title}: ${title}, ${refId}`, expression: filled(expr) })),
  );
  const ofVariables = dashboard.templating.list
    .filter(({ type }) => type === 'query')
    .map(({ name, query }) => {
      const [, selector = '', label = ''] = labelValues.exec(typeof query === 'string' ? query : query.query) ?? [];
      return {
        place: `${dashboard.title}: variable ${name}`,
        expression: filled(`count by (${label}) (${selector}) and on (${label}) ${selector}`),
      };
    });
  return [...ofPanels, ...ofVariables];
};
