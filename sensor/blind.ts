// What the hooks of this host cannot see, in words for the readers of the stream.

import { ALL_EVENT_KINDS, type EventType, type Family } from "../bpf/kinds.ts";
import type { Profile } from "./hooks.ts";
import type { Settings } from "./settings.ts";

/** The settings, and whether the kernel can preempt what is in a call (null: not known). */
type Circumstances = { settings: Settings; preempts: boolean | null };

/** A blind spot: the events or the family that it is about, served by these hooks only, and under these circumstances only. */
type BlindSpot = {
  about: EventType[] | Family;
  only?: Profile;
  when?: (circumstances: Circumstances) => boolean;
  words: string;
};

const BLIND_SPOTS: BlindSpot[] = [
  {
    about: [...typesOf("file"), ...typesOf("network")],
    only: "fentry",
    when: ({ preempts }) => preempts !== false,
    words:
      "calls that the kernel preempts while they are reported: what others do on that CPU meanwhile is missed, and counted",
  },
  { about: ["file_open"], only: "tracepoint", words: "opens by io_uring: not seen" },
  {
    about: ["file_open", "file_write", "network_connect", "network_bind", "network_listen", "network_accept"],
    only: "tracepoint",
    words:
      "descriptors: a thread that replaces one before its call has ended can show another file or socket, or none; not for connects of TCP",
  },
  {
    about: ["file_write"],
    only: "tracepoint",
    words: "writes by io_uring: not seen, nor those of cloned ranges (FICLONE) and core dumps",
  },
  {
    about: ["file_write"],
    only: "tracepoint",
    words: "writes by io_submit: the requests are read when the call has ended, 1,024 of them at most",
  },
  {
    about: ["file_write"],
    only: "tracepoint",
    words: "programs for x32, where the kernel runs them: writev, pwritev and io_submit are not seen",
  },
  {
    about: ["file_write"],
    only: "tracepoint",
    words: "memory that is mapped for reading and made writable later: not seen",
  },
  {
    about: ["file_write"],
    only: "fentry",
    words:
      "writes: seen when they are permitted: one that fails later is shown too, and their size is not known",
  },
  { about: ["file_write"], words: "stores to mapped memory: only the mapping is seen" },
  {
    about: ["file_write"],
    words: "truncate and fallocate: not seen; an open with O_TRUNC is a file_open",
  },
  {
    about: "file",
    words: "device: that of the file system; stat shows others for subvolumes of btrfs and for some overlays",
  },
  {
    about: ["file_rename", "file_unlink"],
    only: "tracepoint",
    words:
      "renames and unlinks: names are those that the call was given, behind the folder they start from; through a symbolic link, or when name, descriptor or working folder change meanwhile, they name another place, for filters and rules too",
  },
  {
    about: ["file_rename", "file_unlink"],
    only: "tracepoint",
    words: "renames and unlinks: inode, device, mode and number of links are not known",
  },
  { about: ["file_rename"], only: "tracepoint", words: "renames by io_uring: not seen" },
  { about: ["file_unlink"], only: "tracepoint", words: "unlinks by io_uring: not seen" },
  {
    about: ["file_rename"],
    words: "new names by link, symlink, mkdir and mknod, and of temporary files (linkat): not seen",
  },
  {
    about: "file",
    when: ({ settings: { watchPaths, watchSuffixes } }) => watchPaths.length + watchSuffixes.length > 0,
    words:
      "watch lists: a file that is reached through another mount of its folder, or by a hard link from elsewhere, goes by that name",
  },
  {
    about: ["network_connect"],
    only: "tracepoint",
    words: "connects of UDP and Unix sockets by io_uring: not seen",
  },
  {
    about: ["network_connect"],
    only: "tracepoint",
    words: "connects that fail before anything is sent: the address is the one the call was given",
  },
  { about: ["network_connect"], words: "datagrams sent without connect: not seen" },
  { about: ["network_bind"], only: "tracepoint", words: "binds by io_uring: not seen" },
  { about: ["network_listen"], only: "tracepoint", words: "listens by io_uring: not seen" },
  { about: ["network_accept"], only: "tracepoint", words: "accepts by io_uring: not seen" },
  { about: ["network_accept"], only: "fentry", words: "accepts: the descriptor is not known" },
  { about: "network", words: "sockets other than TCP, UDP, raw and Unix: not seen" },
];

/** The blind spots of a host on which each type of event is served as `servedBy` says. */
export function blindSpots(servedBy: ReadonlyMap<string, Profile>, circumstances: Circumstances): string[] {
  return BLIND_SPOTS.filter(({ about, only, when }) => {
    const types = typeof about === "string" ? typesOf(about) : about;
    const served = types.map((type) => servedBy.get(type)).filter((way) => way !== undefined);
    return served.some((way) => (only ?? way) === way) && (when?.(circumstances) ?? true);
  }).map(({ words }) => words);
}

function typesOf(family: Family): EventType[] {
  return ALL_EVENT_KINDS.filter((kind) => kind.family === family).map(({ type }) => type);
}
