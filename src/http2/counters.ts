/**
 * What the engine saw and refused, as plain numbers; one object is shared by the connections of a listener or cluster.
 * The names are Envoy's `http2.*`, where Envoy has one.
 */
export class Http2Counters {
  connectionsTotal = 0;
  connectionsActive = 0;
  streamsTotal = 0;
  streamsActive = 0;
  headerOverflow = 0;
  inboundEmptyFramesFlood = 0;
  inboundPriorityFramesFlood = 0;
  inboundWindowUpdateFramesFlood = 0;
  outboundControlFlood = 0;
  outboundFlood = 0;
  rapidReset = 0;
  continuationFlood = 0;
  settingsFlood = 0;
  goAwaySent = 0;
  goAwayReceived = 0;
  keepaliveTimeout = 0;
  prefaceTimeout = 0;
  /** Connections that ended because a header block did not, or another frame than DATA. */
  headerTimeout = 0;
  frameTimeout = 0;
  /** Connections that ended because too many bytes waited for the end of their frame or header block, over all connections. */
  unfinishedOverflow = 0;
  /** Clients that said their preface and then sent no request in time. */
  firstRequestTimeout = 0;
  rxMessagingError = 0;
  rxReset = 0;
  txReset = 0;
  /** Streams that we reset because their reader did not read. */
  txFlushTimeout = 0;
  trailers = 0;

  /** Calls `emit` with Envoy's name and the value of each counter; `gauge` is true for what also falls. */
  forEach(emit: (name: string, value: number, gauge: boolean) => void): void {
    emit('header_overflow', this.headerOverflow, false);
    emit('inbound_empty_frames_flood', this.inboundEmptyFramesFlood, false);
    emit('inbound_priority_frames_flood', this.inboundPriorityFramesFlood, false);
    emit('inbound_window_update_frames_flood', this.inboundWindowUpdateFramesFlood, false);
    emit('outbound_control_flood', this.outboundControlFlood, false);
    emit('outbound_flood', this.outboundFlood, false);
    emit('rapid_reset', this.rapidReset, false);
    emit('continuation_flood', this.continuationFlood, false);
    emit('settings_flood', this.settingsFlood, false);
    emit('goaway_sent', this.goAwaySent, false);
    emit('goaway_received', this.goAwayReceived, false);
    emit('keepalive_timeout', this.keepaliveTimeout, false);
    emit('header_timeout', this.headerTimeout, false);
    emit('frame_timeout', this.frameTimeout, false);
    emit('unfinished_overflow', this.unfinishedOverflow, false);
    emit('preface_timeout', this.prefaceTimeout, false);
    emit('first_request_timeout', this.firstRequestTimeout, false);
    emit('rx_messaging_error', this.rxMessagingError, false);
    emit('rx_reset', this.rxReset, false);
    emit('tx_reset', this.txReset, false);
    emit('tx_flush_timeout', this.txFlushTimeout, false);
    emit('trailers', this.trailers, false);
    emit('streams_active', this.streamsActive, true);
  }
}
