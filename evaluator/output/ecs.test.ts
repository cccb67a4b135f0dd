import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { anyLine, LINE_FIELDS, sampleLines } from "../../scripts/lines.ts";
import { fieldsOf, wrongWithEcs } from "../../scripts/standards/ecs.ts";
import { ecs } from "./ecs.ts";
import type { JsonValue } from "./ndjson.ts";

describe("the schema allows", () => {
  test("every line of the sample", async () => {
    const lines = await sampleLines();
    expect(lines.length).toBeGreaterThan(400);
    for (const line of lines) expect(wrongWithEcs(ecs(line))).toEqual([]);
  });

  test.each(Object.keys(LINE_FIELDS))("every line of type %s", (type) => {
    fc.assert(fc.property(anyLine(type), (line) => expect(wrongWithEcs(ecs(line))).toEqual([])));
  });
});

/** The lines of the sample, as ECS has them. */
async function sample(type: string): Promise<Record<string, JsonValue>[]> {
  const lines = (await sampleLines()).filter((line) => line.event_type === type);
  return lines.map((line) => Object.fromEntries(fieldsOf(ecs(line))));
}

test("what happened has the kind, category, type and action that rules of the field ask for", async () => {
  const sorts = (await sampleLines()).map((line) => {
    const { event } = ecs(line) as { event: Record<string, string | string[] | undefined> };
    return [line.event_type, event["kind"], event["category"], event["type"], event["action"]].join(" ");
  });
  expect([...new Set(sorts)].toSorted()).toEqual([
    "alert alert intrusion_detection,file info modification",
    "alert alert intrusion_detection,file info rename",
    "alert alert intrusion_detection,network info connection_attempted",
    "alert alert intrusion_detection,process info exec",
    "coverage state host info ",
    "file_open event file access open",
    "file_open event file creation creation",
    "file_rename event file change rename",
    "file_write event file change modification",
    "health metric host info ",
    "network_accept event network connection,start connection_accepted",
    "network_bind event network info bind",
    "network_connect event network connection,start connection_attempted",
    "network_listen event network info listen",
    "process_exit event process end end",
    "process_relationship event process start fork",
    "process_start event process start exec",
  ]);
});

test("a shell that a web server starts is found by name, parent, arguments and user", async () => {
  const starts = await sample("process_start");
  expect(starts.find((fields) => fields["process.parent.name"] === "nginx")).toMatchObject({
    "host.os.type": "linux",
    "event.type": ["start"],
    "process.name": "sh",
    "process.args": ["sh", "-c", "id; cat /etc/passwd"],
    "process.args_count": 3,
    "process.command_line": "sh -c id; cat /etc/passwd",
    "process.parent.executable": "/usr/sbin/nginx",
    "process.real_user.id": "0",
    "process.user.id": "0",
    "user.id": "0",
    "warder.source": "execve",
  });
});

test("an alert says rule, severity, technique, process, and what it is about", async () => {
  const alerts = await sample("alert");
  expect(alerts.find((fields) => fields["rule.id"] === "BUILTIN-NET-OUTBOUND-001")).toMatchObject({
    message: "outbound connection to a suspicious port",
    "event.severity": 47,
    "rule.name": "outbound connection to a suspicious port",
    "rule.category": "network",
    "threat.framework": "MITRE ATT&CK",
    "threat.technique.id": ["T1571"],
    "process.name": "bash",
    "network.direction": "egress",
    "destination.ip": "127.0.0.1",
    "destination.port": 4444,
    "warder.severity": "medium",
  });
  expect(alerts.find((fields) => fields["rule.id"] === "BUILTIN-FILE-SYSTEMD-001")).toMatchObject({
    "threat.technique.id": ["T1543"],
    "threat.technique.subtechnique.id": ["T1543.002"],
    "file.path": "/etc/systemd/system/late.service",
    "file.directory": "/etc/systemd/system",
    "file.name": "late.service",
    "file.extension": "service",
  });
});
