// What the output has made of a process, for as long as it is right: the output keeps bytes, and here is what they depend on.

import { RECORD_HEADER } from "../../bpf/event.gen.ts";
import type { RecordView } from "../input/view.ts";
import type { Process } from "./process.ts";

const HEADER = RECORD_HEADER.at;
/**
 * All that a header says of who acted is in one piece of it, from the process to the name of the thread. Most events of a process
 * agree in every word of it, and to compare these in a loop costs a quarter of what it costs to ask for each member.
 */
const WHO = HEADER.process;
const WHO_WORDS = (RECORD_HEADER.size - WHO) / 4;
/** The part of it that names the parent. */
const PARENT_WORD = (HEADER.parent - WHO) / 4;
const AFTER_PARENT_WORD = (HEADER.tid - WHO) / 4;

/** Two texts, one behind the other: the thread that acted (its ids and its name), and the lineage of its process. */
export class Rendering {
  /** Where the output keeps them. */
  ticket = 0;
  threadSize = 0;
  lineageSize = 0;
  private version = 0;
  private parentVersion = 0;
  private hasImage = false;
  private readonly who = new Uint32Array(WHO_WORDS);

  /** The texts were made for this record. */
  depend(record: RecordView, process: Process, parent: Process | undefined): void {
    this.version = process.version;
    this.parentVersion = parent?.version ?? 0;
    this.hasImage = process.hasImageOf(record);
    for (let word = 0; word < WHO_WORDS; word++) this.who[word] = record.u32(WHO + word * 4);
  }

  /** Is the lineage that of this record of the same process? */
  hasLineageOf(record: RecordView, process: Process, parent: Process | undefined): boolean {
    return (
      this.version === process.version &&
      this.parentVersion === (parent?.version ?? 0) &&
      this.hasImage === process.hasImageOf(record) &&
      this.agrees(record, PARENT_WORD, AFTER_PARENT_WORD)
    );
  }

  /** Is the thread that of this record, if the lineage is? */
  hasThreadOf(record: RecordView): boolean {
    return this.agrees(record, AFTER_PARENT_WORD, WHO_WORDS);
  }

  private agrees(record: RecordView, from: number, to: number): boolean {
    const { who } = this;
    for (let word = from; word < to; word++) if (who[word] !== record.u32(WHO + word * 4)) return false;
    return true;
  }
}
