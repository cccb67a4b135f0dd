// What the next evaluator would have to say for this one: events and alerts that could not be written, and that no line that
// got out has told of yet.

import { ALERT, HEALTH, NOTICE } from "./lines.ts";

/** How many events and alerts. */
export type Unwritten = { events: number; alerts: number };

/** Hears what becomes of each line, by its owner. */
export class Debts {
  /** Does some line about the stream lack that no health line has made up for? */
  lacksNotice = false;
  private failed: Unwritten = { events: 0, alerts: 0 };
  /** What the health line says that is on its way, and what the last one said that got out. */
  private saying: Unwritten = this.failed;
  private said: Unwritten = this.failed;
  /** Did the last line get out? */
  private works = true;

  /** Takes over what another evaluator owed. */
  take({ events, alerts }: Unwritten): void {
    this.failed = { events: this.failed.events + events, alerts: this.failed.alerts + alerts };
  }

  /** A line did not get out. */
  lost(owner: number): void {
    this.works = false;
    if (owner >= NOTICE) this.lacksNotice = true;
    else this.take(owner & ALERT ? { events: 0, alerts: 1 } : { events: 1, alerts: 0 });
  }

  /** A health line is made, with all sums of this moment. One at a time is on its way. */
  say(): void {
    this.saying = this.failed;
  }

  /** A line got out. */
  wrote(owner: number): void {
    this.works = true;
    if (owner !== HEALTH) return;
    this.said = this.saying;
    this.lacksNotice = false;
  }

  /** Is it time for a health line, because lines get out again? */
  get isDue(): boolean {
    const { events, alerts } = this.owed;
    return this.works && (this.lacksNotice || events + alerts > 0);
  }

  /** What is owed at this moment. */
  get owed(): Unwritten {
    const { failed, said } = this;
    return { events: failed.events - said.events, alerts: failed.alerts - said.alerts };
  }
}
