// Lines about the stream itself: what they hold, and what they mean in words for the person at the terminal.

import { RING_NAMES } from "../../bpf/kinds.ts";
import type { Common } from "../event/event.ts";
import { COMMON_FIELDS, type Fields } from "../event/fields.ts";
import { type Bytes, fromUtf8 } from "../event/text.ts";
import type { Ledger } from "./ledger.ts";
import { jsonText } from "./text.ts";
import type { Statement, Totals } from "./totals.ts";

/** Which hooks serve an event type. */
type Service = { hooks: string[]; attached: boolean; reason: string | null };
/** Whose records were lost. */
type Producer = { comm: Bytes; lost: number };
type Span = { from: string; to: string };

/** What each type of line says. */
export type NoticeFacts = {
  /** What the sensor says of its hooks, as it says it. */
  coverage: {
    kernel: string;
    profile: string;
    events: Record<string, Service>;
    blind_spots: string[];
    tested_cpus: number | undefined;
    attached_since: string;
  };
  /** The books, every few seconds and at the end. */
  health: {
    raw_events_read: number;
    normalized_events_output: number;
    alerts_output: number;
    userspace_filtered: number;
    userspace_rate_limited: number;
    userspace_invalid_schema: number;
    userspace_unsupported_kind: number;
    userspace_output_failures: number;
    process_table_size: number;
    pending_exec_source_size: number;
    process_records_evicted: number;
    pending_sources_evicted: number;
    unattributed: number;
    uptime_secs: number;
    rss_kb: number | null;
    connections_refused: number;
    outputs: { path: Bytes; failed: number }[];
    ledger: Statement;
    since_attached: ReturnType<Ledger["sinceAttached"]>;
  };
  /** Records were lost: which, whose, and which rules were blind. */
  loss: Span & {
    stage: string;
    kind: string | null;
    ring: string | null;
    cpu: number | null;
    reason: string;
    count: number;
    from_ns: bigint;
    to_ns: bigint;
    producers: Producer[];
    rules_blind: Bytes[];
  };
  /** A stretch of which nothing is known: between the last counters of programs that are gone, and the next programs. */
  gap: Span & { duration_ns: bigint };
  /** Two measures of the ledger differ. */
  ledger_mismatch: { law: string; cpu: number; of: string; left: number; right: number };
  /** Hooks, or the whole sensor, report no more; `rules_blind` where single hooks are meant. */
  sensor_silent: { types: string[]; since: string; reason: string; rules_blind: Bytes[] | undefined };
  /** They do again. */
  sensor_heard: { types: string[] };
  /** The stream ended without saying so. */
  sensor_gone: { types: string[] };
  /** Somebody touched what is the sensor's. */
  tampered: { what: string };
};

export type NoticeType = keyof NoticeFacts;
type NoticeOf<Type extends NoticeType> = { event_type: Type } & Pick<
  Common,
  "timestamp_ns" | "time" | "schema_version" | "host_id" | "boot_id"
> &
  NoticeFacts[Type];
/** A line about the stream itself. Keys are written in the object's order. */
export type Notice = { [Type in NoticeType]: NoticeOf<Type> }[NoticeType];

