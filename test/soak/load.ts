import { Client, credentials } from '@grpc/grpc-js';
import { type CallKind, callKinds, type Destination } from './calls.ts';
import type { Ledger } from './ledger.ts';

const destinations: readonly Destination[] = ['steady-svc', 'fickle-svc', 'mortal-svc', 'passing-svc'];
const clientsEach = 3;
const mostInFlight = 200;
/** Every so often a client goes, and another comes. */
const clientLifeMs = 1_500;

interface LoadClient {
  readonly client: Client;
  calls: number;
  retired: boolean;
}

/** Calls of every kind at a steady rate, by grpc-js clients that come and go. */
export class Load {
  readonly #ledger: Ledger;
  readonly #address: string;
  readonly #callsPerSecond: number;
  readonly #clients = new Map<Destination, LoadClient[]>();
  readonly #order: readonly CallKind[];
  readonly #inFlight = new Set<Promise<void>>();
  #begun = 0;
  #startedMs = 0;
  #timer: NodeJS.Timeout | undefined;
  #changing: NodeJS.Timeout | undefined;

  constructor(address: string, callsPerSecond: number, ledger: Ledger) {
    this.#address = address;
    this.#callsPerSecond = callsPerSecond;
    this.#ledger = ledger;
    this.#order = callKinds.flatMap((kind) => Array<CallKind>(kind.weight).fill(kind));
  }

  start(): void {
    for (const name of destinations)
      this.#clients.set(
        name,
        Array.from({ length: clientsEach }, () => this.#connect(name)),
      );
    this.#startedMs = performance.now();
    this.#changing = setInterval(() => this.#replaceOne(), clientLifeMs / destinations.length);
    this.#tick();
  }

  /** Begins no more calls, and resolves when all have ended: each has a deadline. */
  async stop(): Promise<void> {
    clearTimeout(this.#timer);
    clearInterval(this.#changing);
    await Promise.all(this.#inFlight);
    for (const clients of this.#clients.values()) for (const { client } of clients) client.close();
    this.#clients.clear();
  }

  #connect(authority: Destination): LoadClient {
    const client = new Client(this.#address, credentials.createInsecure(), {
      'grpc.default_authority': authority,
      'grpc.enable_retries': 0,
      'grpc.use_local_subchannel_pool': 1,
      'grpc.max_receive_message_length': 16 << 20,
    });
    return { client, calls: 0, retired: false };
  }

  /** A client is closed after its last call: grpc-js may drop one that is only just being sent. */
  #replaceOne(): void {
    const name = destinations[Math.floor(Math.random() * destinations.length)] as Destination;
    const clients = this.#clients.get(name) as LoadClient[];
    const oldest = clients.shift() as LoadClient;
    oldest.retired = true;
    if (oldest.calls === 0) oldest.client.close();
    clients.push(this.#connect(name));
  }

  readonly #tick = (): void => {
    // Paced by the clock, not by the number of ticks; where the machine does not keep up, what is due is let go.
    const due = Math.floor(((performance.now() - this.#startedMs) * this.#callsPerSecond) / 1_000) + 1;
    for (; this.#begun < due; this.#begun++) {
      if (this.#inFlight.size < mostInFlight) this.#begin(this.#order[Math.floor(Math.random() * this.#order.length)] as CallKind);
    }
    this.#timer = setTimeout(this.#tick, 5);
  };

  #begin({ name, destination, make }: CallKind): void {
    const clients = this.#clients.get(destination) as LoadClient[];
    const one = clients[this.#begun % clients.length] as LoadClient;
    const end = this.#ledger.begin(name);
    one.calls++;
    const call = make(one.client).then((outcome) => {
      end(outcome);
      one.calls--;
      if (one.retired && one.calls === 0) one.client.close();
    });
    this.#inFlight.add(call);
    void call.then(() => this.#inFlight.delete(call));
  }
}
