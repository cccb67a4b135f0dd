// Frames into the core, its lines to the outputs, then the acknowledgement.

import { EVENT_ABI } from "../bpf/event.gen.ts";
import { version } from "../package.json";
import type { Config, Loaded } from "./config.ts";
import { Core } from "./core.ts";
import { Exit, Failure } from "./exit.ts";
import { type Frame, FrameReader, StreamError } from "./input/records.ts";
import { Rounds } from "./input/rounds.ts";
import { Handled, type SensorConnection } from "./input/socket.ts";
import type { Alert } from "./output/alert.ts";
import type { Coloring } from "./output/compact.ts";
import { Exposition } from "./output/exposition.ts";
import { type Notice, type NoticeType, warnings } from "./output/notice.ts";
import { type Format, Outputs } from "./output/outputs.ts";
import { eventsIn, isWhole, replaySummary, summary, tellsOfMissing } from "./output/summary.ts";
import { OutputError } from "./output/writer.ts";
import { Recording } from "./recording.ts";
import { decisionOf, judgeReload } from "./reload.ts";
import type { Rule } from "./rule/schema.ts";
import { say } from "./talk.ts";

/** What of the command line concerns the output. */
export type OutputOptions = { output?: Format; color?: Coloring; alertsOnly?: boolean; strict?: boolean };

const SECOND_NS = 1_000_000_000n;
/** Bytes of lines that wait are written at this size, and those of one event with its alerts, or of one portion of others, beyond it. */
const LINES_SIZE_MAX = 512 * 1024;
/** A sensor counts every second: one that has not for so long is silent. */
const SILENT_MS = 4000;
const SECOND_LOOK_MS = 200;

/** What a person can do something about becomes an end with a reason; anything else is a fault of ours. */
export function failureOf(source: string): (error: unknown) => Failure {
  return (error) => {
    if (error instanceof Failure) return error;
    if (error instanceof StreamError) return new Failure(Exit.io, `${source}: ${error.message}`);
    if (error instanceof OutputError) return new Failure(Exit.io, error.message);
    throw error;
  };
}

type Outcome = "end" | "cut" | "nothing";

/** Opens the outputs, with the rights that this process has by now. */
export function openPipeline(...args: ConstructorParameters<typeof Pipeline>): Pipeline {
  try {
    return new Pipeline(...args);
  } catch (error) {
    throw failureOf("output")(error);
  }
}

/** One core and its outputs, from the first record to the last line. */
class Pipeline {
  /** Why lines were not written that should have been; null when they were. */
  failure: Failure | null = null;
  private readonly core: Core;
  private readonly outputs: Outputs;
  private readonly started = performance.now();
  private readonly strict: boolean;
  private readonly config: Config;
  /** Lines about the stream that nobody has been told of in words; how many there were, by type. */
  private readonly notices: Notice[] = [];
  private readonly noticed = new Map<NoticeType, number>();
  /** Was something said to be missing? */
  private isMissing = false;
  private readonly exposition = new Exposition();
  private readonly rounds = new Rounds();
  /** Kept when the lines that were written last are out, or lost. */
  private written: Promise<void> = Promise.resolve();

  constructor(
    loaded: Loaded,
    private readonly options: OutputOptions,
    memory: () => number | null,
    onAlert: (alert: Alert) => void = () => {},
  ) {
    const { config } = loaded;
    this.config = config;
    this.strict = options.strict === true;
    const told = {
      wrote: (owner: number) => this.core.wrote(owner),
      lost: (owner: number, torn: boolean) => this.core.lost(owner, torn),
      say,
    };
    const look = { format: options.output, color: options.color };
    const outputs = new Outputs(config.output, look, told);
    const settings = {
      decision: decisionOf(loaded, options.alertsOnly),
      limits: {
        entriesMax: config.performance.max_process_cache_entries,
        ancestorsMax: config.process.ancestors_max,
      },
      healthInterval: BigInt(config.health.interval_s) * SECOND_NS,
      memory,
      shortfalls: () => outputs.shortfalls,
      hasNotices: outputs.hasNotices,
    };
    this.outputs = outputs;
    this.core = new Core(settings, {
      direct: outputs.direct,
      get isFull() {
        return outputs.waitingSize > LINES_SIZE_MAX;
      },
      event: (kind, event) => outputs.event(kind, event),
      alert(kind, alert) {
        onAlert(alert);
        outputs.alert(kind, alert);
      },
    });
  }

