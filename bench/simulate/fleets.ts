import type { Fleet } from './world.ts';

const usual = { serviceMs: [50, 100, 150], utilisation: 0.6, busy: true, deadlineMs: 2_000 } as const;

/** One call after the other: what each hop adds to a single call. Budgets and thresholds are far away. Only an outage says something here. */
const lone: Fleet = {
  scenario: 'outage',
  name: 'lone',
  clients: 1,
  tiers: [1, 1, 1],
  callsPerSecond: 0.5,
  serviceMs: [5, 5, 5],
  utilisation: 0.01,
  busy: false,
  deadlineMs: 20_000,
};

/** Few sidecars with many calls each, where a budget in percent decides; and many with few, where its minimum does. */
export const fleets: readonly Fleet[] = [
  { ...usual, name: 'busy', clients: 6, tiers: [3, 3, 8], callsPerSecond: 1_500 },
  { ...usual, name: 'wide', clients: 1_000, tiers: [200, 200, 200], callsPerSecond: 1_500 },
  lone,
];

/** The same with less to do. */
export const quickFleets: readonly Fleet[] = [
  { ...usual, name: 'busy', clients: 2, tiers: [1, 1, 8], callsPerSecond: 600 },
  { ...usual, name: 'wide', clients: 200, tiers: [40, 40, 40], callsPerSecond: 400 },
  lone,
];
