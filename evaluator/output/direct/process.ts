// What the events of processes say beside what all events say: event/normalise.ts in bytes.

import {
  EXEC_RECORD,
  EXIT_RECORD,
  FORK_RECORD,
  PROCESS_KEY,
  RECORD_HEADER,
  RecordKind,
  TEXT,
  TEXT_LIST,
} from "../../../bpf/event.gen.ts";
import { argsOf, CORE_DUMPED, sourceOf, UNSET } from "../../event/normalise.ts";
import type { Bytes } from "../../event/text.ts";
import type { RecordView } from "../../input/view.ts";
import { type ByteBuffer, constant, type Piece } from "../bytes.ts";
import { ndjson } from "../ndjson.ts";
import { END, Kept, keyOf, NULL, QUOTE, textKeyOf } from "./pieces.ts";

const HEADER = RECORD_HEADER.at;
const EXEC = EXEC_RECORD.at;
const TEXTS = EXEC_RECORD.variable;
const FORK = FORK_RECORD.at;
const TGID = PROCESS_KEY.at.tgid;
const U32 = 2 ** 32;
/** Of a wait status. */
const SIGNAL_MASK = 0x7f;

const [TRUE, FALSE] = [constant("true"), constant("false")];
const [COMMA, END_OF_LIST] = [constant(","), constant("]")];
const ARGS_COUNT = keyOf("args_count");
const FILENAME = textKeyOf("filename");
const sources = new Kept((source) => `,"source":"${sourceOf(source)}","auid":`);
const SESSION_ID = keyOf("session_id");
const CAP_EFFECTIVE = textKeyOf("cap_effective");
const THEN_NAMESPACES = constant('","namespaces":{"pid":');
const [MNT, NET, USER] = [keyOf("mnt"), keyOf("net"), keyOf("user")];
const THEN_CGROUP_ID = constant('},"cgroup_id":');
const CGROUP = textKeyOf("cgroup");
const THEN_INODE = constant('","inode":');
const [DEVICE, NLINK, MODE] = [keyOf("device"), keyOf("nlink"), keyOf("mode")];
const [OWNER_UID, OWNER_GID, FILELESS] = [keyOf("owner_uid"), keyOf("owner_gid"), keyOf("fileless")];
const [PARENT_PID, CHILD_PID, CHILD_TID] = [keyOf("parent_pid"), keyOf("child_pid"), keyOf("child_tid")];
const CHILD_COMM = textKeyOf("child_comm");
const THEN_CREATOR_PID = constant('","creator_pid":');
const CREATOR_COMM = textKeyOf("creator_comm");
const EXIT_CODE = keyOf("exit_code");
const NO_SIGNAL = constant(',"signal":null');
const NO_EXIT_CODE = constant(',"exit_code":null,"signal":');
const [CORE, DURATION] = [keyOf("core_dumped"), keyOf("duration_ns")];
const GROUP_DEAD = constant(',"group_dead":true');
const KEYS = { cwd: keyOf("cwd"), root: keyOf("root"), interpreter: keyOf("interpreter") };
const LIST_KEYS = { args: constant(',"args":['), env: constant(',"env":[') };
/** More than there are: the rest is the kernel's own. */
const SOURCES = 4;

/** Puts the facts of a process event, and the line's end. */
export function putProcess(buffer: ByteBuffer, record: RecordView): void {
  switch (record.u16(HEADER.kind)) {
    case RecordKind.exec:
      putExec(buffer, record);
      break;
    case RecordKind.fork:
      putFork(buffer, record);
      break;
    default:
      putExit(buffer, record);
  }
  buffer.put(END);
}

function putExec(buffer: ByteBuffer, record: RecordView): void {
  putList(buffer, record, "args", TEXTS.args, EXEC.args);
  buffer.put(ARGS_COUNT);
  const count = record.u32(EXEC.args + TEXT_LIST.at.count);
  putNumberOrNull(buffer, count !== 0, count);
  putKnown(buffer, record, "cwd", TEXTS.cwd, EXEC.cwd);
  if (record.u32(EXEC.root + TEXT.at.fullSize) > 0) putKnown(buffer, record, "root", TEXTS.root, EXEC.root);
  buffer.put(FILENAME);
  buffer.putText("filename", record, record.textStart(TEXTS.filename), record.textEnd(TEXTS.filename));
  buffer.put(QUOTE);
  putKnown(buffer, record, "interpreter", TEXTS.interpreter, EXEC.interpreter);
  putCredentials(buffer, record);
  putNamespaces(buffer, record);
  putExecutable(buffer, record);
  if (record.u32(EXEC.env + TEXT_LIST.at.fullSize) > 0) putList(buffer, record, "env", TEXTS.env, EXEC.env);
}

/** From who asked to the capabilities. */
function putCredentials(buffer: ByteBuffer, record: RecordView): void {
  buffer.put(sources.of(Math.min(record.u32(EXEC.source), SOURCES)));
  putNumberOrNull(buffer, record.u32(EXEC.auid) !== UNSET, record.u32(EXEC.auid));
  buffer.put(SESSION_ID);
  putNumberOrNull(buffer, record.u32(EXEC.sessionId) !== UNSET, record.u32(EXEC.sessionId));
  buffer.put(CAP_EFFECTIVE);
  buffer.putEight(record.u32(EXEC.capEffective + 4));
  buffer.putEight(record.u32(EXEC.capEffective));
}