/** The keys of `events`, by event type. */
export const SERVICE_FIELDS = {
  hooks: ["text list", "the kernel's hooks that serve it"],
  attached: ["flag", "are programs attached to them?"],
  reason: ["text or null", "why there are no better ones, or none"],
} as const satisfies Fields<Service>;
/** The keys of `producers`. */
export const PRODUCER_FIELDS = {
  comm: ["bytes", "name of the process"],
  lost: ["number", "how many of its records were lost"],
} as const satisfies Fields<Producer>;
/** The keys of `outputs`. */
export const OUTPUT_FIELDS = {
  path: ["bytes", "the file, or standard output"],
  failed: ["number", "lines that it lacks"],
} as const satisfies Fields<NoticeFacts["health"]["outputs"][number]>;
/** What the kernel side counts of events. */
const COUNTER_FIELDS = {
  attempts: ["number", "how often a hook fired"],
  submitted: ["number", "records that were put into a ring"],
  lost: ["number", "records that a full ring did not take"],
  discarded: ["number", "records for which there was no memory"],
  filtered: ["number", "what settings leave out in the kernel"],
} as const;
/** The keys of `since_attached`, by event type. */
export const SINCE_ATTACHED_FIELDS = {
  ...COUNTER_FIELDS,
  unheard: ["number", "of those lost and discarded: acts of the sensor"],
} as const;
/** The keys of `ledger`, and of `by_kind` within it, by event type. */
export const TOTALS_FIELDS = {
  ...COUNTER_FIELDS,
  missed: ["number", "how often a hook could not run"],
  abandoned: ["number", "records in a ring that went with its sensor before it was read"],
  received: ["number", "records that arrived"],
  repeated: ["number", "records that had arrived before"],
  malformed: ["number", "records that could not be decoded"],
  decoded: ["number", "records that could"],
  canaries: ["number", "acts of the sensor, to see that its hooks report: never events"],
  lineage: ["number", "records that are read for the lineage of others only"],
  withheld: ["number", "events that settings keep from the output; rules have seen them"],
  rate_limited: ["number", "events beyond performance.max_events_per_second"],
  written: ["number", "events that were handed to the output"],
  lines: ["number", "lines of these that got out"],
  write_failed: ["number", "lines of these that did not"],
  matched: ["number", "rules that matched"],
  alert_lines: ["number", "alerts of these that got out"],
  suppressed: ["number", "alerts of these that were not repeated"],
  alert_write_failed: ["number", "alerts of these that could not be written"],
  unaccounted: ["number", "records that nobody can account for"],
} as const satisfies Fields<Totals>;

const LINE = {
  timestamp_ns: COMMON_FIELDS.timestamp_ns,
  time: COMMON_FIELDS.time,
  schema_version: COMMON_FIELDS.schema_version,
  host_id: COMMON_FIELDS.host_id,
  boot_id: COMMON_FIELDS.boot_id,
} as const;
const SPAN = {
  from: ["text", "when it began, by the wall clock"],
  to: ["text", "when it ended, by the wall clock"],
} as const;
const TYPES = ["text list", "the event types whose hooks are meant"] as const;
const RULES_BLIND = "ids of the enabled rules that could not match meanwhile";

/** What each line about the stream is about. */
export const NOTICE_MEANINGS: Readonly<Record<NoticeType, string>> = {
  coverage: "a stream has begun: which hooks serve which events, and what nobody sees",
  health: "the books, every few seconds and at the end",
  loss: "records were lost",
  gap: "a stretch of time of which nothing is known, because the programs that saw it are gone",
  ledger_mismatch: "two measures of the same thing differ",
  sensor_silent: "hooks, or the whole sensor, report no more",
  sensor_heard: "they report again",
  sensor_gone: "the stream ended without saying so",
  tampered: "somebody touched what is the sensor's",
};

/** The keys of each line about the stream. */
export const NOTICE_FIELDS = {
  coverage: {
    ...LINE,
    kernel: ["text", "release of the kernel"],
    profile: ["text", "how hooks are chosen", ["fentry", "tracepoint"]],
    events: ["table", "by event type, the hooks that serve it; process_snapshot: what was running before"],
    blind_spots: ["text list", "what nobody sees on this host"],
    tested_cpus: ["number?", "on how many CPUs every hook was seen to report when the sensor started"],
    attached_since: ["text", "when the hooks were attached"],
  },
  health: {
    ...LINE,
    raw_events_read: ["number", "records that arrived"],
    normalized_events_output: ["number", "events that were handed to the output"],
    alerts_output: ["number", "alerts that were handed to the output"],
    userspace_filtered: ["number", "events that settings keep from the output; rules have seen them"],
    userspace_rate_limited: ["number", "events beyond performance.max_events_per_second"],
    userspace_invalid_schema: ["number", "records that could not be decoded"],
    userspace_unsupported_kind: ["number", "records of a kind that is not known"],
    userspace_output_failures: ["number", "lines that could not be written"],
    process_table_size: ["number", "processes that are remembered"],
    pending_exec_source_size: ["number", "always 0: an exec record says itself who asked for it"],
    process_records_evicted: [
      "number",
      "processes that were forgotten because the table was full, or their arguments",
    ],
    pending_sources_evicted: ["number", "always 0"],
    unattributed: ["number", "events whose process was not known"],
    uptime_secs: ["number", "how long this stream has been read, in seconds of its own clock"],
    rss_kb: ["number or null", "resident memory of the evaluator, in KiB; null in a replay"],
    connections_refused: ["number", "connections that the sensor turned away"],
    outputs: ["table list", "how many lines each output lacks"],
    ledger: ["table", "where every record has gone"],
    since_attached: [
      "table or null",
      "by event type, what the kernel side has counted since it was attached",
    ],
  },
  loss: {
    ...LINE,
    stage: ["text", "where records were lost", ["hook", "kernel", "ring", "output"]],
    kind: ["text or null", "their event type; null when only their number is known"],
    ring: [
      "text or null",
      "the ring that they were for, of processes or of what these do; null behind the rings",
      Object.values(RING_NAMES),
    ],
    cpu: ["number or null", "the CPU; null where it does not matter"],
    reason: ["text", "why"],
    count: ["number", "how many"],
    ...SPAN,
    from_ns: [
      "integer",
      "when it began, by the boot clock, in nanoseconds; of two lines of stage hook or kernel with the same kind, CPU and reason whose times overlap, the later one holds the losses of both",
    ],
    to_ns: ["integer", "when it ended, by the boot clock, in nanoseconds"],
    producers: ["table list", "the processes whose records were lost most, by name"],
    rules_blind: ["bytes list", RULES_BLIND],
  },
  gap: {
    ...LINE,
    ...SPAN,
    duration_ns: ["integer", "how long that was, in nanoseconds"],
  },
  ledger_mismatch: {
    ...LINE,
    law: ["text", "the sum that does not hold"],
    cpu: ["number", "the CPU"],
    of: ["text", "the event type or ring"],
    left: ["number", "one side of the sum"],
    right: ["number", "the other"],
  },
  sensor_silent: {
    ...LINE,
    types: TYPES,
    since: ["text", "when they were heard last"],
    reason: ["text", "what is missed"],
    rules_blind: ["bytes list?", RULES_BLIND],
  },
  sensor_heard: { ...LINE, types: TYPES },
  sensor_gone: { ...LINE, types: TYPES },
  tampered: { ...LINE, what: ["text", "what somebody has done"] },
} as const satisfies { [Type in NoticeType]: Fields<NoticeOf<Type>> };

