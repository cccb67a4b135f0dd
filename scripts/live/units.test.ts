// The systemd units: how much they expose by systemd's own reckoning, and that both programs do their work in them, under a
// real systemd on a stock kernel.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { LIMITS } from "../../evaluator/heap.ts";
import { BRING, MACHINE_MS_MAX, noMachine, runInMachine } from "./machine.ts";
import { parseLines } from "./pair.ts";

const ROOT = join(import.meta.dir, "../..");
const SYSTEMD = "/lib/systemd/systemd";
const UNITS = { sensor: "sensor/warder-sensor.service", evaluator: "evaluator/warder.service" };
const SOCKET = "evaluator/warder-metrics.socket";

const unscored = Bun.which("systemd-analyze") ? null : "no systemd-analyze";
if (unscored !== null) console.error(`skipped: exposure of the units (${unscored})`);
const reason = noMachine() ?? unscored;
if (reason !== null) console.error(`skipped: the units under systemd (${reason})`);

describe.skipIf(unscored !== null)("exposure", () => {
  test.each([
    [UNITS.sensor, 2],
    [UNITS.evaluator, 1],
  ])("of %s is at most %d", (unit, most) => {
    const command = ["systemd-analyze", "security", "--no-pager", "--offline=true", join(ROOT, unit)];
    const { stdout, stderr } = Bun.spawnSync(command);
    const level = /^→ Overall exposure level for \S+: ([\d.]+)/m.exec(stdout.toString())?.[1];
    expect(Number(level)).toBeLessThanOrEqual(most);
    expect(stderr.toString()).toBe(""); // what it does not know, it says
  });
});

test("the evaluator's unit bounds its memory as the program would", () => {
  const unit = readFileSync(join(ROOT, UNITS.evaluator), "utf8");
  const words = Object.entries(LIMITS).map(([name, value]) => `${name}=${value}`);
  expect(unit).toContain(`\nEnvironment=${words.join(" ")}\n`);
});

/** Makes a host for both units, with the targets that every unit asks for and nothing else. */
const PREPARE = `
printf 'warder-sensor:x:990:990::/:/bin/false\\nwarder:x:991:991::/:/bin/false\\n' >> /etc/passwd
printf 'root:x:0:\\nnobody:x:65534:\\nwarder-sensor:x:990:\\nwarder:x:991:\\n' > /etc/group
mkdir -p /etc/systemd/system /etc/warder /usr/share/warder /var/log /var/tmp /root /home
cp -r rules /usr/share/warder/
printf '[sensor]\\nevaluators = ["warder"]\\n[health]\\ninterval_s = 1\\n' > /etc/warder/config.toml
for name in sensor evaluator; do
  command=/usr/bin/warder
  [ $name = evaluator ] || command=/usr/bin/warder-sensor
  printf '#!/bin/sh\\nexec /bin/bun /warder/%s/main.ts "$@"\\n' $name > $command
  chmod 755 $command
done
cp ${Object.values(UNITS).join(" ")} ${SOCKET} /etc/systemd/system/
cd /etc/systemd/system
for target in sysinit basic shutdown umount slices sockets paths timers multi-user final; do
  printf '[Unit]\\nDefaultDependencies=no\\n' > $target.target
done
printf '[Unit]\\nWants=warder-metrics.socket warder-sensor.service warder.service look.service\\n' > default.target
printf '[Unit]\\nDefaultDependencies=no\\n[Service]\\nStandardOutput=file:/dev/console\\nStandardError=inherit\\nExecStart=/bin/sh /look\\n' > look.service
for unit in warder warder-sensor; do
  mkdir $unit.service.d
  printf "[Service]\\nStandardOutput=append:/tmp/$unit.out\\nStandardError=append:/tmp/$unit.err\\n" > $unit.service.d/output.conf
done
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount --make-rshared /
`;

