// Built-in detections annotate file and network events; they raise no alert.

import type { Annotation, Event } from "../event/event.ts";
import { compileMatch, factsOf, isFileEvent, isNetworkEvent } from "./conditions.ts";
import type { Detection } from "./schema.ts";

/** Says what detections see in an event: the first that matches names the type, all that match are listed. */
export function compileDetections(detections: readonly Detection[]): (event: Event) => void {
  const compiled = detections.map(({ name, match }) => ({ name, match: compileMatch(match) }));
  return (event) => {
    if (!isFileEvent(event) && !isNetworkEvent(event)) return;
    const names = compiled.filter(({ match }) => factsOf(match, event)).map(({ name }) => name);
    const annotation: Annotation = {
      alert: names.length > 0,
      detection_type: names[0] ?? null,
      detections: names.length > 0 ? names : undefined,
    };
    Object.assign(event, annotation);
  };
}
