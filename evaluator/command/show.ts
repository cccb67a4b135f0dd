// `warder show`: lines of an earlier run, for eyes.

import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import type { Command } from "commander";
import { whyNotRead } from "../../bpf/words.ts";
import type { Event } from "../event/event.ts";
import type { Field } from "../event/fields.ts";
import type { Bytes } from "../event/text.ts";
import { Exit, Failure } from "../exit.ts";
import { ALERT_FIELDS, type Alert } from "../output/alert.ts";
import { type Coloring, colored, compact } from "../output/compact.ts";
import { Lines } from "../output/lines.ts";
import { messageOf, NOTICE_FIELDS, type Notice } from "../output/notice.ts";
import { LineWriter, STDOUT } from "../output/writer.ts";
import { completed, parseJson, readEvent, readFields } from "../rule/given.ts";
import { describe, isTable } from "../rule/problem.ts";
import { say } from "../talk.ts";
import { colorOption } from "./options.ts";

const STDIN = 0;
/** So many are shown at once. */
const LINES_MAX = 256;
/** Nobody asks whose lines got out. */
const OWNER = 0;
/** Lines that the stream says about itself. */
const NOTICES: Readonly<Record<string, Readonly<Record<string, Field>>>> = NOTICE_FIELDS;

/** Adds the subcommand to the program. */
export function addShowCommand(program: Command): void {
  program
    .command("show")
    .description("print NDJSON of an earlier run as compact lines")
    .argument("[file]", "- is standard input, and the default", "-")
    .addOption(colorOption())
    .action(show);
}

async function show(file: string, { color }: { color: Coloring }): Promise<void> {
  const input = file === "-" ? createReadStream("", { fd: STDIN }) : createReadStream(file);
  const failed = new Promise<never>((_, reject) => {
    input.once("error", (error: NodeJS.ErrnoException) =>
      reject(new Failure(Exit.io, `${file}: ${whyNotRead(error)}`)),
    );
  });
  await Promise.race([failed, showLines(file, input, colored(color, STDOUT.fd))]);
}

async function showLines(file: string, input: Readable, color: boolean): Promise<void> {
  const writer = new LineWriter(STDOUT, { wrote() {}, lost() {}, say });
  const name = file === "-" ? "standard input" : file;
  let number = 0;
  const lines = new Lines();
  try {
    for await (const line of createInterface({ input, crlfDelay: Infinity })) {
      number += 1;
      if (line.trim() !== "") lines.add(shownLine(`${name}:${number}`, line, color), OWNER);
      if (lines.count < LINES_MAX && input.readableLength > 0) continue;
      await writer.write(lines);
      if (writer.closed) return; // nobody reads any more
      lines.clear();
    }
  } finally {
    await writer.write(lines);
    await writer.close();
  }
}

function shownLine(place: string, line: string, color: boolean): Bytes {
  const value = valueOf(place, line);
  const type = value["event_type"];
  // What a newer version adds is not in the way.
  const ignore = () => {};
  const fields = Object.hasOwn(NOTICES, String(type)) ? NOTICES[String(type)] : undefined;
  if (fields) {
    const facts = completed(fields, readFields(fields, value, ignore));
    const message = messageOf({ event_type: type, ...facts } as Notice);
    return (message === null ? "" : `${String(facts["time"]).slice(11, 23)} -- ${message}\n`) as Bytes;
  }
  const alert = type === "alert";
  const record = alert
    ? completed(ALERT_FIELDS, readFields(ALERT_FIELDS, value, ignore))
    : readEvent(value, ignore);
  if (!record) {
    const found = typeof type === "string" ? JSON.stringify(type) : describe(type);
    throw new Failure(
      Exit.io,
      `${place}: event_type: ${type === undefined ? "missing" : `${found} is not known`}: no output of "warder run"`,
    );
  }
  return compact((alert ? { ...record, event_type: "alert" } : record) as Event | Alert, { color });
}

function valueOf(place: string, line: string): Record<string, unknown> {
  try {
    const value = parseJson(line);
    if (isTable(value)) return value;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw new Failure(
    Exit.io,
    `${place}: not a JSON object: expected the output of "warder run -o json" (a capture: "warder replay")`,
  );
}
