// Metrics in the text format of Prometheus: the sums of a health line, each under a name of its own.
// https://prometheus.io/docs/instrumenting/exposition_formats/ and https://prometheus.io/docs/practices/naming/

import { NOTICE_FIELDS, type NoticeFacts, type NoticeType, TOTALS_FIELDS } from "./notice.ts";
import type { Shortfall } from "./outputs.ts";
import { eventsIn, type Tally } from "./summary.ts";

/** What is told of an evaluator at one moment. */
export type Facts = {
  books: NoticeFacts["health"];
  tally: Tally;
  /** Lines about the stream, by type. */
  notices: ReadonlyMap<NoticeType, number>;
  outputs: readonly Shortfall[];
  connected: boolean;
  healthy: boolean;
  /** Labels of the metric that says which build this is. */
  build: Record<string, string>;
  process: { cpuSeconds: number; startedSeconds: number };
};

type Sample = { labels: Record<string, string>; value: number };
type Family = { name: string; type: "counter" | "gauge"; help: string; samples: Sample[] };

const HELP = NOTICE_FIELDS.health;
/** The sums that may become smaller. */
const GAUGES: ReadonlySet<string> = new Set(["unaccounted"]);

/** Renders facts. A counter never goes down, or its reader would take that for a restart. */
export class Exposition {
  private readonly highest = new Map<string, number>();

  /** The text of all metrics. */
  render(facts: Facts): string {
    return familiesOf(facts)
      .map((family) => this.family(family))
      .join("");
  }

  private family({ name, type, help, samples }: Family): string {
    const lines = samples.map(({ labels, value }) => {
      const key = `${name}${labelText(labels)}`;
      return `${key} ${type === "counter" ? this.climb(key, value) : value}\n`;
    });
    return `# HELP ${name} ${escaped(help)}\n# TYPE ${name} ${type}\n${lines.join("")}`;
  }

  /** A line that was taken for written and turned out to be torn is taken back from the books. */
  private climb(key: string, value: number): number {
    const highest = Math.max(value, this.highest.get(key) ?? 0);
    this.highest.set(key, highest);
    return highest;
  }
}

function familiesOf({ books, tally, ...facts }: Facts): Family[] {
  const kinds = Object.entries(books.ledger.by_kind);
  const byKind = (valueOf: (totals: (typeof kinds)[number][1]) => number) =>
    kinds.map(([kind, totals]) => ({ labels: { kind }, value: valueOf(totals) }));
  return [
    gauge("warder_build_info", "which build this is", [{ labels: facts.build, value: 1 }]),
    gauge("warder_healthy", "1 when /healthz answers 200", one(Number(facts.healthy))),
    gauge("warder_sensor_connected", "1 while a sensor's stream is read", one(Number(facts.connected))),
    counter(
      "warder_events",
      "events: records that were decoded, without canaries and lineage",
      byKind(eventsIn),
    ),
    counter("warder_alerts", "alerts by severity", labelled("severity", tally.bySeverity)),
    counter("warder_rule_matches", "alerts by rule", labelled("rule_id", tally.byRule)),
    ...Object.entries(TOTALS_FIELDS).map(([key, [, help]]) => {
      const samples = byKind((totals) => totals[key as keyof typeof TOTALS_FIELDS]);
      const name = `warder_ledger_${key}`;
      return GAUGES.has(key) ? gauge(name, help, samples) : counter(name, help, samples);
    }),
    counter("warder_notices", "lines about the stream itself, by type", labelled("type", facts.notices)),
    counter(
      "warder_output_failed_lines",
      "lines that an output lacks",
      facts.outputs.map(({ path, failed }) => ({ labels: { path }, value: failed })),
    ),
    gauge("warder_processes", HELP.process_table_size[1], one(books.process_table_size)),
    counter("warder_processes_evicted", HELP.process_records_evicted[1], one(books.process_records_evicted)),
    counter("warder_unattributed_events", HELP.unattributed[1], one(books.unattributed)),
    counter("warder_refused_connections", HELP.connections_refused[1], one(books.connections_refused)),
    gauge("process_resident_memory_bytes", "resident memory", one((books.rss_kb ?? 0) * 1024)),
    counter("process_cpu_seconds", "CPU time of this process", one(facts.process.cpuSeconds)),
    gauge("process_start_time_seconds", "when it started, since 1970", one(facts.process.startedSeconds)),
  ];
}

function gauge(name: string, help: string, samples: Sample[]): Family {
  return { name, type: "gauge", help, samples };
}

function counter(name: string, help: string, samples: Sample[]): Family {
  return { name: `${name}_total`, type: "counter", help, samples };
}

function one(value: number): Sample[] {
  return [{ labels: {}, value }];
}

function labelled(label: string, counts: ReadonlyMap<string, number>): Sample[] {
  return [...counts].map(([name, value]) => ({ labels: { [label]: name }, value }));
}

function labelText(labels: Record<string, string>): string {
  const pairs = Object.entries(labels).map(
    ([label, value]) => `${label}="${escaped(value).replaceAll('"', '\\"')}"`,
  );
  return pairs.length > 0 ? `{${pairs.join(",")}}` : "";
}

function escaped(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
}
