// Everything that lines are written to, as the settings have it: standard output or a file, and a file for alerts.

import { isatty } from "node:tty";
import type { Event } from "../event/event.ts";
import type { Bytes } from "../event/text.ts";
import type { Alert } from "./alert.ts";
import { type Coloring, colored, compact } from "./compact.ts";
import { OutputFile } from "./file.ts";
import { ndjson } from "./ndjson.ts";
import { LineWriter, STDOUT, type Told } from "./writer.ts";

/** What is written: an event, an alert, or a line about the stream itself. */
type Item =
  | { is: "event"; record: Event }
  | { is: "alert"; record: Alert }
  | { is: "notice"; record: object };

export type Format = "json" | "compact";

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

/** The main output, which gets every line, and beside it the one that gets no events. */
export class Outputs<Line extends Item> {
  private readonly main: LineWriter<Line>;
  private readonly alerts: LineWriter<Line> | null = null;
  private readonly files = new Map<LineWriter<Line>, OutputFile>();
  private readonly ageCheck: NodeJS.Timeout | null;

  /**
   * Opens what has to be opened, as this process's user. `told` hears what becomes of the main output's lines.
   * @throws OutputError
   */
  constructor(settings: OutputSettings, look: Look, told: Told<Line>) {
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
    const writerTo = (file: OutputFile | null, wanted: Look, listener: Told<Line>) => {
      const target = file ?? STDOUT;
      const writer = new LineWriter<Line>(target, rendererFor(target.fd, wanted, settings.format), listener);
      if (file) this.files.set(writer, file);
      return writer;
    };
    const { type, path, alerts_path: alertsPath } = settings;
    this.main = writerTo(type === "file" && path !== undefined ? open(path) : null, look, told);
    const others = { wrote() {}, lost() {}, say: told.say };
    if (alertsPath !== undefined)
      this.alerts = writerTo(open(alertsPath), { ...look, format: settings.format }, others);
    this.ageCheck = settings.rotate_age_s === 0 ? null : setInterval(() => this.rotateByAge(), AGE_CHECK_MS);
  }

  /** No line gets out any more: the reader of one has gone, or `giveUp` was called. */
  get closed(): boolean {
    return this.writers.some(({ closed }) => closed);
  }

  /** What each output lacks. */
  get shortfalls(): Shortfall[] {
    return this.writers.map(({ target, failed }) => ({ path: target.name, failed }));
  }

  /** Returns when every line was written, or lost. */
  async write(lines: readonly Line[]): Promise<void> {
    const rest = this.alerts ? lines.filter(({ is }) => is !== "event") : [];
    await Promise.all([this.main.write(lines), this.alerts?.write(rest)]);
  }

  /** Opens files anew, because somebody has moved them. */
  reopen(): void {
    for (const [writer, file] of this.files) writer.between(() => file.reopen());
  }

  /** Ends the waiting for readers that do not read. */
  giveUp(): void {
    for (const writer of this.writers) writer.giveUp();
  }

  /** Completes what can be. With `now`, segments stay uncompressed until the next start. */
  async close(now: boolean): Promise<void> {
    if (this.ageCheck) clearInterval(this.ageCheck);
    for (const writer of this.writers) await writer.close();
    for (const file of this.files.values()) await file.close(now);
  }

  private get writers(): LineWriter<Line>[] {
    return this.alerts ? [this.main, this.alerts] : [this.main];
  }

  private rotateByAge(): void {
    for (const [writer, file] of this.files) if (file.old) writer.between(() => file.rotateByAge());
  }
}

/** Lines for a terminal are compact, if nothing else was asked for. */
function rendererFor(fd: number, { format, color }: Look, setting: Format): (line: Item) => Bytes {
  const style = { color: colored(color ?? "auto", fd) };
  if ((format ?? (isatty(fd) ? "compact" : setting)) === "json") return ({ record }) => ndjson(record);
  return (line) => (line.is === "notice" ? ("" as Bytes) : compact(line.record, style));
}
