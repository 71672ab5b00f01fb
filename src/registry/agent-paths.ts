import { createHash } from 'node:crypto';
import { nodeMaintenanceId, unknownCheck, unknownService } from './catalogue.ts';
import { type CheckStatus, parseBody, readCheckDefinition, readCheckUpdate, readServiceDefinition } from './definitions.ts';
import { filterOf, isPretty, nonEmpty, type RegistryParts, type RegistryPath, type RegistryRequest, serviceOf } from './path.ts';
import { done, json, RegistryProblem, type RegistryReply } from './reply.ts';
import { sampleAgentService, sampleCheck } from './samples.ts';
import { agentServiceJson, checkJson, consulVersion } from './shapes.ts';

const put = (path: string, change: (parts: RegistryParts, request: RegistryRequest) => void): RegistryPath => ({
  path,
  methods: ['PUT'],
  answer: (parts, request) => {
    change(parts, request);
    return done;
  },
});

const get = (path: string, answer: RegistryPath['answer']): RegistryPath => ({ path, methods: ['GET'], answer });

/** `pass`, `warn` and `fail` of a TTL check. */
const report = (verb: string, status: CheckStatus): RegistryPath =>
  put(`/v1/agent/check/${verb}/`, ({ catalogue, runner }, { rest, query }) => {
    const check = catalogue.check(rest);
    if (check === undefined) throw unknownCheck(rest);
    runner.report(check, status, query.get('note') ?? '');
  });

/** The reason where maintenance begins, `undefined` where it ends. */
const maintenanceOf = ({ query }: RegistryRequest, what: string): string | undefined => {
  const enable = query.get('enable') ?? '';
  if (enable === '') throw new RegistryProblem(400, 'Missing value for enable');
  if (!/^(1|t|T|TRUE|true|True|0|f|F|FALSE|false|False)$/.test(enable))
    throw new RegistryProblem(400, `Invalid value for enable: ${JSON.stringify(enable)}`);
  if (!/^(1|t)/i.test(enable)) return undefined;
  const usual = `Maintenance mode is enabled for this ${what}, but no reason was provided. This is a default message.`;
  return (query.get('reason') || usual).slice(0, 512);
};

const services = ({ catalogue, node }: RegistryParts, request: RegistryRequest): RegistryReply => {
  const matches = filterOf(request, sampleAgentService);
  const shown = catalogue.services.map((service) => [service.definition.id, agentServiceJson(service, node.datacenter)] as const);
  return json(Object.fromEntries(shown.filter(([, service]) => matches(service))), isPretty(request));
};

const checks = ({ catalogue, node }: RegistryParts, request: RegistryRequest): RegistryReply => {
  const matches = filterOf(request, sampleCheck);
  const shown = catalogue.checks
    // What Consul says of the node stands in the catalogue, not with the agent.
    .filter(({ kind }) => kind !== '')
    .map((check) => [check.definition.id, checkJson(check, serviceOf(catalogue)(check), node.name, false)] as const);
  return json(Object.fromEntries(shown.filter(([, check]) => matches(check))), isPretty(request));
};

const oneService = ({ catalogue, node }: RegistryParts, request: RegistryRequest): RegistryReply => {
  const service = catalogue.service(request.rest);
  if (service === undefined) throw new RegistryProblem(404, `unknown service ID: ${request.rest}`);
  const hash = createHash('sha256').update(JSON.stringify(service.definition)).digest('hex').slice(0, 16);
  return json(agentServiceJson(service, node.datacenter, hash), isPretty(request), { 'X-Consul-Contenthash': hash });
};

const self = ({ node, address, catalogue }: RegistryParts, request: RegistryRequest): RegistryReply => {
  const port = Number(address().replace(/^.*:/, ''));
  const config = {
    Datacenter: node.datacenter,
    PrimaryDatacenter: node.datacenter,
    NodeName: node.name,
    NodeID: node.id,
    Revision: 'outrider-registry',
    Server: true,
    Version: consulVersion,
    BuildDate: '1970-01-01T00:00:01Z',
  };
  const member = { Name: node.name, Addr: node.address, Port: port, Tags: { dc: node.datacenter, id: node.id, role: 'consul' }, Status: 1 };
  const maintenance = catalogue.check(nodeMaintenanceId) === undefined ? 'off' : 'on';
  return json(
    { Config: config, DebugConfig: {}, Coord: null, Member: member, Stats: { outrider: { maintenance } }, Meta: {} },
    isPretty(request),
  );
};

/** What the agent beside a service is told, and tells of its own. */
export const agentPaths: readonly RegistryPath[] = [
  put('/v1/agent/service/register', ({ catalogue }, { body, query }) =>
    catalogue.register(readServiceDefinition(parseBody(body)), query.has('replace-existing-checks')),
  ),
  put('/v1/agent/service/deregister/', ({ catalogue }, { rest }) => {
    if (catalogue.service(rest) === undefined) throw unknownService(rest);
    catalogue.deregister(rest);
  }),
  put('/v1/agent/service/maintenance/', ({ catalogue }, request) => {
    const { rest } = request;
    nonEmpty(rest, 'Missing service ID');
    catalogue.setServiceMaintenance(rest, maintenanceOf(request, 'service'));
  }),
  put('/v1/agent/maintenance', ({ catalogue }, request) => catalogue.setNodeMaintenance(maintenanceOf(request, 'node'))),
  put('/v1/agent/check/register', ({ catalogue }, { body }) => catalogue.registerCheck(readCheckDefinition(parseBody(body)))),
  put('/v1/agent/check/deregister/', ({ catalogue }, { rest }) => catalogue.deregisterCheck(rest)),
  report('pass', 'passing'),
  report('warn', 'warning'),
  report('fail', 'critical'),
  put('/v1/agent/check/update/', ({ catalogue, runner }, { rest, body }) => {
    const { status, output } = readCheckUpdate(parseBody(body));
    const check = catalogue.check(rest);
    if (check === undefined) throw unknownCheck(rest);
    runner.report(check, status, output);
  }),
  get('/v1/agent/services', services),
  get('/v1/agent/checks', checks),
  get('/v1/agent/service/', oneService),
  get('/v1/agent/self', self),
  get('/v1/status/leader', ({ address }, request) => json(address(), isPretty(request))),
  get('/v1/status/peers', ({ address }, request) => json([address()], isPretty(request))),
];
