// What rules compare, and nothing more, of a record where it lies.

import { FILE_RECORD, RECORD_HEADER, RecordKind } from "../../bpf/event.gen.ts";
import type { Process } from "../context/process.ts";
import type { ProcessNames } from "../event/normalise.ts";
import type { RecordView } from "../input/view.ts";
import type { Subject } from "./conditions.ts";

const { path: PATH, newPath: NEW_PATH } = FILE_RECORD.variable;

/** The subject of a record of a process or file. What is compared in one of the network is made with its event. */
export function subjectOf(record: RecordView, process: Process, names: ProcessNames): Subject {
  const who = {
    comm: record.charsLike(RECORD_HEADER.at.comm, process.known?.comm ?? null),
    exe_path: names.exePath,
    parent_comm: names.parentComm,
    parent_exe_path: names.parentExePath,
  };
  switch (record.u16(RECORD_HEADER.at.kind)) {
    case RecordKind.exec:
      return { event_type: "process_start", ...who };
    case RecordKind.fork:
      return { event_type: "process_relationship", ...who };
    case RecordKind.fileOpen:
      return { event_type: "file_open", ...who, path: record.text(PATH) };
    case RecordKind.fileWrite:
      return { event_type: "file_write", ...who, path: record.text(PATH) };
    case RecordKind.fileUnlink:
      return { event_type: "file_unlink", ...who, path: record.text(PATH) };
    case RecordKind.fileRename:
      return {
        event_type: "file_rename",
        ...who,
        old_filename: record.text(PATH),
        new_filename: record.text(NEW_PATH),
      };
    default:
      return { event_type: "process_exit", ...who };
  }
}
