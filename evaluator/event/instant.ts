// A time of the kernel in seconds and nanoseconds, exactly, without a bigint: these cost 100 to 200 ns for each division.

const SECOND_NS = 1_000_000_000;
const HALF = 65536;

/** A 64-bit number of nanoseconds, taken apart. */
export class Instant {
  seconds = 0;
  nanos = 0;
  /** Where the second began, as far as the upper half is this one. */
  private high = -1;
  private start = 0;

  /** Takes the two halves of the number. Most are of the second of the one before, and nothing is divided then. */
  set(low: number, high: number): void {
    const nanos = low - this.start;
    if (high === this.high && nanos >= 0 && nanos < SECOND_NS) this.nanos = nanos;
    else this.divide(low, high);
  }

  /** Long division, in steps that a double holds exactly. */
  private divide(low: number, high: number): void {
    const first = Math.floor(high / SECOND_NS);
    const second = (high - first * SECOND_NS) * HALF + (low >>> 16);
    const secondQuotient = Math.floor(second / SECOND_NS);
    const third = (second - secondQuotient * SECOND_NS) * HALF + (low & 0xffff);
    const thirdQuotient = Math.floor(third / SECOND_NS);
    this.seconds = (first * HALF + secondQuotient) * HALF + thirdQuotient;
    this.nanos = third - thirdQuotient * SECOND_NS;
    this.high = high;
    this.start = low - this.nanos;
  }
}
