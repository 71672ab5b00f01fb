/** What does not work as it was meant to, though calls are served: for the log and for whoever asks whether all is well. */
export interface Shortcoming {
  /** One line. */
  readonly why: string;
  readonly remedy?: string;
}
