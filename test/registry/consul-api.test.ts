import { SystemClock, silentLogger } from '../../src/core/index.ts';
import { Registry } from '../../src/registry/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { ConsulProcess } from '../peers/consul-process.ts';
import { peerProgram } from '../peers/peer-programs.ts';
import { consulApiSuite } from './consul-api-suite.ts';

checkLeaks();
const consul = await peerProgram('consul');

consulApiSuite('outrider registry', async () => {
  const registry = new Registry({ host: '127.0.0.1', port: 0, clock: new SystemClock(), log: silentLogger, random: Math.random });
  const { port } = await registry.start();
  return { address: `127.0.0.1:${port}`, [Symbol.asyncDispose]: () => registry.close() };
});

consulApiSuite('Consul', () => ConsulProcess.start({ path: consul.path }), consul.skip);