  /** A stream has begun. */
  get begun(): boolean {
    return this.core.begun;
  }

  /** How many events there were so far. */
  get events(): number {
    return eventsIn(this.core.ledger.statement());
  }

  /** The reader of an output has gone. */
  get closed(): boolean {
    return this.outputs.closed;
  }

  reopen(): void {
    this.outputs.reopen();
  }

  /** What is wrong at this moment, in words. */
  troubles(connected: boolean, socket: string): string[] {
    const ofStream = connected ? this.core.troubles : [`no sensor serves at ${socket}`];
    return [...ofStream, ...this.outputs.troubles];
  }

  /** The metrics at this moment, for Prometheus. */
  metrics(connected: boolean, troubles: readonly string[]): string {
    const { user, system } = process.cpuUsage();
    return this.exposition.render({
      books: this.core.books,
      tally: this.core.tally,
      notices: this.noticed,
      outputs: this.outputs.shortfalls,
      connected,
      healthy: troubles.length === 0,
      build: { version, event_abi: EVENT_ABI },
      process: {
        cpuSeconds: (user + system) / 1e6,
        startedSeconds: performance.timeOrigin / 1000,
      },
    });
  }

  /** Takes rules and settings that were read again, if nothing is wrong with them. */
  reload(read: Loaded): void {
    const { loaded, words } = judgeReload(this.config, read);
    words.forEach(say);
    if (loaded) this.core.decision = decisionOf(loaded, this.options.alertsOnly);
  }

  /** Ends the waiting for readers that do not read: what they did not take is not acknowledged. */
  giveUp(): void {
    this.failure = new Failure(
      Exit.io,
      "an output takes no more lines; records that are not written wait for the next evaluator",
    );
    this.outputs.giveUp();
  }

  /**
   * Handles one stream; `leaves` tells that its reader ends it. Returns whether it ended on purpose, was cut, or never began.
   * @throws StreamError, when everything before the bad byte has been written
   */
  async feed(
    pieces: AsyncIterable<Uint8Array>,
    recording: Recording | null,
    acknowledge: SensorConnection["acknowledge"] | null,
    leaves: AbortSignal | null = null,
  ): Promise<Outcome> {
    const reader = new FrameReader();
    const { rounds } = this;
    let ended = false;
    const handled = new Handled();
    let told = 0n;
    // Whoever is silent does not say what belongs between what is held back.
    const release = () => this.handle(rounds.rest(), handled);
    const settle = () => {
      const { position, counters } = handled.now();
      this.written = awaitedLater(
        this.write(recording, () => {
          const { lacksNotice, owed } = this.core.debts;
          if (!lacksNotice) told = counters;
          acknowledge?.({
            position,
            counters: told,
            unwrittenEvents: BigInt(owed.events),
            unwrittenAlerts: BigInt(owed.alerts),
          });
        }),
      );
    };
    try {
      for await (const piece of acknowledge ? this.listened(pieces, release) : pieces) {
        for (const frame of reader.push(piece)) {
          recording?.write(frame);
          handled.came(frame);
          await this.handle(rounds.portions(frame), handled);
          ended = frame.type === "end";
        }
        // What was handled is written while more is handled, and no more.
        await this.written;
        if (this.closed) return "cut";
        settle();
      }
    } catch (error) {
      await release();
      await recording?.endStream(true);
      await this.written;
      if (this.closed) return "cut";
      settle();
      await this.written;
      throw error;
    }
    await this.written;
    if (this.closed) return "cut";
    if (ended) return "end";
    if (acknowledge && reader.offset === 0) return "nothing";
    const isLeft = leaves?.aborted === true;
    await recording?.endStream(!isLeft);
    if (!acknowledge) await release();
    this.add(isLeft ? this.core.leave() : this.core.cut());
    await this.flush();
    if (!acknowledge) reader.finish();
    return "cut";
  }

