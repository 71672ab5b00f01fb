export { type FaultKind, type FaultPlan, faultKinds, parseFault } from './faults.ts';
export { type DemoServiceName, demoServices, isDemoService } from './protocol.ts';
export { type DemoContext, type DemoOptions, runDemo } from './run.ts';
export { runDemoService } from './service-process.ts';
