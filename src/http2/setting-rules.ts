import { defaultFrameBytes, ErrorCode, largestWindowBytes, SettingId } from './frames.ts';

/** Why a frame or a value is not allowed: the connection ends with it. */
export interface ConnectionProblem {
  readonly code: number;
  readonly message: string;
}

const problem = (code: number, message: string): ConnectionProblem => ({ code, message });

/** What is wrong with a SETTINGS frame of that length (RFC 9113 6.5), apart from its values. */
export const settingsFrameProblem = (streamId: number, isAck: boolean, length: number): ConnectionProblem | undefined => {
  if (streamId !== 0) return problem(ErrorCode.protocolError, 'SETTINGS on a stream (RFC 9113 6.5)');
  if (isAck) {
    return length === 0 ? undefined : problem(ErrorCode.frameSizeError, 'SETTINGS acknowledgement with a payload (RFC 9113 6.5)');
  }
  return length % 6 === 0 ? undefined : problem(ErrorCode.frameSizeError, 'SETTINGS must be a multiple of 6 bytes (RFC 9113 6.5)');
};

/** What is wrong with a value that a peer sent to us in `role` (RFC 9113 6.5.2). Unknown settings are never wrong. */
export const settingProblem = (id: number, value: number, role: 'client' | 'server'): ConnectionProblem | undefined => {
  switch (id) {
    case SettingId.enablePush:
      if (value <= 1 && !(value === 1 && role === 'client')) return undefined;
      return problem(ErrorCode.protocolError, 'SETTINGS_ENABLE_PUSH must be 0 or 1, and 0 from a server (RFC 9113 6.5.2)');
    case SettingId.initialWindowSize:
      if (value <= largestWindowBytes) return undefined;
      return problem(ErrorCode.flowControlError, 'SETTINGS_INITIAL_WINDOW_SIZE is too large (RFC 9113 6.5.2)');
    case SettingId.maxFrameSize:
      if (value >= defaultFrameBytes && value <= 0xff_ffff) return undefined;
      return problem(ErrorCode.protocolError, 'SETTINGS_MAX_FRAME_SIZE is out of range (RFC 9113 6.5.2)');
    case SettingId.enableConnectProtocol:
      if (value <= 1) return undefined;
      return problem(ErrorCode.protocolError, 'SETTINGS_ENABLE_CONNECT_PROTOCOL must be 0 or 1 (RFC 8441 3)');
    default:
      return undefined;
  }
};
