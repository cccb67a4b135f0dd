// Rules that are always there, and can be switched off by id.

import { makeRule, type Rule } from "./schema.ts";

const FILE = "built in";
const CHANGES = ["file_write", "file_rename", "file_unlink"] as const;
const NO_DOCUMENTATION = { references: [], falsePositives: [], tests: [] };

/** The built-in rules, in the order of their alerts: before all others. */
export const BUILTIN_RULES: readonly Rule[] = [
  makeRule(
    {
      ...NO_DOCUMENTATION,
      id: "BUILTIN-FILE-SYSTEMD-001",
      name: "systemd unit file changed",
      description: "A unit file was written, renamed or removed: a common way to survive a restart.",
      enabled: true,
      type: "file",
      severity: "medium",
      action: "alert",
      attack: ["T1543.002"],
      match: {
        type: "file",
        paths: [
          "/etc/systemd/system/",
          "/usr/lib/systemd/system/",
          "/lib/systemd/system/",
          "/run/systemd/system/",
        ],
        patterns: [],
        operations: [...CHANGES],
      },
    },
    FILE,
  ),
  makeRule(
    {
      ...NO_DOCUMENTATION,
      id: "BUILTIN-FILE-CRON-001",
      name: "cron configuration changed",
      description: "A crontab was written, renamed or removed: a common way to survive a restart.",
      enabled: true,
      type: "file",
      severity: "medium",
      action: "alert",
      attack: ["T1053.003"],
      match: {
        type: "file",
        paths: [
          "/etc/crontab",
          "/etc/cron.d/",
          "/etc/cron.hourly/",
          "/etc/cron.daily/",
          "/etc/cron.weekly/",
          "/etc/cron.monthly/",
          "/var/spool/cron/",
        ],
        patterns: [],
        operations: [...CHANGES],
      },
    },
    FILE,
  ),
  makeRule(
    {
      ...NO_DOCUMENTATION,
      id: "BUILTIN-NET-OUTBOUND-001",
      name: "outbound connection to a suspicious port",
      description: "A connection to a port that common attack tools listen on by default.",
      enabled: true,
      type: "network",
      severity: "medium",
      action: "alert",
      attack: ["T1571"],
      match: { type: "network", directions: ["outbound"], ports: [4444, 1337, 31337], processNames: [] },
    },
    FILE,
  ),
];
