// The evasions of the project's catalogue: what is done, and what the events have to say of it.

import { realpathSync } from "node:fs";
import { asGenerated, type Line } from "./pair.ts";

/** The programs that act, in C. */
export const TOOLS = ["evade", "evade_files", "evade_sockets", "generate"] as const;
type Tool = (typeof TOOLS)[number];

/** What a case said on standard output, in words, and who said it. */
export type Facts = { folder: string; pid: number; said: string[][] };

export type Case = {
  id: string;
  attack: string;
  /** One of the programs with its arguments, or a script for sh. Its folder, "." in arguments, is the working directory. */
  act: { run: [Tool, ...string[]] } | { sh: string };
  /** Do the events tell the truth? */
  seen: (lines: Line[], facts: Facts) => boolean;
  /** The blind spot that excuses a case that was not seen. */
  declared?: RegExp;
};

/** The events of a type. */
export const of = (lines: Line[], type: string) => lines.filter((line) => line.event_type === type);
const opens = (lines: Line[], path: string) => of(lines, "file_open").filter((line) => line["path"] === path);
const args = (line: Line) => (line["args"] ?? []) as string[];
const start = (lines: Line[], wanted: (line: Line) => boolean) => of(lines, "process_start").find(wanted);
const read = (line: Line | undefined) => line !== undefined;

/** What a program of its own name opened, by path. */
const openedBy = (lines: Line[], comm: string) =>
  of(lines, "file_open")
    .filter((line) => line["comm"] === comm)
    .map((line) => line["path"]);

/** The ports that a process called, in order. */
export const called = (lines: Line[], pid: number) =>
  of(lines, "network_connect")
    .filter((line) => line["pid"] === pid)
    .map((line) => String(line["remote_port"]));

/** Did a process call the port that it says twice: first to fill the listener's queue, then as the case has it? */
export const calledTwice = (lines: Line[], { pid, said }: Facts) =>
  called(lines, pid).join() === [said[0]?.[0], said[0]?.[0]].join();

/** Is what a generator says it has done, of these types, what the events say? */
function asSaid(lines: Line[], { pid, said }: Facts, types: RegExp): boolean {
  const truth = said.filter(([type]) => types.test(type ?? "")).map((words) => words.join(" "));
  const shown = lines
    .filter((line) => line["pid"] === pid && types.test(line.event_type))
    .map((line) => asGenerated(line, line.event_type.startsWith("file_") ? "syscall" : undefined));
  return truth.length > 0 && truth.join("\n") === shown.join("\n");
}

