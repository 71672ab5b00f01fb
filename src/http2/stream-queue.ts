import type { Stream } from './stream.ts';

/** Fewer empty places than this are not worth the move. */
const keptPlaces = 64;

/**
 * Streams in the order in which they have their turn. Joining, leaving at the front and leaving in between take constant time, however many
 * wait: a place that was given up stays empty until its turn comes, or until half of the places are empty.
 */
export class StreamQueue {
  /** Streams that wait. */
  size = 0;
  #places: (Stream | undefined)[] = [];
  #head = 0;

  /** Only a stream that is not in the queue. */
  push(stream: Stream): void {
    stream.queued = true;
    this.#places.push(stream);
    this.size++;
  }

  /** Only while `size` is above 0. */
  shift(): Stream {
    let stream: Stream | undefined;
    do {
      stream = this.#places[this.#head];
      this.#places[this.#head++] = undefined;
    } while (!stream?.queued);
    stream.queued = false;
    this.size--;
    this.#compact();
    return stream;
  }

  /** Only a stream that is in the queue and will never join it again. */
  remove(stream: Stream): void {
    stream.queued = false;
    this.size--;
    this.#compact();
  }

  #compact(): void {
    if (this.size === 0) {
      this.#places.length = 0;
      this.#head = 0;
    } else if (this.#places.length > keptPlaces && this.size * 2 < this.#places.length) {
      this.#places = this.#places.filter((stream) => stream?.queued);
      this.#head = 0;
    }
  }
}
