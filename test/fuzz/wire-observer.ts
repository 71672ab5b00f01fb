import assert from 'node:assert/strict';
import { HpackReference } from './hpack-reference.ts';
import { FrameCutter } from './wire-frames.ts';

const [data, headers, , rstStream, settings, , ping, goAway, windowUpdate, continuation] = Array.from(
  { length: 10 },
  (_, type) => type,
) as [number, number, number, number, number, number, number, number, number, number];
const largestWindow = 0x7fff_ffff;
const preface = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';

/** What passed on one stream, seen from outside. */
class ObservedStream {
  /** By WINDOW_UPDATE of the peer, without the initial window. */
  creditBytes = 0;
  sentBytes = 0;
  /** By WINDOW_UPDATE of the side under test. */
  grantedBytes = 0;
  receivedBytes = 0;
  ended = false;
  wasReset = false;
  headerBlocks = 0;
}

/**
 * Reads a connection from outside, both directions, with a parser of its own, and throws where the side under test writes what RFC 9113 forbids.
 * `heard` is told what that side has been given so far, `wrote` what it has written since.
 */
export class WireObserver {
  readonly #role: 'client' | 'server';
  readonly #streams = new Map<number, ObservedStream>();
  readonly #written = new FrameCutter();
  readonly #peer = new FrameCutter();
  /** What was written before it is clear in which protocol. */
  #head: Buffer = Buffer.alloc(0);
  #started = false;
  #peerPrefaceLeft: number;
  #answeredForeign = false;
  #settingsSeen = false;
  readonly #hpack = new HpackReference();
  #block: Buffer[] = [];
  #blockStream = 0;
  #blockEnds = false;
  /** The peer's SETTINGS that wait for their acknowledgement. */
  readonly #unacknowledged: Buffer[] = [];
  readonly #pings: string[] = [];
  #peerWindow = 65_535;
  #connectionCredit = 65_535;
  #connectionSent = 0;
  #connectionGranted = 65_535;
  #connectionReceived = 0;
  #ownWindow = 65_535;
  #lastGoAwayId = largestWindow;
  #lastOwnId = -1;
  #over = false;

  constructor(role: 'client' | 'server') {
    this.#role = role;
    this.#peerPrefaceLeft = role === 'server' ? preface.length : 0;
  }