export const CATALOGUE: Case[] = [
  {
    id: "E01",
    attack: "a thread flips the path between check and use",
    act: { run: ["evade_files", "flip-path", "."] },
    seen: (lines, { folder, said }) =>
      said.every(([name, inode, count]) => {
        const events = opens(lines, `${folder}/${name}`);
        return events.length === Number(count) && events.every((line) => String(line["inode"]) === inode);
      }),
  },
  {
    id: "E02",
    attack: "the path is overwritten while the open blocks",
    act: { run: ["evade_files", "flip-fifo", "."] },
    seen: (lines, { folder }) => opens(lines, `${folder}/fifo`).length === 2,
  },
  {
    id: "E04",
    attack: "the address is overwritten while the connect blocks",
    act: { run: ["evade_sockets", "flip-port"] },
    seen: calledTwice,
  },
  {
    id: "E05",
    attack: "the arguments are overwritten during execve",
    act: { run: ["evade", "flip-arguments"] },
    seen: (lines, { said }) =>
      said.length === 50 &&
      said.every(([pid, word]) =>
        of(lines, "process_start").some((line) => String(line["pid"]) === pid && args(line)[2] === word),
      ),
  },
  {
    id: "E06",
    attack: "io_uring opens, writes, renames, removes",
    act: { run: ["generate", "uring", "."] },
    seen: (lines, facts) => asSaid(lines, facts, /^file_/),
    declared: /^(opens|writes|renames|unlinks) by io_uring: not seen$/,
  },
  {
    id: "E07",
    attack: "io_uring connects",
    act: { run: ["generate", "uring", "."] },
    seen: (lines, facts) => asSaid(lines, facts, /^network_connect/),
  },
  {
    id: "E10",
    attack: "32-bit calls, and all the old ones",
    act: { run: ["generate", "calls", "."] },
    seen: (lines, facts) => asSaid(lines, facts, /^file_/),
  },
  {
    id: "E13",
    attack: "symlinks and ..",
    act: { sh: "mkdir d; echo > secret; ln -s d link; cat link/../secret" },
    seen: (lines, { folder }) => openedBy(lines, "cat").includes(`${folder}/secret`),
  },
  {
    id: "E14",
    attack: "a hard link",
    act: { sh: "echo > secret; ln secret other; cat other" },
    seen: (lines, { folder }) =>
      opens(lines, `${folder}/other`).some(
        (line) => line["nlink"] === 2 && line["inode"] === opens(lines, `${folder}/secret`)[0]?.["inode"],
      ),
  },
  {
    id: "E15",
    attack: "relative to a folder that was entered",
    act: { sh: "mkdir -p d/e; echo > d/secret; cd d/e && cat ../secret" },
    seen: (lines, { folder }) => openedBy(lines, "cat").includes(`${folder}/d/secret`),
  },
  {
    id: "E18",
    attack: "a mount namespace",
    act: {
      sh: "mkdir -p d bound; echo > d/secret; unshare -m sh -c 'mount --bind d bound; cat bound/secret; exec cat bound/secret'",
    },
    seen: (lines, { folder }) => {
      const outside = start(lines, (line) => args(line)[2]?.includes("unshare -m") === true);
      const inside = start(lines, (line) => args(line)[1] === "bound/secret");
      const namespaces = [outside, inside].map(
        (line) => (line?.["namespaces"] as { mnt: number } | undefined)?.mnt,
      );
      return opens(lines, `${folder}/bound/secret`).length === 2 && namespaces[0] !== namespaces[1];
    },
  },
  {
    id: "E18",
    attack: "a changed root",
    act: { run: ["evade_files", "chroot", "."] },
    seen: (lines, { folder }) => opens(lines, `${folder}/inside`).length === 1,
  },
  {
    id: "E20",
    attack: "a path of 3.9 kB of ./",
    act: { sh: `echo > secret; cat ${"./".repeat(1950)}secret` },
    seen: (lines, { folder }) => openedBy(lines, "cat").includes(`${folder}/secret`),
  },
  {
    id: "E22",
    attack: "100 kB of arguments hide the last one",
    act: { sh: `long=$(printf '%0100000d' 0); /usr/bin/true "$long" marker` },
    seen: (lines) => {
      const line = start(lines, (one) => one["comm"] === "true" && JSON.stringify(one).includes("marker"));
      return line !== undefined && JSON.stringify(line["truncated"] ?? null).includes("args");
    },
  },
  {
    id: "E23",
    attack: "the name of another program",
    act: { sh: "cp /usr/bin/cat systemd-logind; ./systemd-logind /dev/null" },
    seen: (lines, { folder }) =>
      read(start(lines, (line) => line["exe_path"] === `${folder}/systemd-logind`)),
  },
  {
    id: "E24",
    attack: "a process renames itself",
    act: { run: ["evade", "comm", "."] },
    seen: (lines, { folder }) =>
      opens(lines, `${folder}/renamed`).some(
        (line) => line["comm"] === "systemd" && String(line["exe_path"]).endsWith("/evade"),
      ),
  },
  {
    id: "E25",
    attack: "a forged argv[0]",
    act: { run: ["evade", "argv0"] },
    seen: (lines) =>
      start(lines, (line) => args(line)[0] === "[kworker/0]")?.["exe_path"] === realpathSync("/usr/bin/true"),
  },
  {
    id: "E27",
    attack: "a program that exists in memory only",
    act: { run: ["evade", "memfd"] },
    seen: (lines) => start(lines, (line) => args(line)[0] === "from-memory")?.["fileless"] === true,
  },
  {
    id: "E28",
    attack: "a program whose file was deleted",
    act: { run: ["evade", "deleted", "."] },
    seen: (lines) => start(lines, (line) => args(line)[0] === "from-deleted")?.["nlink"] === 0,
  },
  {
    id: "E29",
    attack: "a program started by the loader",
    act: { sh: "cp /usr/bin/true program; chmod 644 program; /lib64/ld-linux-x86-64.so.2 ./program" },
    seen: (lines, { folder }) =>
      opens(lines, `${folder}/program`).some((line) => String(line["exe_path"]).includes("/ld-linux")),
  },
  {
    id: "E30",
    attack: "a script's interpreter, env -S",
    act: {
      sh: `printf '#!/usr/bin/env -S cat --\\n' > script; chmod +x script; ./script; printf '#!%s -u\\n' "$(realpath /usr/bin/cat)" > other; chmod +x other; ./other`,
    },
    seen: (lines, { folder }) => {
      const script = start(lines, (line) => line["filename"] === "./script");
      const other = start(lines, (line) => line["filename"] === "./other");
      return (
        script?.["interpreter"] === "/usr/bin/env" &&
        read(start(lines, (line) => args(line).includes("./script") && args(line)[0] === "cat")) &&
        String(other?.["exe_path"]) === realpathSync("/usr/bin/cat") &&
        folder !== ""
      );
    },
  },
  {
    id: "E37",
    attack: "a forged parent (CLONE_PARENT)",
    act: { run: ["evade", "clone-parent"] },
    seen: (lines, { said }) => {
      const [child, creator, parent] = said[0] ?? [];
      const birth = of(lines, "process_relationship").find((line) => String(line["pid"]) === child);
      const born = start(lines, (line) => String(line["pid"]) === child);
      return (
        String(birth?.["creator_pid"]) === creator &&
        String(birth?.["ppid"]) === parent &&
        String((born?.["ancestors"] as string[] | undefined)?.[0]).endsWith(`(${creator})`)
      );
    },
  },
  {
    id: "E38",
    attack: "a double fork",
    act: { run: ["evade", "double-fork"] },
    seen: (lines, { said }) => {
      const [first, middle] = said[0] ?? [];
      const ancestors = start(lines, (line) => args(line)[0] === "orphan")?.["ancestors"];
      const pids = ((ancestors ?? []) as string[]).map((words) => /\((\d+)\)$/.exec(words)?.[1]);
      return pids[0] === middle && pids[1] === first;
    },
  },
  {
    id: "E41",
    attack: "processes shorter than any look into /proc",
    act: { sh: "for i in $(seq 200); do /usr/bin/true short-lived; done" },
    seen: (lines) => {
      const those = of(lines, "process_start").filter((line) => args(line)[1] === "short-lived");
      return those.length === 200 && those.every((line) => line["exe_path"] && line["ppid"]);
    },
  },
  {
    id: "E42",
    attack: "a write through a shared mapping",
    act: { run: ["evade_files", "mapped", "."] },
    seen: (lines, { folder }) =>
      of(lines, "file_write").some(
        (line) => line["path"] === `${folder}/mapped` && line["syscall"] === "mmap",
      ),
  },
  {
    id: "E43",
    attack: "sendfile, splice, copy_file_range",
    act: { run: ["generate", "calls", "."] },
    seen: (lines, { folder }) =>
      [
        ["sendfile", "sendfile"],
        ["splice", "splice"],
        ["copy", "copy_file_range"],
      ].every(([name, call]) =>
        of(lines, "file_write").some(
          (line) => line["path"] === `${folder}/${name}` && line["syscall"] === call,
        ),
      ),
  },
  {
    id: "E45",
    attack: "truncate",
    act: { run: ["evade_files", "truncate", "."] },
    seen: (lines, { folder }) => of(lines, "file_write").some((line) => line["path"] === `${folder}/cut`),
    declared: /^truncate/,
  },
  {
    id: "E47",
    attack: "a file that gets its name later (O_TMPFILE, linkat)",
    act: { run: ["evade_files", "tmpfile", "."] },
    seen: (lines, { folder }) =>
      lines.some((line) => line["path"] === `${folder}/named` || line["new_filename"] === `${folder}/named`),
    declared: /^new names by link/,
  },
  {
    id: "E49",
    attack: "datagrams without connect",
    act: { run: ["evade_sockets", "unconnected"] },
    seen: (lines, { pid }) =>
      lines.some((line) => line["pid"] === pid && line["remote_port"] === 4001) &&
      lines.some((line) => line["pid"] === pid && line["remote_port"] === 4003),
    declared: /^datagrams sent without connect/,
  },
  {
    id: "E51",
    attack: "an IPv4 address in IPv6 clothes",
    act: { run: ["evade_sockets", "mapped-address"] },
    seen: (lines, { pid }) =>
      of(lines, "network_connect").some(
        (line) => line["pid"] === pid && line["family"] === "ipv4" && line["remote_addr"] === "127.0.0.1",
      ),
  },
  {
    id: "E54",
    attack: "a newline and an escape in a name",
    act: { run: ["evade_files", "names", "."] },
    seen: (lines, { folder }) => opens(lines, `${folder}/a\nb\u001b[31m`).length === 1,
  },
  {
    id: "E55",
    attack: "names that are not UTF-8",
    act: { run: ["evade_files", "names", "."] },
    seen: (lines, { folder }) => {
      const names = of(lines, "file_open")
        .map((line) => String(line["path"]))
        .filter((path) => path.startsWith(`${folder}/x`));
      return names.length === 254 && new Set(names).size === 254;
    },
  },
];
