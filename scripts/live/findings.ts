// Evasions that are not in the catalogue: found by trying, each of them once silent.

import { type Case, called, calledTwice, type Facts, of } from "./cases.ts";
import { asGenerated, type Line } from "./pair.ts";

/** Are a write, a rename and a removal told of files in a folder that is in no tree? */
const toldAnywhere = (lines: Line[], { pid, said }: Facts) =>
  lines.some(
    (line) =>
      line.event_type === "file_write" && line["pid"] === pid && String(line["inode"]) === said[0]?.[0],
  ) &&
  of(lines, "file_rename").some(
    (line) => line["pid"] === pid && String(line["new_filename"]).endsWith("/new"),
  ) &&
  of(lines, "file_unlink").some((line) => line["pid"] === pid && String(line["path"]).endsWith("/gone"));

export const FINDINGS: Case[] = [
  {
    id: "X01",
    attack: "the address becomes none while the connect blocks",
    act: { run: ["evade_sockets", "flip-family"] },
    seen: calledTwice,
  },
  {
    id: "X02",
    attack: "the descriptor is replaced while the connect blocks",
    act: { run: ["evade_sockets", "swap-descriptor"] },
    seen: calledTwice,
  },
  {
    id: "X03",
    attack: "a signal ends the connect, and not the connection",
    act: { run: ["evade_sockets", "interrupted"] },
    seen: (lines, facts) =>
      calledTwice(lines, facts) &&
      of(lines, "network_connect").some(
        (line) => line["pid"] === facts.pid && line["result"] === "EINTR" && line["local_port"] !== 0,
      ),
  },
  {
    id: "X04",
    attack: "one connection is asked about again and again",
    act: { run: ["evade_sockets", "polled"] },
    seen: calledTwice,
  },
  {
    id: "X05",
    attack: "MPTCP",
    act: { run: ["evade_sockets", "multipath"] },
    seen: (lines, { pid, said }) =>
      called(lines, pid).join() === said.join() &&
      of(lines, "network_connect").every((line) => line["pid"] !== pid || line["protocol"] === "mptcp"),
  },
  {
    id: "X06",
    attack: "a name in other words: ./ // d/.. ../",
    act: {
      sh: 'mkdir d; for name in ./a "$PWD//a" d/../a "../${PWD##*/}/a/"; do echo > t; mv t "${name%/}"; rm "${name%/}"; done',
    },
    seen: (lines, { folder }) =>
      of(lines, "file_rename").filter((line) => line["new_filename"] === `${folder}/a`).length === 4 &&
      of(lines, "file_unlink").filter((line) => line["path"] === `${folder}/a`).length === 4,
  },
  {
    id: "X07",
    attack: "a removal through a link from elsewhere",
    act: {
      sh: 'echo > a; elsewhere=$(mktemp -d); ln -s "$PWD" $elsewhere/link; rm $elsewhere/link/a; rm -r $elsewhere',
    },
    seen: (lines, { folder }) => of(lines, "file_unlink").some((line) => line["path"] === `${folder}/a`),
    declared: /^renames and unlinks: names are those/,
  },
  {
    id: "X08",
    attack: "a thread flips the name of a removal",
    act: { run: ["evade_files", "flip-removal", "."] },
    seen: (lines, { folder, pid, said }) => {
      const paths = of(lines, "file_unlink").filter((line) => line["pid"] === pid);
      return (
        paths.length === Number(said[0]?.[0]) && paths.every((line) => line["path"] === `${folder}/secret__`)
      );
    },
    declared: /^renames and unlinks: names are those/,
  },
  {
    id: "X09",
    attack: "1,200 denied removals, then one that works",
    act: { run: ["evade_files", "denied", "."] },
    seen: (lines, { folder, pid }) => {
      const removals = of(lines, "file_unlink").filter((line) => line["path"] === `${folder}/denied`);
      const { ledger } = (lines.at(-1) ?? {}) as {
        ledger?: { by_kind: Record<string, { discarded: number }> };
      };
      return (
        removals.length === 1 &&
        removals[0]?.["pid"] === pid &&
        ledger?.by_kind["file_unlink"]?.discarded === 0
      );
    },
  },
  {
    id: "X10",
    attack: "a copy of the mount that is in no tree (open_tree)",
    act: { run: ["evade_files", "open-tree", "."] },
    seen: toldAnywhere,
  },
  {
    id: "X11",
    attack: "a mount that was taken out of the tree",
    act: { run: ["evade_files", "detached", "."] },
    seen: toldAnywhere,
  },
  {
    id: "X12",
    attack: "another mount of a watched folder",
    act: {
      sh: 'elsewhere=$(mktemp -d); unshare -m sh -c "mount --bind . $elsewhere; echo x > $elsewhere/a"; rmdir $elsewhere',
    },
    seen: (lines, { folder }) => of(lines, "file_write").some((line) => line["path"] === `${folder}/a`),
    declared: /^watch lists/,
  },
  {
    id: "X13",
    attack: "a hard link from elsewhere to a watched file",
    act: {
      sh: "echo > a; elsewhere=$(mktemp -d); ln a $elsewhere/a; echo x >> $elsewhere/a; rm -r $elsewhere",
    },
    seen: (lines, { folder }) =>
      of(lines, "file_write").filter((line) => line["path"] === `${folder}/a`).length === 2,
    declared: /^watch lists/,
  },
  {
    id: "X14",
    attack: "a file whose name the kernel has forgotten",
    act: { run: ["evade_files", "forgotten", "."] },
    seen: (lines, { pid, said }) =>
      of(lines, "file_open").some(
        (line) =>
          line["pid"] === pid &&
          line["syscall"] === "open_by_handle_at" &&
          String(line["inode"]) === said[0]?.[0],
      ),
  },
  {
    id: "X15",
    attack: "asynchronous writes (io_submit)",
    act: { run: ["generate", "calls", "."] },
    seen: (lines, { folder }) =>
      of(lines, "file_write").some(
        (line) => line["path"] === `${folder}/submitted` && line["syscall"] === "io_submit",
      ),
  },
  {
    id: "X16",
    attack: "memory mapped for reading, then made writable",
    act: { run: ["evade_files", "protected", "."] },
    seen: (lines, { folder }) =>
      of(lines, "file_write").some(
        (line) => line["path"] === `${folder}/protected` && line["syscall"] === "mprotect",
      ),
    declared: /^memory that is mapped for reading/,
  },
  {
    id: "X17",
    attack: "the descriptor is closed while the write blocks",
    act: { run: ["evade_files", "spliced", "."] },
    seen: (lines, { folder }) => of(lines, "file_write").some((line) => line["path"] === `${folder}/spliced`),
    declared: /^descriptors:/,
  },
  {
    id: "X18",
    attack: "new names: mkdir, mknod, symlink, link",
    act: { run: ["evade_files", "new-names", "."] },
    seen: (lines, { folder }) =>
      ["folder", "node", "symlink", "link"].every((name) =>
        lines.some((line) => line["path"] === `${folder}/made-${name}`),
      ),
    declared: /^new names by link/,
  },
  {
    id: "X19",
    attack: "two names change places",
    act: { run: ["evade_files", "exchange", "."] },
    seen: (lines, { folder }) =>
      of(lines, "file_rename").some(
        (line) => line["old_filename"] === `${folder}/one` && line["new_filename"] === `${folder}/other`,
      ),
  },
  {
    id: "X20",
    attack: "numbers of calls with more bits than the kernel reads",
    act: { run: ["evade_files", "wide-numbers", "."] },
    seen: (lines, { folder, pid }) =>
      lines
        .filter((line) => line["pid"] === pid && line.event_type.startsWith("file_"))
        .map((line) => asGenerated(line))
        .join() ===
      [
        `file_open ${folder}/wide`,
        `file_write ${folder}/wide`,
        `file_rename ${folder}/wide ${folder}/wider`,
        `file_unlink ${folder}/wider`,
      ].join(),
  },
];
