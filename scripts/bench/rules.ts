#!/usr/bin/env bun
// Makes any number of rules of all types, the same ones every time, as a file of rules. For measurements;
// `bun scripts/bench/rules.ts 1000 > FILE`.

const SEVERITIES = ["low", "medium", "high", "critical"];
const PROGRAMS = ["sh", "bash", "perl", "python3", "nc", "socat", "curl", "wget", "base64", "xmrig"];
const FOLDERS = ["/etc", "/usr/lib", "/var/lib", "/home/user", "/opt", "/root", "/srv"];
/** Operations by turns: most rules are about changes, some about every access. */
const OPERATIONS = ['["write", "rename", "unlink"]', '["open"]', '["*"]'];

const list = (words: string[]) => JSON.stringify(words);

/** So many kinds of rules there are, and so many of them look for words that no other rule looks for. */
const KINDS = 15;
export const KINDS_ALONE = 10;

/**
 * What a rule looks for, by its number: as rules do, in names, folders, endings, parts of paths, and ports. The last kinds share
 * with all of their kind what many events have, and only the rest of each is its own.
 */
function matchOf(i: number, kinds: number): string[] {
  const operations = `operations = ${OPERATIONS[(i + Math.floor(i / kinds)) % OPERATIONS.length]}`;
  const folder = FOLDERS[i % FOLDERS.length];
  switch (i % kinds) {
    case 0:
      return [
        'type = "process"',
        `parent_names = ${list([`daemon-${i}`, `server-${i}`])}`,
        `process_names = ${list(PROGRAMS)}`,
      ];
    case 1:
    case 2:
      return [
        'type = "process"',
        `process_names = ${list([`tool-${i}`, `/opt/tools/tool-${i}`, `miner-${i}`])}`,
      ];
    case 3:
    case 4:
      return [
        'type = "file"',
        `paths = ${list([`${folder}/app-${i}/`, `${folder}/secret-${i}`])}`,
        operations,
      ];
    case 5:
      return ['type = "file"', `patterns = ${list([`*.ext${i}`, `*/plugin-${i}.so`])}`, operations];
    case 6:
      return [
        'type = "file"',
        `patterns = ${list([`*backdoor-${i}*`, `${folder}/keys-${i}/*`])}`,
        operations,
      ];
    case 7:
      return [
        'type = "file"',
        `paths = ${list([`${folder}/conf-${i}`])}`,
        `patterns = ${list(["*.conf", "*.key"])}`,
        operations,
      ];
    case 8:
      return [
        'type = "network"',
        'direction = "outbound"',
        `ports = [${20_000 + (i % 10_000)}, ${9_000 + (i % 900)}]`,
      ];
    case 9:
      return [
        'type = "network"',
        'direction = "inbound"',
        `ports = [${1024 + (i % 7000)}]`,
        `process_names = ${list(PROGRAMS)}`,
      ];
    case 10:
      return ['type = "file"', `patterns = ${list([`/home/*/tool-${i}/*`])}`, operations];
    case 11:
      return ['type = "file"', `patterns = ${list([`*/secret-${i}/*status`])}`, operations];
    case 12:
      return ['type = "file"', `patterns = ${list([`*/evil-${i}/deeper-still/*`])}`, operations];
    case 13:
      return [
        'type = "network"',
        'direction = "outbound"',
        "ports = [443]",
        `process_names = ${list([`tool-${i}`])}`,
      ];
    default:
      return [
        'type = "process"',
        `parent_names = ${list(["sshd", "cron", `daemon-${i}`])}`,
        `process_names = ${list(["bash", "python3", `miner-${i}`])}`,
      ];
  }
}

/** A file of `count` rules, of the first so many kinds in turn. */
export function makeRules(count: number, kinds = KINDS): string {
  return Array.from({ length: count }, (_, i) => {
    const head = [
      `id = "BENCH-${i}"`,
      `name = "Rule ${i}"`,
      "enabled = true",
      `severity = "${SEVERITIES[i % 4]}"`,
    ];
    return ["[[rules]]", ...head, 'action = "alert"', ...matchOf(i, kinds), ""].join("\n");
  }).join("\n");
}

if (import.meta.main) process.stdout.write(makeRules(Number(process.argv[2] ?? 1000)));
