import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { anyLine, LINE_FIELDS, sampleLines } from "../../scripts/lines.ts";
import { wrongWithOcsf } from "../../scripts/standards/ocsf.ts";
import { ocsf } from "./ocsf.ts";
import type { JsonObject } from "./projection.ts";

describe("the schema allows", () => {
  test("every line of the sample", async () => {
    const lines = await sampleLines();
    expect(lines.length).toBeGreaterThan(400);
    for (const line of lines) expect(wrongWithOcsf(ocsf(line))).toEqual([]);
  });

  test.each(Object.keys(LINE_FIELDS))("every line of type %s", (type) => {
    fc.assert(fc.property(anyLine(type), (line) => expect(wrongWithOcsf(ocsf(line))).toEqual([])));
  });
});

test("a creator whose path was cut to nothing has a file all the same", async () => {
  const fork = (await sampleLines()).find((line) => line.event_type === "process_relationship");
  expect(wrongWithOcsf(ocsf({ ...fork, parent_exe_path: "" } as never))).toEqual([]);
});

/** The first line of the sample that has this code and fits, as OCSF has it. */
async function sample(code: string, fits: (event: JsonObject) => boolean = () => true): Promise<JsonObject> {
  const events = (await sampleLines()).filter((line) => line.event_type === code).map(ocsf);
  return events.find(fits) ?? {};
}

test("every type of event is an activity of a class", async () => {
  const names = (await sampleLines()).map(
    (line) => `${line.event_type}: ${ocsf(line)["type_name"] as string}`,
  );
  expect([...new Set(names)].toSorted()).toEqual([
    "alert: Detection Finding: Create",
    "coverage: Base Event: coverage",
    "file_open: File System Activity: Create",
    "file_open: File System Activity: Open",
    "file_rename: File System Activity: Rename",
    "file_write: File System Activity: Update",
    "health: Base Event: health",
    "network_accept: Network Activity: Open",
    "network_bind: Network Activity: Bind",
    "network_connect: Network Activity: Fail",
    "network_connect: Network Activity: Open",
    "network_connect: Network Activity: Refuse",
    "network_listen: Network Activity: Listen",
    "process_exit: Process Activity: Terminate",
    "process_relationship: Process Activity: Launch",
    "process_start: Process Activity: Launch",
  ]);
});

test("a launch names its actor, its process, and the parents of that", async () => {
  const launch = await sample("process_start", ({ actor }) => {
    const { process } = actor as { process: JsonObject };
    return process["name"] === "nginx";
  });
  expect(launch).toMatchObject({
    class_uid: 1007,
    launch_type: "Exec",
    process: {
      name: "sh",
      cmd_line: "sh -c id; cat /etc/passwd",
      parent_process: { name: "nginx", file: { name: "nginx", path: "/usr/sbin/nginx", type_id: 1 } },
      ancestry: [{ name: "nginx" }, { name: "bash" }, { name: "sh" }, { name: "init", pid: 1 }],
    },
    actor: { process: { name: "nginx" }, user: { uid: "0" } },
    unmapped: { source: "execve", args: ["sh", "-c", "id; cat /etc/passwd"] },
  });
});

test("an alert is a finding with its rule, technique and evidence", async () => {
  const isNetwork = ({ finding_info: info }: JsonObject) =>
    (info as { title: string }).title === "outbound connection to a suspicious port";
  expect(await sample("alert", isNetwork)).toMatchObject({
    severity_id: 3,
    is_alert: true,
    finding_info: {
      analytic: { uid: "BUILTIN-NET-OUTBOUND-001", type: "Rule" },
      attacks: [{ technique: { uid: "T1571" } }],
      related_events: [{ type: "network_connect" }],
    },
    evidences: [{ actor: { process: { name: "bash" } }, dst_endpoint: { ip: "127.0.0.1", port: 4444 } }],
  });
});

test("time is the instant of the line in milliseconds, which it keeps to the nanosecond", async () => {
  for (const line of await sampleLines()) {
    const { time, unmapped } = ocsf(line) as { time: number; unmapped: { time: string } };
    expect(time).toBe(Date.parse(line.time));
    expect(unmapped.time).toBe(line.time);
  }
});