  /** The side under test is about to read these bytes. */
  heard(bytes: Buffer): void {
    const skipped = Math.min(this.#peerPrefaceLeft, bytes.length);
    this.#peerPrefaceLeft -= skipped;
    for (const { type, flags, id, payload } of this.#peer.cut(bytes.subarray(skipped)))
      this.#hear(type, flags, id & largestWindow, payload);
  }

  #hear(type: number, flags: number, id: number, payload: Buffer): void {
    if (type === data) {
      this.#connectionReceived += payload.length;
      this.#stream(id).receivedBytes += payload.length;
    } else if (type === headers) this.#stream(id).headerBlocks++;
    else if (type === settings && (flags & 1) === 0) this.#unacknowledged.push(Buffer.from(payload));
    else if (type === ping && (flags & 1) === 0) this.#pings.push(payload.toString('hex'));
    else if (type === windowUpdate && payload.length === 4) {
      const increment = payload.readUInt32BE() & largestWindow;
      if (id === 0) this.#connectionCredit += increment;
      else this.#stream(id).creditBytes += increment;
    }
  }

  wrote(bytes: Buffer): void {
    if (this.#answeredForeign) return;
    let at = 0;
    if (!this.#started) {
      this.#head = Buffer.concat([this.#head, bytes]);
      if (this.#role === 'server' && this.#head.subarray(0, 5).toString('latin1') === 'HTTP/') {
        this.#answeredForeign = true;
        return;
      }
      if (this.#head.length < (this.#role === 'client' ? preface.length : 5)) return;
      this.#started = true;
      if (this.#role === 'client') assert.equal(this.#head.toString('latin1', 0, preface.length), preface, 'the preface comes first');
      at = this.#role === 'client' ? preface.length : 0;
    }
    const frames = this.#written.cut(this.#head.length > 0 ? this.#head.subarray(at) : bytes);
    this.#head = Buffer.alloc(0);
    for (const { type, flags, id, payload } of frames) {
      assert.ok(payload.length <= 16_384, `a frame of ${payload.length} bytes, which nobody allowed`);
      this.#check(type, flags, id, payload);
    }
  }

  /** Nothing more comes: no frame may be cut in two, unless the connection was lost. */
  finish(lost: boolean): void {
    if (!lost && !this.#answeredForeign) assert.ok(!this.#written.insideFrame && this.#head.length === 0, 'a frame was cut short');
  }

  #check(type: number, flags: number, id: number, payload: Buffer): void {
    assert.ok(!this.#over, `type ${type} behind a GOAWAY that said why the connection ends`);
    if (!this.#settingsSeen) assert.ok(type === settings && (flags & 1) === 0, 'SETTINGS is the first frame (RFC 9113 3.4)');
    if (this.#blockStream !== 0)
      assert.ok(type === continuation && id === this.#blockStream, 'a header block stays together (RFC 9113 6.10)');
    switch (type) {
      case data:
        this.#checkData(id, flags, payload.length);
        break;
      case headers:
        this.#openStream(id);
        assert.ok(!this.#stream(id).ended && !this.#stream(id).wasReset, `HEADERS behind the end of stream ${id}`);
        assert.equal(flags & 0x28, 0, 'no padding and no priority');
        this.#blockStream = id;
        this.#blockEnds = (flags & 1) !== 0;
        this.#collect(flags, payload);
        break;
      case continuation:
        assert.notEqual(this.#blockStream, 0, 'CONTINUATION without HEADERS');
        this.#collect(flags, payload);
        break;
      case rstStream: {
        assert.equal(payload.length, 4);
        this.#assertNotIdle(id, 'RST_STREAM');
        this.#stream(id).wasReset = true;
        break;
      }
      case settings:
        this.#checkSettings(flags, id, payload);
        break;
      case ping:
        assert.ok(id === 0 && payload.length === 8, 'a well-formed PING');
        if ((flags & 1) !== 0) assert.equal(payload.toString('hex'), this.#pings.shift(), 'PING is answered in order, with what it held');
        break;
      case goAway: {
        assert.ok(id === 0 && payload.length >= 8, 'a well-formed GOAWAY');
        const last = payload.readUInt32BE();
        assert.ok(last <= this.#lastGoAwayId, 'the last stream id only sinks (RFC 9113 6.8)');
        this.#lastGoAwayId = last;
        this.#over = payload.readUInt32BE(4) !== 0;
        break;
      }
      case windowUpdate:
        this.#checkWindowUpdate(id, payload);
        break;
      default:
        assert.fail(`a frame of type ${type}, which we never send`);
    }
  }

  #checkData(id: number, flags: number, length: number): void {
    this.#assertNotIdle(id, 'DATA');
    const stream = this.#stream(id);
    assert.ok(!stream.ended && !stream.wasReset, `DATA behind the end of stream ${id}`);
    assert.equal(flags & 8, 0, 'no padding');
    stream.sentBytes += length;
    this.#connectionSent += length;
    if (length > 0) {
      assert.ok(stream.sentBytes <= this.#peerWindow + stream.creditBytes, `stream ${id} beyond its window`);
      assert.ok(this.#connectionSent <= this.#connectionCredit, "beyond the connection's window");
    }
    if ((flags & 1) !== 0) stream.ended = true;
  }

  #collect(flags: number, payload: Buffer): void {
    this.#block.push(payload);
    if ((flags & 4) === 0) return;
    const fields = this.#hpack.decode(Buffer.concat(this.#block));
    assert.ok(fields.length > 0, 'no header block is empty');
    for (const [name] of fields) assert.match(name, /^:?[!#$%&'*+.^_`|~0-9a-z-]+$/, 'a name that HTTP/2 allows');
    if (this.#blockEnds) this.#stream(this.#blockStream).ended = true;
    this.#block = [];
    this.#blockStream = 0;
  }

  #checkSettings(flags: number, id: number, payload: Buffer): void {
    assert.ok(id === 0 && payload.length % 6 === 0, 'well-formed SETTINGS');
    if ((flags & 1) === 0) {
      this.#settingsSeen = true;
      for (let at = 0; at < payload.length; at += 6) {
        if (payload.readUInt16BE(at) === 4) this.#ownWindow = payload.readUInt32BE(at + 2);
      }
      return;
    }
    assert.equal(payload.length, 0);
    const acknowledged = this.#unacknowledged.shift();
    assert.ok(acknowledged, 'an acknowledgement of SETTINGS that nobody sent');
    for (let at = 0; at + 6 <= acknowledged.length; at += 6) {
      const [what, value] = [acknowledged.readUInt16BE(at), acknowledged.readUInt32BE(at + 2)];
      if (what === 4) this.#peerWindow = value;
      else if (what === 1) this.#hpack.setLimit(value);
    }
  }

  #checkWindowUpdate(id: number, payload: Buffer): void {
    assert.equal(payload.length, 4);
    const increment = payload.readUInt32BE();
    assert.ok(increment > 0 && increment <= largestWindow, `WINDOW_UPDATE of ${increment}`);
    if (id === 0) {
      this.#connectionGranted += increment;
      assert.ok(this.#connectionGranted - this.#connectionReceived <= largestWindow, "the connection's window overflows");
      return;
    }
    this.#assertNotIdle(id, 'WINDOW_UPDATE');
    const stream = this.#stream(id);
    assert.ok(!stream.wasReset, `WINDOW_UPDATE behind RST_STREAM of stream ${id}`);
    stream.grantedBytes += increment;
    assert.ok(this.#ownWindow + stream.grantedBytes - stream.receivedBytes <= largestWindow, `the window of stream ${id} overflows`);
  }

  #openStream(id: number): void {
    if (this.#role === 'server' || id <= this.#lastOwnId) this.#assertNotIdle(id, 'HEADERS');
    else {
      assert.equal(id % 2, 1, 'a client opens odd streams');
      this.#lastOwnId = id;
    }
  }

  /** A stream exists once its client has sent HEADERS on it (RFC 9113 5.1). A later one closes those below that were never used (5.1.1). */
  #assertNotIdle(id: number, frame: string): void {
    assert.equal(id % 2, 1, `${frame} on stream ${id}`);
    if (this.#role === 'client') {
      assert.ok(id <= this.#lastOwnId, `${frame} on stream ${id}, which we have not opened`);
      return;
    }
    let highest = 0;
    for (const [one, { headerBlocks }] of this.#streams) if (headerBlocks > 0 && one % 2 === 1 && one > highest) highest = one;
    assert.ok(id <= highest, `${frame} on stream ${id}, which the client has not opened`);
  }

  #stream(id: number): ObservedStream {
    const known = this.#streams.get(id);
    if (known !== undefined) return known;
    const made = new ObservedStream();
    this.#streams.set(id, made);
    return made;
  }
}
