// What the output has made of a process, for as long as it is right: the output keeps bytes, and here is what they depend on.

import { PROCESS_KEY, RECORD_HEADER } from "../../bpf/event.gen.ts";
import type { RecordView } from "../input/view.ts";
import type { Process } from "./process.ts";

const HEADER = RECORD_HEADER.at;
const KEY = PROCESS_KEY.at;

/** Two texts, one behind the other: the thread that acted (its ids and its name), and the lineage of its process. */
export class Rendering {
  /** Where the output keeps them. */
  ticket = 0;
  threadSize = 0;
  lineageSize = 0;
  private version = 0;
  private parentVersion = 0;
  private parentTgid = 0;
  private parentLow = 0;
  private parentHigh = 0;
  private hasImage = false;
  private tid = 0;
  private uid = 0;
  private gid = 0;
  private euid = 0;
  private egid = 0;
  private comm0 = 0;
  private comm1 = 0;
  private comm2 = 0;
  private comm3 = 0;

  /** The texts were made for this record. */
  depend(record: RecordView, process: Process, parent: Process | undefined): void {
    this.version = process.version;
    this.parentVersion = parent?.version ?? 0;
    this.parentTgid = record.u32(HEADER.parent + KEY.tgid);
    this.parentLow = record.u32(HEADER.parent + KEY.startTime);
    this.parentHigh = record.u32(HEADER.parent + KEY.startTime + 4);
    this.hasImage = process.hasImageOf(record);
    this.tid = record.u32(HEADER.tid);
    this.uid = record.u32(HEADER.uid);
    this.gid = record.u32(HEADER.gid);
    this.euid = record.u32(HEADER.euid);
    this.egid = record.u32(HEADER.egid);
    this.comm0 = record.u32(HEADER.comm);
    this.comm1 = record.u32(HEADER.comm + 4);
    this.comm2 = record.u32(HEADER.comm + 8);
    this.comm3 = record.u32(HEADER.comm + 12);
  }

  /** Is the lineage that of this record of the same process? */
  hasLineageOf(record: RecordView, process: Process, parent: Process | undefined): boolean {
    return (
      this.version === process.version &&
      this.parentVersion === (parent?.version ?? 0) &&
      this.parentTgid === record.u32(HEADER.parent + KEY.tgid) &&
      this.parentLow === record.u32(HEADER.parent + KEY.startTime) &&
      this.parentHigh === record.u32(HEADER.parent + KEY.startTime + 4) &&
      this.hasImage === process.hasImageOf(record)
    );
  }

  /** Is the thread that of this record, if the lineage is? */
  hasThreadOf(record: RecordView): boolean {
    return (
      this.tid === record.u32(HEADER.tid) &&
      this.uid === record.u32(HEADER.uid) &&
      this.gid === record.u32(HEADER.gid) &&
      this.euid === record.u32(HEADER.euid) &&
      this.egid === record.u32(HEADER.egid) &&
      this.comm0 === record.u32(HEADER.comm) &&
      this.comm1 === record.u32(HEADER.comm + 4) &&
      this.comm2 === record.u32(HEADER.comm + 8) &&
      this.comm3 === record.u32(HEADER.comm + 12)
    );
  }
}
