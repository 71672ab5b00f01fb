import type { World } from './world.ts';

/** Something that goes wrong for a while on the bottom tier. */
export interface Scenario {
  readonly name: string;
  readonly what: string;
  /** How long the cause lasts, in milliseconds, at this fleet. */
  readonly causeMs: number;
  /** Load from the beginning on, 1 where left out. */
  readonly load?: number;
  begin(world: World): void;
  /** The cause ends here, at once. */
  end(world: World): void;
}

const healAll = (world: World): void => {
  for (const { ailment } of world.bottom) {
    ailment.failing = 0;
    ailment.slowness = 1;
    ailment.down = false;
  }
};

const share = <T>(all: readonly T[], part: number): readonly T[] => all.slice(0, Math.max(1, Math.floor(all.length * part)));

/** New instances are slow at first: caches are empty, and code is cold. */
const warmUp = (world: World, servers: World['bottom'], slowness: number, forMs: number): void => {
  for (let step = 0; step <= 5; step++) {
    world.events.after((forMs * step) / 5, () => {
      for (const { ailment } of servers) ailment.slowness = slowness - ((slowness - 1) * step) / 5;
    });
  }
};

const deployMs = 60_000;
const deployBatches = 8;

export const scenarios: readonly Scenario[] = [
  {
    name: 'outage',
    what: 'every call to the bottom tier ends UNAVAILABLE after the usual work, for 30 s',
    causeMs: 30_000,
    begin: (world) => {
      for (const { ailment } of world.bottom) ailment.failing = 1;
    },
    end: healAll,
  },
  {
    name: 'brown-out',
    what: 'half of all calls to the bottom tier end UNAVAILABLE, and all take half as long again, for 30 s',
    causeMs: 30_000,
    begin: (world) => {
      for (const { ailment } of world.bottom) {
        ailment.failing = 0.5;
        ailment.slowness = 1.5;
      }
    },
    end: healAll,
  },
  {
    name: 'slow-third',
    what: 'a third of the bottom tier takes twenty times as long, for 30 s',
    causeMs: 30_000,
    begin: (world) => {
      for (const { ailment } of share(world.bottom, 1 / 3)) ailment.slowness = 20;
    },
    end: healAll,
  },
  {
    name: 'retry-storm',
    what: 'the bottom tier, at 78 % of its capacity, stops for 1.5 s and loses all its calls, four times in 10 s',
    causeMs: 10_000,
    load: 1.3,
    begin: (world) => {
      for (let stop = 0; stop < 4; stop++) {
        world.events.after(stop * 2_500, () => {
          for (const { ailment } of world.bottom) ailment.hung = true;
        });
        world.events.after(stop * 2_500 + 1_500, () => {
          for (const server of world.bottom) server.comeBack();
        });
      }
    },
    end: () => {},
  },
  {
    name: 'thundering-return',
    what: 'an outage of 30 s, after which twice as many calls come for 10 s, and the bottom tier is cold (three times as slow)',
    causeMs: 30_000,
    begin: (world) => {
      for (const { ailment } of world.bottom) ailment.failing = 1;
    },
    end: (world) => {
      healAll(world);
      warmUp(world, world.bottom, 3, 10_000);
      world.load *= 2;
      world.events.after(10_000, () => {
        world.load /= 2;
      });
    },
  },
  {
    name: 'partial-partition',
    what: 'half of the second tier cannot connect to half of the bottom tier, for 30 s',
    causeMs: 30_000,
    begin: (world) => {
      const lost = new Set(share(world.bottom, 1 / 2));
      for (const sidecar of share(world.bottomCallers, 1 / 2)) sidecar.unreachable = lost;
    },
    end: (world) => {
      for (const sidecar of world.bottomCallers) sidecar.unreachable = new Set();
    },
  },
  {
    name: 'rolling-deploy',
    what: 'an eighth of the bottom tier after the other is replaced within 60 s: refuses half a second before discovery says so, and comes back cold',
    causeMs: deployMs,
    begin: (world) => {
      const all = world.bottom;
      for (let batch = 0; batch < deployBatches; batch++) {
        const from = Math.floor((all.length * batch) / deployBatches);
        const servers = all.slice(from, Math.floor((all.length * (batch + 1)) / deployBatches));
        world.events.after((deployMs * batch) / deployBatches, () => replace(world, servers));
      }
    },
    end: () => {},
  },
];

const replace = (world: World, servers: World['bottom']): void => {
  const rest = world.bottom.filter((server) => !servers.includes(server));
  const discover = (known: World['bottom']): void => {
    for (const sidecar of world.bottomCallers) sidecar.discover(known);
  };
  for (const { ailment } of servers) ailment.down = true;
  world.events.after(500, () => discover(rest));
  world.events.after(4_000, () => {
    for (const { ailment } of servers) ailment.down = false;
    warmUp(world, servers, 3, 2_000);
  });
  world.events.after(4_500, () => discover(world.bottom));
};
