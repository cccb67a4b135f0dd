// What the events of files say beside what all events say: event/file.ts in bytes.

import { Call, FILE_RECORD, RECORD_HEADER, RecordKind, TEXT } from "../../../bpf/event.gen.ts";
import { callName, flagNames } from "../../event/file.ts";
import { type Bytes, errorName } from "../../event/text.ts";
import type { RecordView } from "../../input/view.ts";
import { type ByteBuffer, constant } from "../bytes.ts";
import { Kept, NULL, QUOTE, textKeyOf, thenTextOf } from "./pieces.ts";

const FILE = FILE_RECORD.at;
const { path: PATH, newPath: NEW_PATH, filename: FILENAME } = FILE_RECORD.variable;
const FILENAME_KEY = textKeyOf("filename");
const NO_FILENAME = constant(',"filename":null');
const PATH_KEY = textKeyOf("path");
const THEN_PATH = thenTextOf("path");
const THEN_RESOLVED_PATH = thenTextOf("resolved_path");
const THEN_COUNT = constant('","count":');
const OLD_FILENAME = textKeyOf("old_filename");
const THEN_NEW_FILENAME = thenTextOf("new_filename");
const NO_FILE = constant('null,"device":null,"nlink":null,"mode":null');
const DONE = constant(',"error":null,"alert":false,"detection_type":null');
const ERROR = textKeyOf("error");
const THEN_NOTHING_DETECTED = constant('","alert":false,"detection_type":null');
const SLASH = 0x2f;
/** More than there are: of the rest, the name is not known. */
const CALLS = 64;

/** Most files are of few sorts, which differ in what is the same for all files of a sort. */
type Sort = { deviceLow: number; deviceHigh: number; nlink: number; mode: number; piece: Uint8Array };
const SORTS = 64;
const sorts: (Sort | undefined)[] = Array.from({ length: SORTS });

const opens = new Kept(openText);
const calls = new Kept(callText);

/** Puts the facts of a file event that nothing was detected in. */
export function putFile(buffer: ByteBuffer, record: RecordView): void {
  const { bytes } = record;
  const start = record.textStart(PATH);
  const end = record.textEnd(PATH);
  const call = Math.min(record.u32(FILE.call), CALLS - 1);
  switch (record.u16(RECORD_HEADER.at.kind)) {
    case RecordKind.fileOpen: {
      if (record.u32(FILE.filename + TEXT.at.fullSize) === 0) {
        buffer.put(NO_FILENAME);
        buffer.put(PATH_KEY);
      } else {
        buffer.put(FILENAME_KEY);
        buffer.putText("filename", bytes, record.textStart(FILENAME), record.textEnd(FILENAME));
        buffer.put(THEN_PATH);
      }
      buffer.putText("path", bytes, start, end);
      const created = record.u32(FILE.created) === 0 ? 0 : 1;
      buffer.put(opens.of((record.u32(FILE.flags) * 2 + created) * CALLS + call));
      break;
    }
    case RecordKind.fileWrite:
      buffer.put(PATH_KEY);
      buffer.putText("path", bytes, start, end);
      buffer.put(THEN_RESOLVED_PATH);
      buffer.putText("resolved_path", bytes, start, end);
      buffer.put(THEN_COUNT);
      putCount(buffer, record.u32(FILE.count), record.u32(FILE.count + 4));
      buffer.put(calls.of(call));
      break;
    case RecordKind.fileRename:
      buffer.put(OLD_FILENAME);
      buffer.putText("old_filename", bytes, start, end);
      buffer.put(THEN_NEW_FILENAME);
      buffer.putText("new_filename", bytes, record.textStart(NEW_PATH), record.textEnd(NEW_PATH));
      buffer.put(QUOTE);
      buffer.put(calls.of(call));
      break;
    default:
      buffer.put(FILENAME_KEY);
      buffer.putText("filename", bytes, lastNameIn(bytes, start, end), end);
      buffer.put(THEN_PATH);
      buffer.putText("path", bytes, start, end);
      buffer.put(QUOTE);
      buffer.put(calls.of(call));
  }
  putInode(buffer, record);
  putOutcome(buffer, record.u32(FILE.error) | 0);
}

function putCount(buffer: ByteBuffer, low: number, high: number): void {
  if (low === 0 && high === 0) buffer.put(NULL);
  else buffer.putU64(low, high);
}

/** From behind the key `inode` to the end of `mode`. */
function putInode(buffer: ByteBuffer, record: RecordView): void {
  const low = record.u32(FILE.inode);
  const high = record.u32(FILE.inode + 4);
  if (low === 0 && high === 0) {
    buffer.put(NO_FILE);
    return;
  }
  buffer.putU64(low, high);
  const nlink = record.u32(FILE.nlink);
  const mode = record.u32(FILE.mode);
  const deviceLow = record.u32(FILE.device);
  const deviceHigh = record.u32(FILE.device + 4);
  const place = (mode ^ (mode >>> 8) ^ nlink ^ deviceLow) & (SORTS - 1);
  let sort = sorts[place];
  if (
    sort?.mode !== mode ||
    sort.nlink !== nlink ||
    sort.deviceLow !== deviceLow ||
    sort.deviceHigh !== deviceHigh
  ) {
    const device = (BigInt(deviceHigh) << 32n) | BigInt(deviceLow);
    const piece = constant(`,"device":${device},"nlink":${nlink},"mode":${mode}`);
    sort = { deviceLow, deviceHigh, nlink, mode, piece };
    sorts[place] = sort;
  }
  buffer.put(sort.piece);
}

function putOutcome(buffer: ByteBuffer, error: number): void {
  if (error === 0) {
    buffer.put(DONE);
    return;
  }
  buffer.put(ERROR);
  buffer.putBytes(errorName(error) as Bytes);
  buffer.put(THEN_NOTHING_DETECTED);
}

/** From behind a path to the key `inode`, by flags, whether the file was created, and call. */
function openText(number: number): string {
  const rest = Math.floor(number / CALLS);
  const flags = JSON.stringify(flagNames(Math.floor(rest / 2)));
  return `","flags":${flags},"created":${rest % 2 === 1}${callText(number % CALLS)}`;
}

function callText(call: number): string {
  return `,"syscall":${call === Call.unknown ? "null" : `"${callName(call)}"`},"inode":`;
}

/** Where the last name of a path begins. */
function lastNameIn(bytes: Uint8Array, start: number, end: number): number {
  let at = end;
  while (at > start && bytes[at - 1] !== SLASH) at--;
  return at;
}
