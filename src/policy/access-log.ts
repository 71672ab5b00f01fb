import { accessLogFilterShape, compileAccessLogFilter } from './access-log-filters.ts';
import { jsonFormat, jsonFormatShape, textFormat, textFormatShape } from './access-log-format.ts';
import type { AccessLogFilter, AccessLogFormat, AccessLogPolicy } from './access-log-types.ts';
import type { DocumentNode } from './document.ts';
import { percentShape, shareOf } from './fractional-percent.ts';
import { field, group, inert, refused, required } from './group.ts';
import { homeOf } from './homes.ts';
import type { Place, Problems } from './problems.ts';
import { duration, either, flag, list, type Placed, placed, type Read, refuseKind, type Shape, text } from './shape.ts';

const fileLog = 'envoy.access_loggers.file';
const streams = { 'envoy.access_loggers.stdout': 'stdout', 'envoy.access_loggers.stderr': 'stderr' } as const;
const loggerNames = [fileLog, ...Object.keys(streams)];
const deviceStreams: Readonly<Record<string, string>> = {
  '/dev/stdout': 'stdout',
  '/dev/stderr': 'stderr',
  '/dev/fd/1': 'stdout',
  '/dev/fd/2': 'stderr',
  '/proc/self/fd/1': 'stdout',
  '/proc/self/fd/2': 'stderr',
};

const pathText = placed(text('stdout, stderr or the whole path of a file'));
const json = (doc: string) => field(jsonFormatShape, doc);
const jsonDoc = 'The fields of a line: text with operators such as %REQ(:PATH)%, constants, and groups of them';

const logFormatShape = group(
  'log_format',
  'a group with "json_format:" or "text_format:"',
  {
    json_format: json(jsonDoc),
    text_format: field(textFormatShape, 'A line as text with operators such as %REQ(:PATH)%'),
    text_format_source: field(
      group(
        'text_format_source',
        'a group with "inline_string:"',
        {
          inline_string: required(textFormatShape, 'A line as text with operators such as %REQ(:PATH)%'),
          filename: refused('write inline_string'),
          inline_bytes: refused('write inline_string'),
          environment_variable: refused('write inline_string'),
        },
        homeOf,
      ),
      'The same as text_format',
    ),
    omit_empty_values: field(flag, 'Leaves fields without a value out; false where left out'),
    content_type: inert(text('a content type'), 'remove it: nobody asks a log for its type'),
    json_format_options: refused('remove it: fields keep the order in which they are written'),
    formatters: refused('remove it'),
  },
  homeOf,
);

const configShape = group(
  'access_log_file',
  'a group with "path:"',
  {
    '@type': field(text('type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog'), "Envoy's name of this group"),
    path: field(pathText, 'stdout, stderr or the path of a file; what ACCESS_LOG says where left out, else stdout'),
    log_format: field(logFormatShape, "What a line looks like; Outrider's own fields where left out"),
    format: field(textFormatShape, "Envoy's older name of log_format.text_format"),
    json_format: json("Envoy's older name of log_format.json_format"),
    typed_json_format: json("Envoy's older name of log_format.json_format"),
  },
  homeOf,
);

const loggerShape = group(
  'access_logger',
  `a group such as { name: ${fileLog}, typed_config: { path: /dev/stdout } }`,
  {
    name: required(
      placed(text(`one of ${loggerNames.join(', ')}`)),
      'Where to: envoy.access_loggers.file, envoy.access_loggers.stdout or envoy.access_loggers.stderr',
    ),
    filter: field(accessLogFilterShape, 'Which calls; all where left out'),
    typed_config: field(configShape, 'Which file, and what a line looks like'),
  },
  homeOf,
);

const percentText = text('a percentage such as 1%', { pattern: /^\d{1,3}(\.\d{1,6})?%$/ });

/** `1%`, `1`, or Envoy's `FractionalPercent`: from 0 to 1. */
const sampleShape: Shape<number> = {
  expected: 'a percentage such as 1%',
  read(node: DocumentNode, path, problems) {
    if (node.kind === 'scalar' && typeof node.value === 'string') {
      const percent = percentText.read(node, path, problems);
      if (percent === undefined) return undefined;
      const share = Number(percent.slice(0, -1)) / 100;
      return share <= 1 ? share : refuseKind(node, path, 'at most 100%', problems);
    }
    const written = percentShape.read(node, path, problems);
    return written === undefined ? undefined : shareOf(written, 0);
  },
  jsonSchema: (parts) => ({ anyOf: [percentText.jsonSchema(parts), percentShape.jsonSchema(parts)] }),
};

const shortShape = group(
  'access_log',
  'a group such as { sample: 1% }',
  {
    path: field(pathText, 'stdout, stderr or the path of a file; what ACCESS_LOG says where left out, else stdout'),
    sample: field(sampleShape, 'Share of the calls; 100% where left out'),
    always_on_failure: field(flag, 'Whether calls that fail are always written; true where left out'),
    slower_than: field(duration({ minMs: 1, example: '500ms' }), 'Calls that take longer are always written; left out: only by chance'),
    json_format: json(jsonDoc),
  },
  homeOf,
);

