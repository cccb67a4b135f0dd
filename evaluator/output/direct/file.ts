// What the events of files say beside what all events say: event/file.ts in bytes.

import { Call, FILE_RECORD, RECORD_HEADER, RecordKind, TEXT } from "../../../bpf/event.gen.ts";
import { callName, flagNames } from "../../event/file.ts";
import { type Bytes, errorName } from "../../event/text.ts";
import type { RecordView } from "../../input/view.ts";
import { type ByteBuffer, constant, type Piece } from "../bytes.ts";
import { END, Kept, NULL, QUOTE, textKeyOf, thenTextOf } from "./pieces.ts";

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
const DONE_TEXT = ',"error":null,"alert":false,"detection_type":null}\n';
const DONE = constant(DONE_TEXT);
const ERROR = textKeyOf("error");
const THEN_NOTHING_DETECTED = constant('","alert":false,"detection_type":null');
const SLASH = 0x2f;
/** More than there are: of the rest, the name is not known. */
const CALLS = 64;

/**
 * Most files are of few sorts, which differ in what is the same for all files of a sort: this, and with what follows to the
 * line's end if nothing has failed.
 */
type Sort = {
  deviceLow: number;
  deviceHigh: number;
  nlink: number;
  mode: number;
  piece: Piece;
  rest: Piece;
};
const SORTS = 64;
const sorts: (Sort | undefined)[] = Array.from({ length: SORTS });

const opens = new Kept(openText);
const calls = new Kept(callText);

/** Puts the facts of a file event that nothing was detected in, and the line's end. */
export function putFile(buffer: ByteBuffer, record: RecordView): void {
  const call = Math.min(record.u32(FILE.call), CALLS - 1);
  switch (record.u16(RECORD_HEADER.at.kind)) {
    case RecordKind.fileOpen:
      putOpen(buffer, record, call);
      break;
    case RecordKind.fileWrite:
      putWrite(buffer, record, call);
      break;
    case RecordKind.fileRename:
      putRename(buffer, record, call);
      break;
    default:
      putUnlink(buffer, record, call);
  }
  putInode(buffer, record, record.u32(FILE.error) | 0);
}

function putOpen(buffer: ByteBuffer, record: RecordView, call: number): void {
  if (record.u32(FILE.filename + TEXT.at.fullSize) === 0) {
    buffer.put(NO_FILENAME);
    putTextOf(buffer, record, "path", PATH_KEY, PATH);
  } else {
    putTextOf(buffer, record, "filename", FILENAME_KEY, FILENAME);
    putTextOf(buffer, record, "path", THEN_PATH, PATH);
  }
  putWay(buffer, record, call);
}

function putWay(buffer: ByteBuffer, record: RecordView, call: number): void {
  const created = record.u32(FILE.created) === 0 ? 0 : 1;
  buffer.put(opens.of((record.u32(FILE.flags) * 2 + created) * CALLS + call));
}

function putWrite(buffer: ByteBuffer, record: RecordView, call: number): void {
  putTextOf(buffer, record, "path", PATH_KEY, PATH);
  putTextOf(buffer, record, "resolved_path", THEN_RESOLVED_PATH, PATH);
  buffer.put(THEN_COUNT);
  const low = record.u32(FILE.count);
  const high = record.u32(FILE.count + 4);
  if (low === 0 && high === 0) buffer.put(NULL);
  else buffer.putU64(low, high);
  buffer.put(calls.of(call));
}

function putRename(buffer: ByteBuffer, record: RecordView, call: number): void {
  putTextOf(buffer, record, "old_filename", OLD_FILENAME, PATH);
  putTextOf(buffer, record, "new_filename", THEN_NEW_FILENAME, NEW_PATH);
  buffer.put(QUOTE);
  buffer.put(calls.of(call));
}

function putUnlink(buffer: ByteBuffer, record: RecordView, call: number): void {
  const start = record.textStart(PATH);
  const end = record.textEnd(PATH);
  buffer.put(FILENAME_KEY);
  buffer.putText("filename", record, lastNameIn(record.bytes, start, end), end);
  putTextOf(buffer, record, "path", THEN_PATH, PATH);
  buffer.put(QUOTE);
  buffer.put(calls.of(call));
}

/** A text with what comes before it. */
function putTextOf(buffer: ByteBuffer, record: RecordView, name: string, before: Piece, text: number): void {
  buffer.put(before);
  buffer.putText(name, record, record.textStart(text), record.textEnd(text));
}

/** From behind the key `inode` to the end. */
function putInode(buffer: ByteBuffer, record: RecordView, error: number): void {
  const low = record.u32(FILE.inode);
  const high = record.u32(FILE.inode + 4);
  if (low === 0 && high === 0) {
    buffer.put(NO_FILE);
    putOutcome(buffer, error);
    return;
  }
  buffer.putU64(low, high);
  const sort = sortOf(record);
  if (error === 0) buffer.put(sort.rest);
  else {
    buffer.put(sort.piece);
    putOutcome(buffer, error);
  }
}

function sortOf(record: RecordView): Sort {
  const nlink = record.u32(FILE.nlink);
  const mode = record.u32(FILE.mode);
  const deviceLow = record.u32(FILE.device);
  const deviceHigh = record.u32(FILE.device + 4);
  const place = (mode ^ (mode >>> 8) ^ nlink ^ deviceLow) & (SORTS - 1);
  const sort = sorts[place];
  return sort?.mode === mode &&
    sort.nlink === nlink &&
    sort.deviceLow === deviceLow &&
    sort.deviceHigh === deviceHigh
    ? sort
    : newSort(place, { deviceLow, deviceHigh, nlink, mode });
}

function newSort(place: number, known: Omit<Sort, "piece" | "rest">): Sort {
  const device = (BigInt(known.deviceHigh) << 32n) | BigInt(known.deviceLow);
  const text = `,"device":${device},"nlink":${known.nlink},"mode":${known.mode}`;
  const sort = { ...known, piece: constant(text), rest: constant(text + DONE_TEXT) };
  sorts[place] = sort;
  return sort;
}

function putOutcome(buffer: ByteBuffer, error: number): void {
  if (error === 0) {
    buffer.put(DONE);
    return;
  }
  buffer.put(ERROR);
  buffer.putBytes(errorName(error) as Bytes);
  buffer.put(THEN_NOTHING_DETECTED);
  buffer.put(END);
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
