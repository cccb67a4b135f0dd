// Everything that lines are written to, as the settings have it: standard output or a file, and a file for alerts.

import { isatty } from "node:tty";
import type { Event } from "../event/event.ts";
import type { Bytes } from "../event/text.ts";
import type { Alert } from "./alert.ts";
import { type Coloring, colored, compact } from "./compact.ts";
import { EventWriter } from "./direct/events.ts";
import { ecs } from "./ecs.ts";
import { OutputFile } from "./file.ts";
import { ALERT, HEALTH, Lines, NOTICE } from "./lines.ts";
import { ndjson } from "./ndjson.ts";
import type { Notice } from "./notice.ts";
import { ocsf } from "./ocsf.ts";
import { LineWriter, STDOUT, type Told } from "./writer.ts";

/** Compact lines are for eyes, all others are NDJSON: the records themselves, or in the words of a standard. */
export const FORMATS = ["json", "compact", "ecs", "ocsf"] as const;
export type Format = (typeof FORMATS)[number];

/** How lines are to look, if somebody said so on the command line. */
export type Look = { format?: Format | undefined; color?: Coloring | undefined };

/** The section [output] of the settings. */
export type OutputSettings = {
  type: "stdout" | "file";
  format: Format;
  path?: string | undefined;
  alerts_path?: string | undefined;
  rotate_size_mb: number;
  rotate_age_s: number;
  compress: boolean;
  keep: number;
};

/** An output, and how many lines it lacks. */
export type Shortfall = { path: string; failed: number };

const MIB = 1024 * 1024;
const AGE_CHECK_MS = 1000;
/** Room for what is kept of processes: of those that something happens to, which are some thousand. */
const KEPT_SIZE = 4 * MIB;

/** An output: lines that wait, those on their way, who writes them where, and how they look. */
type Output = {
  lines: Lines;
  leaving: Lines;
  writer: LineWriter;
  file: OutputFile | null;
  format: Format;
  color: boolean;
};

/** The main output, which gets every line, and beside it the one that gets no events. */
export class Outputs {
  /** Puts events of files and the network into the main output without an event; null where lines are not JSON. */
  readonly direct: EventWriter | null;
  private readonly main: Output;
  private readonly alerts: Output | null = null;
  private readonly ageCheck: NodeJS.Timeout | null;
  /** Kept when what was flushed is out; so many times was something flushed that is not. */
  private writing: Promise<void> = Promise.resolve();
  private flushes = 0;

  /**
   * Opens what has to be opened, as this process's user. `told` hears what becomes of the main output's lines.
   * @throws OutputError
   */
  constructor(settings: OutputSettings, look: Look, told: Told) {
    const open = (path: string) =>
      new OutputFile(
        {
          path,
          rotateSize: settings.rotate_size_mb * MIB,
          rotateAgeMs: settings.rotate_age_s * 1000,
          compress: settings.compress,
          keep: settings.keep,
        },
        told.say,
      );
    const outputTo = (file: OutputFile | null, wanted: Look, listener: Told): Output => {
      const target = file ?? STDOUT;
      // Lines for a terminal are compact, if nothing else was asked for.
      const format = wanted.format ?? (isatty(target.fd) ? "compact" : settings.format);
      const color = colored(wanted.color ?? "auto", target.fd);
      const writer = new LineWriter(target, listener);
      return { lines: new Lines(KEPT_SIZE), leaving: new Lines(), writer, file, format, color };
    };
    const { type, path, alerts_path: alertsPath } = settings;
    this.main = outputTo(type === "file" && path !== undefined ? open(path) : null, look, told);
    const others = { wrote() {}, lost() {}, say: told.say };
    if (alertsPath !== undefined)
      this.alerts = outputTo(open(alertsPath), { ...look, format: settings.format }, others);
    this.direct = this.main.format === "json" ? new EventWriter(this.main.lines) : null;
    this.ageCheck = settings.rotate_age_s === 0 ? null : setInterval(() => this.rotateByAge(), AGE_CHECK_MS);
  }

  /** No line gets out any more: the reader of one has gone, or `giveUp` was called. */
  get closed(): boolean {
    return this.all.some(({ writer }) => writer.closed);
  }

  /** Do lines about the stream get into the main output? */
  get hasNotices(): boolean {
    return this.main.format !== "compact";
  }

  /** What each output lacks. */
  get shortfalls(): Shortfall[] {
    return this.all.map(({ writer }) => ({ path: writer.target.name, failed: writer.failed }));
  }

  /** Which outputs fail at this moment, and why. */
  get troubles(): string[] {
    return this.all.flatMap(({ writer: { target, trouble } }) =>
      trouble === null ? [] : [`${target.name}: ${trouble}`],
    );
  }

  /** Adds the line of an event, whose record is of this kind. */
  event(kind: number, event: Event): void {
    this.main.lines.add(lineOf(event, this.main), kind);
  }

  /** Adds the line of an alert about a record of this kind. */
  alert(kind: number, alert: Alert): void {
    for (const output of this.all) output.lines.add(lineOf(alert, output), ALERT | kind);
  }

  /** Adds a line about the stream itself, but where lines are for eyes. */
  notice(notice: Notice): void {
    const owner = notice.event_type === "health" ? HEALTH : NOTICE;
    for (const { lines, format } of this.all)
      if (format !== "compact") lines.add(jsonOf(notice, format), owner);
  }

  /** Writes every line so far. The promise is kept when they are out, or lost; lines that come meanwhile wait. */
  flush(): Promise<void> {
    // Taken at once where nothing is on its way: the next lines are made while these are written.
    const done = this.flushes === 0 ? this.write() : this.writing.then(() => this.write());
    this.flushes += 1;
    this.writing = this.settled(done);
    return done;
  }

  private async settled(flush: Promise<void>): Promise<void> {
    await flush.catch(() => {});
    this.flushes -= 1;
  }

  private async write(): Promise<void> {
    await Promise.all(this.all.map(write));
  }

  /** Bytes of lines that wait for `flush`, in the output that has most. */
  get waitingSize(): number {
    return Math.max(...this.all.map(({ lines }) => lines.size));
  }

  /** Opens files anew, because somebody has moved them. */
  reopen(): void {
    for (const { writer, file } of this.all) if (file) writer.between(() => file.reopen());
  }

  /** Ends the waiting for readers that do not read. */
  giveUp(): void {
    for (const { writer } of this.all) writer.giveUp();
  }

  /** Completes what can be. With `now`, segments stay uncompressed until the next start. */
  async close(now: boolean): Promise<void> {
    if (this.ageCheck) clearInterval(this.ageCheck);
    for (const { writer } of this.all) await writer.close();
    for (const { file } of this.all) await file?.close(now);
  }

  private get all(): Output[] {
    return this.alerts ? [this.main, this.alerts] : [this.main];
  }

  private rotateByAge(): void {
    for (const { writer, file } of this.all) if (file?.old) writer.between(() => file.rotateByAge());
  }
}

function lineOf(record: Event | Alert, { format, color }: Output): Bytes {
  return format === "compact" ? compact(record, { color }) : jsonOf(record, format);
}

function jsonOf(record: Event | Alert | Notice, format: Exclude<Format, "compact">): Bytes {
  switch (format) {
    case "json":
      return ndjson(record);
    case "ecs":
      return ndjson(ecs(record));
    case "ocsf":
      return ndjson(ocsf(record));
  }
}

/** While lines are being written, others are made. */
function write({ lines, leaving, writer }: Output): Promise<void> {
  leaving.copy(lines);
  lines.clear();
  return writer.write(leaving);
}