const RULES_SHOWN_MAX = 5;

/** One line for each thing that somebody should know of; coverage and health are none. Losses of one kind are added up. */
export function warnings(notices: readonly Notice[]): string[] {
  const losses = Map.groupBy(
    notices.filter((notice) => notice.event_type === "loss"),
    ({ kind, ring, reason }) => `${kind} ${ring} ${reason}`,
  );
  const lines = [...losses.values()].map(lossMessage);
  for (const notice of notices) {
    const message = notice.event_type === "loss" ? null : messageOf(notice);
    if (message !== null) lines.push(message);
  }
  return lines.map((line) => Buffer.from(line, "latin1").toString("utf8"));
}

/** A line about the stream in words, as UTF-8 bytes without control characters; null for those that only hold numbers. */
export function messageOf(notice: Notice): Bytes | null {
  switch (notice.event_type) {
    case "coverage":
    case "health":
      return null;
    case "loss":
      return lossMessage([notice]);
    case "gap":
      return `nothing is known of the time from ${notice.from} to ${notice.to}: the programs of that time are gone` as Bytes;
    case "ledger_mismatch":
      return `the ledger does not add up: ${notice.law} (${notice.of}, CPU ${notice.cpu}): ${notice.left} and ${notice.right}` as Bytes;
    case "sensor_silent":
      return `sensor silent: ${notice.reason} (${notice.types.join(", ")})` as Bytes;
    case "sensor_heard":
      return `the sensor is heard again (${notice.types.join(", ")})` as Bytes;
    case "sensor_gone":
      return "the sensor is gone" as Bytes;
    case "tampered":
      return `tampered: ${notice.what}` as Bytes;
  }
}

function lossMessage(losses: readonly NoticeOf<"loss">[]): Bytes {
  const [first] = losses;
  const count = losses.reduce((sum, loss) => sum + loss.count, 0).toLocaleString("en-US");
  const producer = first?.producers[0];
  const most = producer ? `, most of ${jsonText(producer.comm).body}` : "";
  const rules = first?.rules_blind ?? [];
  const shown = rules.slice(0, RULES_SHOWN_MAX).map((rule) => jsonText(rule).body);
  const more = rules.length > RULES_SHOWN_MAX ? [fromUtf8("…")] : [];
  const blind = rules.length > 0 ? `; blind meanwhile: ${[...shown, ...more].join(", ")}` : "";
  const records = first?.ring ? `records of the ${first.ring} ring` : "records";
  return `lost ${count} ${first?.kind ?? records} (${first?.reason})${most}${blind}` as Bytes;
}