/** Runs beside the units. The sensor starts twice: the second time it adopts what is pinned. */
const LOOK = `${BRING}
await() { for i in $(seq 60); do $3; grep -q "$1" $2 2>/dev/null && return; sleep 1; done; echo "waited in vain for $1"; }
of() { systemctl show --property MainPID --value $1.service; }
await '"coverage"' /tmp/warder.out
/usr/bin/true in-the-first
await in-the-first /tmp/warder.out
for unit in warder-sensor warder; do
  cat /proc/$(of $unit)/status /proc/$(of $unit)/mountinfo /proc/$(of $unit)/net/dev > /tmp/$unit.facts
done
for path in metrics healthz; do
  bun -e "console.log(await (await fetch('http://127.0.0.1:9783/$path')).text())" > /tmp/$path 2>&1
done
systemctl restart warder-sensor.service 2> /dev/null
await adopted /tmp/warder-sensor.err
/usr/bin/true in-the-second
await in-the-second /tmp/warder.out
systemctl restart warder.service 2> /dev/null
systemctl reload warder.service 2> /dev/null
await in-the-third /tmp/warder.out "/usr/bin/true in-the-third"
systemctl stop warder.service warder-sensor.service 2> /dev/null
bring /tmp/warder-sensor.facts /tmp/warder.facts /tmp/warder-sensor.err /tmp/warder.err /tmp/warder.out /tmp/metrics /tmp/healthz
echo "vm: the script ended with 0"
sync
poweroff -f
`;

describe.skipIf(reason !== null)("under systemd", () => {
  test(
    "both programs do their work, with the rights that the units leave them",
    async () => {
      const script = `${PREPARE}\ncat > /look <<'LOOK'\n${LOOK}LOOK\n`;
      const { said, parts } = await runInMachine(script, [SYSTEMD, Bun.which("systemctl") ?? ""]);
      expect(said).not.toContain("waited in vain");
      const [sensor = "", evaluator = "", sensorSaid = "", evaluatorSaid = "", output = "", ...asked] =
        parts.map(String);
      // At the port that systemd has handed to a program without a network.
      expect(asked[0]).toMatch(/^warder_events_total\{kind="process_start"\} [1-9]/m);
      expect(asked[1]).toBe("ok\n\n");
      for (const [facts, uid] of [
        [sensor, 990],
        [evaluator, 991],
      ] as const) {
        expect(facts).toMatch(new RegExp(`^Uid:(\t${uid}){4}$`, "m"));
        expect(facts.match(/^Cap(Inh|Prm|Eff|Bnd|Amb):\t0{16}$/gm)?.length).toBe(5);
        expect(facts).toMatch(/^NoNewPrivs:\t1$/m);
        expect(facts).toMatch(/^Seccomp:\t2$/m);
        // No network but the loopback of its own.
        expect(facts.match(/^ *\w+: +\d+/gm)?.length).toBe(1);
      }
      // What can be written, and whether it can be executed. The last mount of a place covers the others.
      const writable = (facts: string) => {
        const mounts = facts.matchAll(/^\d+ \d+ \S+ \S+ (\S+) (\S+)/gm);
        const places = new Map(
          [...mounts].map(([, place = "", options = ""]) => [place, options.split(",")]),
        );
        return [...places]
          .filter(([place, options]) => options.includes("rw") && !/^\/(dev|proc)/.test(place))
          .map(([place, options]) => `${place} ${options.includes("noexec") ? "noexec" : "exec"}`)
          .toSorted();
      };
      expect(writable(sensor)).toEqual([
        "/run/warder noexec",
        "/sys/fs/bpf/warder exec",
        "/tmp noexec",
        "/var/tmp noexec",
      ]);
      expect(writable(evaluator)).toEqual(["/tmp noexec", "/var/log/warder noexec", "/var/tmp noexec"]);

      expect(sensorSaid).toMatch(/serving at \/run\/warder\/sensor.sock as uid 990, .* attached /);
      expect(sensorSaid).toMatch(/serving at \/run\/warder\/sensor.sock as uid 990, .* adopted /);
      expect(sensorSaid).toMatch(/evaluator pid \d+ \(uid 991\) connected/);
      expect(evaluatorSaid).toMatch(/ 0 lost, /);
      const lines = parseLines(output);
      for (const word of ["in-the-first", "in-the-second"]) {
        const starts = lines.filter(
          (line) => line.event_type === "process_start" && String(line["args"]) === `/usr/bin/true,${word}`,
        );
        expect(starts.filter((line) => line["redelivered"] !== true).length).toBe(1);
      }
      expect(lines.at(-1)).toMatchObject({
        event_type: "health",
        ledger: { unaccounted: 0, balanced: true },
      });
    },
    MACHINE_MS_MAX,
  );
});
