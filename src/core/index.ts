export { type Clock, SystemClock, type Timer, VirtualClock } from './clock.ts';
export { formatDurationMs, parseDurationMs } from './duration.ts';
export { FolderWatch } from './folder-watch.ts';
export { holdProcess } from './hold-process.ts';
export { JsonLogger, type LogFields, type Logger, type LogLevel, logLevels, silentLogger } from './log.ts';
export { ConfigurationError, type Fate, fates, MeshError, type MeshErrorOptions, type Reason, reasons } from './mesh-error.ts';
export { editDistance, suggest } from './suggest.ts';
export { Deadline, TimerWheel } from './timer-wheel.ts';
export { constantWatch, type Watch, WatchSource } from './watch.ts';