/** From the namespaces to the end of the cgroup's path. */
function putNamespaces(buffer: ByteBuffer, record: RecordView): void {
  putNumber(buffer, THEN_NAMESPACES, record.u32(EXEC.pidNamespace));
  putNumber(buffer, MNT, record.u32(EXEC.mntNamespace));
  putNumber(buffer, NET, record.u32(EXEC.netNamespace));
  putNumber(buffer, USER, record.u32(EXEC.userNamespace));
  putU64(buffer, THEN_CGROUP_ID, record, EXEC.cgroupId);
  buffer.put(CGROUP);
  buffer.putText("cgroup", record, record.textStart(TEXTS.cgroup), record.textEnd(TEXTS.cgroup));
}

/** The file that is executed. */
function putExecutable(buffer: ByteBuffer, record: RecordView): void {
  putU64(buffer, THEN_INODE, record, EXEC.inode);
  putU64(buffer, DEVICE, record, EXEC.device);
  putNumber(buffer, NLINK, record.u32(EXEC.nlink));
  putNumber(buffer, MODE, record.u32(EXEC.mode));
  putNumber(buffer, OWNER_UID, record.u32(EXEC.ownerUid));
  putNumber(buffer, OWNER_GID, record.u32(EXEC.ownerGid));
  buffer.put(FILELESS);
  buffer.put(record.u32(EXEC.fileless) === 0 ? FALSE : TRUE);
}

function putFork(buffer: ByteBuffer, record: RecordView): void {
  putNumber(buffer, PARENT_PID, record.u32(HEADER.parent + TGID));
  putNumber(buffer, CHILD_PID, record.u32(HEADER.process + TGID));
  putNumber(buffer, CHILD_TID, record.u32(HEADER.tid));
  buffer.put(CHILD_COMM);
  buffer.putChars("child_comm", record, HEADER.comm);
  buffer.put(THEN_CREATOR_PID);
  buffer.putNumber(record.u32(FORK.creator + TGID));
  buffer.put(CREATOR_COMM);
  buffer.putChars("creator_comm", record, FORK.creatorComm);
  buffer.put(QUOTE);
}

function putExit(buffer: ByteBuffer, record: RecordView): void {
  const status = record.u32(EXIT_RECORD.at.status);
  const signal = status & SIGNAL_MASK;
  if (signal === 0) {
    putNumber(buffer, EXIT_CODE, (status >> 8) & 0xff);
    buffer.put(NO_SIGNAL);
  } else putNumber(buffer, NO_EXIT_CODE, signal);
  buffer.put(CORE);
  buffer.put(status & CORE_DUMPED ? TRUE : FALSE);
  buffer.put(DURATION);
  putDifference(buffer, record, HEADER.time, HEADER.process + PROCESS_KEY.at.startTime);
  buffer.put(GROUP_DEAD);
}

function putDifference(buffer: ByteBuffer, record: RecordView, later: number, earlier: number): void {
  let low = record.u32(later) - record.u32(earlier);
  let high = record.u32(later + 4) - record.u32(earlier + 4);
  if (low < 0) {
    low += U32;
    high -= 1;
  }
  if (high >= 0) buffer.putU64(low, high);
  else buffer.putBytes(String(BigInt(high) * BigInt(U32) + BigInt(low)) as Bytes);
}

/** A list of texts with its key. */
function putList(
  buffer: ByteBuffer,
  record: RecordView,
  name: keyof typeof LIST_KEYS,
  text: number,
  at: number,
): void {
  const start = record.textStart(text);
  const end = record.textEnd(text);
  const before = buffer.end;
  const tailSize = record.u32(at + TEXT_LIST.at.tailSize);
  buffer.put(LIST_KEYS[name]);
  if (tailSize === 0 && putPlainStrings(buffer, record, start, end)) {
    buffer.put(END_OF_LIST);
    return;
  }
  buffer.end = before;
  const bytes = record.text(text);
  const head = bytes.slice(0, bytes.length - tailSize) as Bytes;
  const list = { [name]: argsOf({ head, tail: bytes.slice(bytes.length - tailSize) as Bytes }) };
  buffer.put(COMMA);
  buffer.putBytes(ndjson(list).slice(1, -2) as Bytes);
}

/** Strings that each end with a NUL, if JSON shows all of them as they are. */
function putPlainStrings(buffer: ByteBuffer, record: RecordView, start: number, end: number): boolean {
  if (start === end) return true;
  const { bytes } = record;
  const stop = bytes[end - 1] === 0 ? end - 1 : end;
  for (let at = start; ; ) {
    let next = at;
    while (next < stop && bytes[next] !== 0) next++;
    buffer.put(QUOTE);
    if (!buffer.putPlain(record, at, next)) return false;
    buffer.put(QUOTE);
    if (next === stop) return true;
    buffer.put(COMMA);
    at = next + 1;
  }
}

/** A text with its key; null when the kernel had none. */
function putKnown(
  buffer: ByteBuffer,
  record: RecordView,
  name: keyof typeof KEYS,
  text: number,
  at: number,
): void {
  buffer.put(KEYS[name]);
  if (record.u32(at + TEXT.at.fullSize) === 0) {
    buffer.put(NULL);
    return;
  }
  buffer.put(QUOTE);
  buffer.putText(name, record, record.textStart(text), record.textEnd(text));
  buffer.put(QUOTE);
}

function putNumber(buffer: ByteBuffer, key: Piece, number: number): void {
  buffer.put(key);
  buffer.putNumber(number);
}

function putU64(buffer: ByteBuffer, key: Piece, record: RecordView, at: number): void {
  buffer.put(key);
  buffer.putU64(record.u32(at), record.u32(at + 4));
}

function putNumberOrNull(buffer: ByteBuffer, isKnown: boolean, number: number): void {
  if (isKnown) buffer.putNumber(number);
  else buffer.put(NULL);
}