/** `access_log`: a group of ours, or Envoy's list of loggers. */
export const accessLogShape = either('list', list(placed(loggerShape)), placed(shortShape));

type Written = Read<typeof accessLogShape>;

const isListed = (written: Written): written is readonly Placed<Read<typeof loggerShape>>[] => Array.isArray(written);

/** @returns `undefined` where nothing is written: then ACCESS_LOG says whether there is a log. */
export const compileAccessLog = (written: Written | undefined, problems: Problems): readonly AccessLogPolicy[] | undefined => {
  if (written === undefined) return undefined;
  if (!isListed(written)) return Object.freeze([compileShort(written, problems)]);
  return Object.freeze(written.map(({ value, place }) => compileLogger(value, place, problems)));
};

const compileShort = ({ value: { values }, place }: Placed<Read<typeof shortShape>>, problems: Problems): AccessLogPolicy => {
  const { path, sample = 1, always_on_failure: onFailure = true, slower_than: slowMs, json_format: format } = values;
  const filters: AccessLogFilter[] = [{ kind: 'random', share: sample }];
  if (onFailure) filters.push({ kind: 'failure' });
  if (slowMs !== undefined) filters.push({ kind: 'duration', op: 'GE', value: slowMs });
  return Object.freeze<AccessLogPolicy>({
    location: place.location,
    path: path === undefined ? undefined : compilePath(path, problems),
    filter: sample >= 1 ? undefined : { kind: 'or', filters },
    format: format === undefined ? undefined : jsonFormat(format.fields, false),
  });
};

const compileLogger = ({ values }: Read<typeof loggerShape>, place: Place, problems: Problems): AccessLogPolicy => {
  const { name, filter, typed_config: config } = values;
  const stream = name === undefined || !Object.hasOwn(streams, name.value) ? undefined : streams[name.value as keyof typeof streams];
  if (name !== undefined && stream === undefined && name.value !== fileLog && name.value !== 'envoy.file_access_log')
    problems.error(
      name.place,
      `${JSON.stringify(name.value.slice(0, 80))} is no log that is served here`,
      `write ${loggerNames.join(', ')}`,
    );
  const path = config?.values.path;
  if (stream !== undefined && path !== undefined)
    problems.error(path.place, `is written beside ${name?.value}`, `remove it, or write ${fileLog}`);
  return Object.freeze({
    location: place.location,
    path: stream ?? (path === undefined ? undefined : compilePath(path, problems)),
    filter: filter === undefined ? undefined : compileAccessLogFilter(filter, problems),
    format: config === undefined ? undefined : compileFormat(config, problems),
  });
};

const formatKeys = ['log_format', 'format', 'json_format', 'typed_json_format'] as const;
const logFormatKeys = ['json_format', 'text_format', 'text_format_source'] as const;

const compileFormat = (config: Read<typeof configShape>, problems: Problems): AccessLogFormat | undefined => {
  const { values } = config;
  const chosen = formatKeys.filter((key) => config.wrote(key));
  if (chosen.length > 1) problems.error(config.place, `has ${chosen.join(' and ')}`, 'keep one of them');
  const older = values.json_format ?? values.typed_json_format;
  if (older !== undefined) return jsonFormat(older.fields, false);
  if (values.format !== undefined) return textFormat(values.format, false);
  if (values.log_format === undefined) return undefined;
  const { values: format } = values.log_format;
  const { log_format: group } = values;
  const kinds = logFormatKeys.filter((key) => group.wrote(key));
  if (kinds.length !== 1)
    problems.error(
      group.place,
      kinds.length === 0 ? 'says nothing of a line' : `has ${kinds.join(' and ')}`,
      `keep one of ${logFormatKeys.join(', ')}`,
    );
  const omit = format.omit_empty_values ?? false;
  if (format.json_format !== undefined) return jsonFormat(format.json_format.fields, omit);
  const parts = format.text_format ?? format.text_format_source?.values.inline_string;
  return parts === undefined ? undefined : textFormat(parts, omit);
};

/** A folder that a process happens to stand in is nowhere to look for a log. */
const compilePath = ({ value, place }: Placed<string>, problems: Problems): string => {
  const stream = Object.hasOwn(deviceStreams, value) ? deviceStreams[value] : undefined;
  if (stream !== undefined || value === 'stdout' || value === 'stderr') return stream ?? value;
  if (!value.startsWith('/') || value.endsWith('/') || value.split('/').includes('..') || value.includes('\0') || value.length > 4_000)
    problems.error(
      place,
      `${JSON.stringify(value.slice(0, 80))} is no whole path of a file`,
      'write stdout, stderr, or a path such as /var/log/outrider/access.log',
    );
  return value;
};
