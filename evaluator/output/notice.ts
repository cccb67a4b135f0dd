// What the lines about the stream itself mean, in words for the person at the terminal.

import type { Bytes } from "../event/text.ts";
import { jsonText } from "./text.ts";

type Facts = { readonly event_type: string } & Readonly<Record<string, unknown>>;

const RULES_SHOWN_MAX = 5;

/** One line for each thing that somebody should know of; coverage and health are none. Losses of one kind are added up. */
export function warnings(notices: readonly Facts[]): string[] {
  const losses = Map.groupBy(
    notices.filter(({ event_type: type }) => type === "loss"),
    (loss) => `${String(loss["kind"])} (${String(loss["reason"])})`,
  );
  return [
    ...[...losses].map(([what, those]) => lossWarning(what, those)),
    ...notices.map(warning).filter((line) => line !== null),
  ];
}

function lossWarning(what: string, losses: Facts[]): string {
  const count = losses.reduce((sum, loss) => sum + Number(loss["count"]), 0);
  const producers = (losses[0]?.["producers"] ?? []) as { comm: Bytes; lost: number }[];
  const most = producers[0] ? `, most of ${jsonText(producers[0].comm).body}` : "";
  const rules = (losses[0]?.["rules_blind"] ?? []) as string[];
  const more = rules.length > RULES_SHOWN_MAX ? ", …" : "";
  const blind =
    rules.length > 0 ? `; blind meanwhile: ${rules.slice(0, RULES_SHOWN_MAX).join(", ")}${more}` : "";
  return `lost ${count.toLocaleString("en-US")} ${what}${most}${blind}`;
}

function warning(notice: Facts): string | null {
  const types = ((notice["types"] ?? []) as string[]).join(", ");
  switch (notice.event_type) {
    case "gap":
      return `no programs were in the kernel from ${String(notice["from"])} to ${String(notice["to"])}: nothing is known of that time`;
    case "ledger_mismatch":
      return `the ledger does not add up: ${String(notice["law"])} (${String(notice["of"])}, CPU ${String(notice["cpu"])}): ${String(notice["left"])} and ${String(notice["right"])}`;
    case "sensor_silent":
      return `sensor silent: ${String(notice["reason"])} (${types})`;
    case "sensor_heard":
      return `the sensor is heard again (${types})`;
    case "sensor_gone":
      return "the sensor is gone";
    case "tampered":
      return `tampered: ${String(notice["what"])}`;
    default:
      return null;
  }
}
