// Built-in detections annotate file and network events; they raise no alert.

import type { Event } from "../event/event.ts";
import { type Bytes, fromUtf8 } from "../event/text.ts";
import { compileAll } from "./compile.ts";
import { isFileEvent, isNetworkEvent, type Subject } from "./conditions.ts";
import type { Detection } from "./schema.ts";

/** Detections, ready for events. */
export type Detections = {
  /** The names of those that match, in their order. */
  namesFor(subject: Subject): Bytes[];
};

/** Compiles detections once. */
export function compileDetections(detections: readonly Detection[]): Detections {
  const matching = compileAll(detections.map(({ name, match }) => ({ name: fromUtf8(name), match })));
  return { namesFor: (subject) => matching(subject).map(({ thing }) => thing.name) };
}

/** Writes into an event what detections see in it: the first of them names the type, all are listed. */
export function annotate(event: Event, names: Bytes[]): void {
  if (names.length === 0 || (!isFileEvent(event) && !isNetworkEvent(event))) return;
  event.alert = true;
  event.detection_type = names[0] ?? null;
  event.detections = names;
}