  /**
   * The rest of a round that was cut does not come: writes what was held back for it. Otherwise the next sensor sends that again.
   * Returns why it could not.
   */
  async release(): Promise<Failure | null> {
    return this.handle(this.rounds.rest(), new Handled())
      .then(() => this.flush())
      .then(() => null, failureOf("output"));
  }

  /**
   * Completes the output and says on standard error what there was; with `rules`, also what they made of it; null: nothing.
   * With `now`, takes no time for old segments. Returns what --strict has to object: something was lost, or does not add up.
   */
  async finish(now: boolean, rules?: readonly Rule[] | null): Promise<Failure | null> {
    await this.outputs.close(now);
    if (rules === null) return null;
    const { shortfalls } = this.outputs;
    for (const line of rules ? replaySummary(this.core, rules) : []) say(line);
    say(summary(this.core, shortfalls, performance.now() - this.started));
    const { ledger, hasHidden, malformed, unsupported } = this.core;
    // Records of running processes are in no sum, and what was hidden is among the sensor's acts.
    const isMissing = this.isMissing || hasHidden || malformed + unsupported > 0;
    return !this.strict || isWhole(ledger.statement(), shortfalls, isMissing)
      ? null
      : new Failure(Exit.lost, "--strict: not everything that happened is in the output");
  }

  /** Handles frames, and writes their lines while it handles more. */
  private async handle(portions: Iterable<Frame>, handled: Handled): Promise<void> {
    for (const portion of portions) {
      // What is said of the ledger then is about lines that were written.
      if (portion.type === "counters" || portion.type === "end") await this.outputs.flush();
      for (let part: Frame | null = portion; part !== null; part = this.core.rest) {
        this.add(this.core.handle(part));
        if (this.outputs.waitingSize <= LINES_SIZE_MAX) continue;
        await this.written;
        this.written = awaitedLater(this.write());
      }
      handled.add(portion);
    }
  }

  /** Writes what waits, then acknowledges it, if there still is a reader. */
  private async write(recording: Recording | null = null, acknowledge: () => void = () => {}): Promise<void> {
    await Promise.all([this.flush(), recording?.flush()]);
    if (!this.closed) acknowledge();
  }

  private add(notices: Notice[]): void {
    for (const notice of notices) {
      this.notices.push(notice);
      this.isMissing ||= tellsOfMissing(notice);
      this.noticed.set(notice.event_type, (this.noticed.get(notice.event_type) ?? 0) + 1);
      this.outputs.notice(notice);
    }
  }

  /** Writes what waits. */
  private flush(): Promise<void> {
    warnings(this.notices.splice(0)).forEach(say);
    return this.outputs.flush();
  }

  /** The pieces of a live stream. A sensor that does not even count any more is silent, which is said once, behind `release`. */
  private async *listened(
    pieces: AsyncIterable<Uint8Array>,
    release: () => Promise<void>,
  ): AsyncGenerator<Uint8Array> {
    const iterator = pieces[Symbol.asyncIterator]();
    for (;;) {
      const next = iterator.next();
      // Whoever was stopped himself has not read yet what came meanwhile.
      if (!(await comesWithin(SILENT_MS, next)) && !(await comesWithin(SECOND_LOOK_MS, next))) {
        await release();
        this.add(this.core.silent(SILENT_MS / 1000));
        if (!this.core.begun) say("the sensor takes the connection and says nothing: is it stopped?");
        await this.flush();
      }
      const { done, value } = await next;
      if (done) return;
      yield value;
    }
  }
}

/** Does it come in time? */
async function comesWithin(ms: number, something: Promise<unknown>): Promise<boolean> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<false>((resolve) => {
    timer = setTimeout(resolve, ms, false);
  });
  const came = await Promise.race([something.then(() => true), late]);
  clearTimeout(timer);
  return came;
}

/** What fails is told when it is waited for, and not before. */
function awaitedLater(done: Promise<void>): Promise<void> {
  done.catch(() => {});
  return done;
}
