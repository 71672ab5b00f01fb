import { request as plainRequest } from 'node:http';
import { request as secureRequest } from 'node:https';
import type { Clock } from '../../core/index.ts';
import { networkFailureOf, timedOut, UnansweredError } from './network-failure.ts';

export interface HttpAnswer {
  readonly status: number;
  readonly body: string;
  /** What its clock says of itself. */
  readonly time: ClockReading | undefined;
}

/** The `Date` header of an answer, which has whole seconds, beside our own clock before and after; wall clock, milliseconds. */
export interface ClockReading {
  readonly dateMs: number;
  readonly askedAtMs: number;
  readonly answeredAtMs: number;
}

export interface HttpQuestion {
  readonly timeoutMs: number;
  readonly clock: Clock;
  /** In the place of the host of the address. */
  readonly host?: string;
  readonly method?: 'GET' | 'POST';
}

/** A scrape of a thousand routes is 3 MB. */
const answerLimitBytes = 32 * 2 ** 20;

export const clockReading = (date: string | undefined, askedAtMs: number, answeredAtMs: number): ClockReading | undefined => {
  const dateMs = date === undefined ? Number.NaN : Date.parse(date);
  return Number.isNaN(dateMs) ? undefined : { dateMs, askedAtMs, answeredAtMs };
};

/** One question, without redirects. Any status is an answer; rejects with an `UnansweredError` otherwise, at the latest after `timeoutMs`. */
export const askHttp = (url: string, { timeoutMs, clock, host, method = 'GET' }: HttpQuestion): Promise<HttpAnswer> =>
  new Promise((resolve, reject) => {
    const askedAtMs = clock.wallNow();
    const headers = host === undefined ? {} : { host };
    const request = url.startsWith('https:') ? secureRequest : plainRequest;
    // Without an agent no kept-alive socket holds the command back after its answer.
    const outgoing = request(url, { method, headers, agent: false }, (answer) => {
      const answeredAtMs = clock.wallNow();
      const chunks: Buffer[] = [];
      let bytes = 0;
      answer.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes > answerLimitBytes) outgoing.destroy(new UnansweredError({ kind: 'broken', why: 'the answer is too long' }));
        else chunks.push(chunk);
      });
      answer.on('end', () => {
        timer.cancel();
        resolve({
          status: answer.statusCode ?? 0,
          body: Buffer.concat(chunks).toString('utf8'),
          time: clockReading(answer.headers.date, askedAtMs, answeredAtMs),
        });
      });
      answer.on('error', fail);
    });
    const fail = (error: Error): void => {
      timer.cancel();
      reject(new UnansweredError(networkFailureOf(error), error));
    };
    const timer = clock.setTimer(() => outgoing.destroy(new UnansweredError(timedOut(timeoutMs))), timeoutMs);
    outgoing.on('error', fail);
    outgoing.end();
  });

/** The same, parsed; a status of 400 and above, or what is no JSON, is no answer either. */
export const askJson = async (url: string, question: HttpQuestion): Promise<{ readonly value: unknown; readonly answer: HttpAnswer }> => {
  const answer = await askHttp(url, question);
  if (answer.status >= 400) {
    const said = answer.body.trim().replaceAll(/\s+/g, ' ').slice(0, 200);
    throw new UnansweredError({ kind: 'broken', why: `it answered ${answer.status}${said === '' ? '' : `: ${said}`}` });
  }
  try {
    return { value: JSON.parse(answer.body), answer };
  } catch (cause) {
    throw new UnansweredError({ kind: 'broken', why: 'it answered something else than JSON' }, cause);
  }
};
