// Files and network on the running kernel, against a generator that knows what it has done.

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { asGenerated, Bench, compileTools, fileRule, type Line, notLive } from "./pair.ts";

const reason = notLive();
if (reason !== null) console.error(`skipped: live tests of files and network (${reason})`);

const FILES = 5000;
const CONNECTIONS = 1000;
const tools = mkdtempSync(join(tmpdir(), "warder-tools-"));
let generator = "";
let fileTool = "";
let sockets = "";

describe.skipIf(reason !== null)("files and network", () => {
  let bench: Bench;
  let folder: string;
  beforeAll(() => {
    chmodSync(tools, 0o755);
    const built = compileTools(tools, ["generate", "evade_files", "evade_sockets"]);
    [generator, fileTool, sockets] = [built.generate, built.evade_files, built.evade_sockets];
  }, 60_000);
  afterAll(() => rmSync(tools, { recursive: true }));
  beforeEach(() => {
    bench = new Bench();
    folder = join(realpathSync(bench.folder), "watched");
    mkdirSync(folder);
  });
  afterEach(() => bench.close());

  const observe = (config: string, work: () => Promise<void>) => bench.observe(config, work);

  /** Runs the generator. Returns what it says it has done. */
  async function generate(...args: string[]): Promise<{ truth: string[]; pid: number }> {
    const program = Bun.spawn([generator, ...args], { stdout: "pipe", stderr: "inherit" });
    const text = await new Response(program.stdout).text();
    expect(await program.exited).toBe(0);
    return { truth: text.trim().split("\n"), pid: program.pid };
  }

  test(`${FILES} opens, first writes, renames and unlinks are as many events, with true paths and inodes`, async () => {
    let done = { truth: [] as string[], pid: 0 };
    const lines = await observe(`[file]\nwatch_paths = [${JSON.stringify(folder)}]\n`, async () => {
      done = await generate("files", folder, String(FILES));
    });
    const seen = lines.filter((line) => line.event_type.startsWith("file_"));
    // In this profile no object of a renamed or removed file is at hand.
    const truth = done.truth.map((line) => line.replace(/^(file_(?:rename|unlink) .*) \d+$/, "$1 -"));
    expect(truth.length).toBe(4 * FILES);
    expect(seen.map((line) => asGenerated(line, "inode"))).toEqual(truth);
    for (const line of seen) {
      expect(line["pid"]).toBe(done.pid);
      expect(line["exe_path"]).toBe(generator);
      expect((line["ancestors"] as string[]).length).toBeGreaterThan(0);
    }
    expect(seen.find((line) => line.event_type === "file_open")).toMatchObject({
      created: true,
      flags: ["O_WRONLY", "O_CREAT", "O_EXCL"],
    });
    const writes = seen.filter((line) => line.event_type === "file_write");
    for (const line of writes) expect(line["count"]).toBe(5);
    const health = lines.at(-1) as unknown as { ledger: { by_kind: Record<string, Record<string, number>> } };
    expect(health.ledger.by_kind["file_write"]?.["filtered"]).toBeGreaterThanOrEqual(FILES);
  }, 120_000);

  test("a name of any size, at any depth, is there byte by byte", async () => {
    const letters = "abcdefghijklmnopqrstuvwxyz0123456789";
    const nameOf = (size: number) =>
      Array.from({ length: size }, (_, i) => letters[(size + i) % 36]).join("");
    // Names of all sizes, then folders in folders with one name each: the walk's first steps, and those after them.
    const names = Array.from({ length: 255 }, (_, i) => nameOf(i + 1));
    const deep = Array.from({ length: 60 }, (_, i) =>
      Array.from({ length: i + 2 }, (__, part) => nameOf(1 + ((i * 7 + part * 5) % 48))).join("/"),
    );
    const paths = [...names, ...deep.map((path) => `deep/${path}/end`)].map((path) => join(folder, path));
    const lines = await observe(`[file]\nwatch_paths = [${JSON.stringify(folder)}]\n`, async () => {
      for (const path of paths) {
        mkdirSync(dirname(path), { recursive: true });
        writeFileSync(path, "");
      }
    });
    const opened = lines.filter((line) => line.event_type === "file_open").map((line) => line["path"]);
    expect(opened).toEqual(paths);
  }, 60_000);

  test("binds, listens, connects and accepts over IPv4, IPv6, TCP and UDP, with the addresses the sockets have", async () => {
    let done = { truth: [] as string[], pid: 0 };
    const lines = await observe("[events]\nfile = false\n", async () => {
      done = await generate("network", String(CONNECTIONS));
    });
    const seen = lines.filter((line) => line.event_type.startsWith("network_") && line["pid"] === done.pid);
    expect(done.truth.length).toBe(10 * CONNECTIONS);
    expect(seen.map((line) => asGenerated(line))).toEqual(done.truth);
    for (const line of seen) expect(line).toMatchObject({ exe_path: generator, result: null });
    const protocols = new Set(seen.map((line) => `${String(line["family"])} ${String(line["protocol"])}`));
    expect([...protocols].toSorted()).toEqual(["ipv4 tcp", "ipv4 udp", "ipv6 tcp", "ipv6 udp"]);
    expect(seen.find((line) => line.event_type === "network_listen")?.["backlog"]).toBe(7);
    expect(lines.some((line) => line.event_type.startsWith("file_"))).toBe(false);
  }, 120_000);

  test("what is outside of the watch list, or excluded, never enters the ring, and is counted", async () => {
    const lines = await observe(
      `[file]\nwatch_paths = [${JSON.stringify(`${folder}/in`)}]\nwatch_patterns = ["*.service"]\nexclude_paths = [${JSON.stringify(`${folder}/in/out`)}]\n`,
      async () => {
        mkdirSync(join(folder, "in/out"), { recursive: true });
        mkdirSync(join(folder, "inside"));
        for (const name of ["in/a", "in/out/b", "inside/c", "d.service", "in/out/e.service", "f.services"]) {
          await Bun.spawn(["sh", "-c", `echo x > ${folder}/${name}`]).exited;
        }
        await Bun.spawn(["sh", "-c", `for i in $(seq 2000); do : < ${folder}/inside/c; done`]).exited;
        await Bun.spawn(["mv", `${folder}/inside/c`, `${folder}/in/c`]).exited;
        // A pipe has no path, and nothing that is left of the one before may stand for it.
        const pipes = `for i in $(seq 100); do : < ${folder}/d.service; : <> /dev/stdin; done`;
        await Bun.spawn(["sh", "-c", `true | ${pipes}`]).exited;
      },
    );
    const paths = lines.filter((line) => line.event_type === "file_write").map((line) => line["path"]);
    expect(paths).toEqual([`${folder}/in/a`, `${folder}/d.service`]);
    expect(
      lines.filter((line) => line.event_type === "file_rename").map((line) => line["new_filename"]),
    ).toEqual([`${folder}/in/c`]);
    const opens = lines.filter((line) => line.event_type === "file_open").map((line) => String(line["path"]));
    expect(opens.filter((path) => !path.startsWith(`${folder}/in/`) && !path.endsWith(".service"))).toEqual(
      [],
    );
    const health = lines.at(-1) as unknown as { ledger: { by_kind: Record<string, Record<string, number>> } };
    expect(health.ledger.by_kind["file_open"]?.["filtered"]).toBeGreaterThan(2000);
  }, 60_000);

  test("every call is seen, old ones and those of 32-bit programs too, with the true path", async () => {
    let done = { truth: [] as string[], pid: 0 };
    const lines = await observe(`[file]\nwatch_paths = ["${folder}"]\n`, async () => {
      done = await generate("calls", folder);
    });
    const seen = lines.filter((line) => line.event_type.startsWith("file_") && line["pid"] === done.pid);
    expect(seen.map((line) => asGenerated(line, "syscall"))).toEqual(done.truth);
  }, 60_000);

  test("connections of TCP Fast Open and of io_uring are seen; what else io_uring does is declared", async () => {
    let fast = { truth: [] as string[], pid: 0 };
    let ring = { truth: [] as string[], pid: 0 };
    const lines = await observe(`[file]\nwatch_paths = ["${folder}"]\n`, async () => {
      fast = await generate("fastopen");
      ring = await generate("uring", folder);
    });
    const of = (pid: number) => lines.filter((line) => line["pid"] === pid && "socket_fd" in line);
    expect(of(fast.pid).map((line) => asGenerated(line))).toEqual(fast.truth);
    const seen = ring.truth.filter((line) => /^network_(bind|listen|connect)/.test(line));
    expect(of(ring.pid).map((line) => asGenerated(line))).toEqual(seen);
    const unseen = ring.truth.filter((line) => !seen.includes(line)).map((line) => line.split(" ")[0]);
    const declared = ((lines[0]?.["blind_spots"] ?? []) as string[]).filter((line) =>
      line.includes("io_uring"),
    );
    for (const type of unseen) {
      const word = String(type).replace(/^\w+_/, "");
      expect(declared.some((line) => line.startsWith(`${word}s by io_uring`))).toBe(true);
    }
  }, 60_000);

  test("a watched path that leads elsewhere is told when the sensor starts, with the one to write", async () => {
    const config = bench.path("config.toml");
    const link = join(bench.folder, "link");
    symlinkSync(folder, link);
    const paths = [folder, `${folder}/`, `${folder}/absent`, link, `${link}/absent`, `${folder}/../watched`];
    writeFileSync(config, `[file]\nwatch_paths = ${JSON.stringify(paths)}\n`);
    const { stderr } = await bench.sensor("--no-pin", "--config", config);
    const told = stderr.split("\n").filter((line) => line.includes("leads to"));
    const warning = (path: string, real: string) =>
      `warder-sensor: ${config}: file.watch_paths: "${path}" leads to "${real}"; files go by their real paths: write that one`;
    expect(told).toEqual([
      warning(link, folder),
      warning(`${link}/absent`, `${folder}/absent`),
      warning(`${folder}/../watched`, folder),
    ]);
  }, 60_000);

  test("a connection that goes on without its caller is reported although failures are not, and once", async () => {
    const said: string[] = [];
    const lines = await observe("[network]\ninclude_failed = false\n[events]\nfile = false\n", async () => {
      for (const act of ["interrupted", "polled", "refused", "undone"]) {
        const program = Bun.spawn([sockets, act], { stdout: "pipe", stderr: "inherit" });
        said.push((await new Response(program.stdout).text()).trim());
        expect(await program.exited).toBe(0);
      }
    });
    const calls = lines.filter(
      (line) => line.event_type === "network_connect" && line["exe_path"] === sockets,
    );
    expect(calls.map((line) => `${String(line["remote_port"])} ${String(line["result"])}`)).toEqual([
      `${said[0]} null`, // fills the listener's queue
      `${said[0]} EINTR`,
      `${said[1]} null`,
      `${said[1]} EINPROGRESS`,
      "4020 null",
    ]);
  }, 60_000);

  test("a million opens outside of the watch list put nothing into the ring", async () => {
    writeFileSync(join(folder, "outside"), "");
    const lines = await observe(`[file]\nwatch_paths = ["${folder}/watched"]\n`, async () => {
      await Bun.spawn([generator, "flood", join(folder, "outside"), "1000000"]).exited;
    });
    expect(lines.filter((line) => line.event_type === "file_open")).toEqual([]);
    const { ledger } = lines.at(-1) as unknown as {
      ledger: { by_kind: Record<string, Record<string, number>> };
    };
    const { attempts, canaries, filtered } = ledger.by_kind["file_open"] ?? {};
    expect(attempts).toBe(canaries);
    expect(filtered).toBeGreaterThanOrEqual(1_000_000);
  }, 180_000);

  test("a second thread's files and connections belong to its program, whatever it calls itself", async () => {
    const lines = await observe(`[file]\nwatch_paths = ["${folder}"]\n`, async () => {
      await Bun.spawn([generator, "threads", folder]).exited;
    });
    const [open] = lines.filter((line) => line.event_type === "file_open");
    const [connect] = lines.filter(
      (line) => line.event_type === "network_connect" && line["remote_port"] === 9,
    );
    for (const line of [open, connect]) {
      expect(line).toMatchObject({
        exe_path: generator,
        comm: "other-name",
        parent_exe_path: process.execPath,
      });
      expect(line?.["tid"]).not.toBe(line?.["pid"]);
    }
  }, 60_000);

  test("every CPU's events arrive", async () => {
    let done = { truth: [] as string[], pid: 0 };
    const lines = await observe(`[file]\nwatch_paths = ["${folder}"]\n`, async () => {
      done = await generate("cpus", folder);
    });
    // The CPU is the third part of an event's id, in hex.
    const shown = lines
      .filter((line) => line.event_type === "file_open")
      .map(
        (line) =>
          `${Number.parseInt(String(line["event_id"]).split("-")[2] ?? "", 16)} ${String(line["path"])}`,
      );
    expect(shown.length).toBeGreaterThan(0);
    expect(shown).toEqual(done.truth);
  }, 60_000);

  test("a setuid-root program is shown with its effective user", async () => {
    const program = join(folder, "setuid-true");
    copyFileSync("/bin/true", program);
    chmodSync(program, 0o4755);
    chmodSync(folder, 0o755);
    const lines = await observe("[events]\nfile = false\nnetwork = false\n", async () => {
      await Bun.spawn(["setpriv", "--reuid", "4242", "--regid", "4242", "--clear-groups", program]).exited;
    });
    const start = lines.find((line) => line["exe_path"] === program && line.event_type === "process_start");
    expect(start).toMatchObject({ uid: 4242, euid: 0, gid: 4242 });
  }, 60_000);

  test("what the pair writes for its reader does not come back as events", async () => {
    const lines = await observe("", async () => {
      for (let i = 0; i < 20; i++) await Bun.spawn(["sh", "-c", "echo x > /dev/null"]).exited;
      await Bun.sleep(1500);
    });
    const output = bench.folder;
    expect(
      lines.filter(
        (line) => line.event_type === "file_write" && String(line["path"]).startsWith(realpathSync(output)),
      ),
    ).toEqual([]);
  }, 60_000);

  test("processes of excluded names do nothing to files that is reported, and the limit holds back all but alerts", async () => {
    const rule = fileRule("FILE-001", `${folder}/alarm`, "open");
    const config = `[file]\nwatch_paths = ["${folder}"]\nexclude_comms = ["touch"]\nhooks = ["openat"]\n[performance]\nmax_events_per_second = 5\n${rule}`;
    const lines = await observe(config, async () => {
      await Bun.spawn(["touch", join(folder, "by-touch")]).exited;
      await Bun.spawn(["sh", "-c", `for i in $(seq 100); do : > ${folder}/$i; done; : > ${folder}/alarm`])
        .exited;
    });
    const opens = lines.filter((line) => line.event_type === "file_open").map((line) => String(line["path"]));
    expect(opens).not.toContain(join(folder, "by-touch"));
    expect(opens).toContain(join(folder, "alarm"));
    expect(lines.filter((line) => line.event_type === "alert")).toHaveLength(1);
    expect(opens.length).toBeLessThanOrEqual(5 * 3 + 1);
    const { ledger } = lines.at(-1) as unknown as {
      ledger: { by_kind: Record<string, Record<string, number>> };
    };
    const counted = ledger.by_kind["file_open"];
    expect((counted?.["decoded"] ?? 0) - (counted?.["canaries"] ?? 0)).toBe(101);
    expect(counted?.["rate_limited"]).toBe(101 - opens.length);
    expect(counted?.["filtered"]).toBeGreaterThan(0);
  }, 60_000);

  test("calls that failed are reported where the settings ask for them, with the name that was asked for", async () => {
    const script = `cd ${folder}; echo x > secret; chmod 600 secret; cat absent d/../../absent; rm d/absent; mv absent other; exec setpriv --reuid 4242 --clear-groups cat ${folder}/secret`;
    const work = async () => {
      await Bun.spawn(["sh", "-c", script], { stderr: "ignore" }).exited;
    };
    chmodSync(folder, 0o755);
    const watch = `[file]\nwatch_paths = ["${folder}"]\n`;
    const lines = await observe(`${watch}include_failed = true\n`, work);
    // mv tries more than one way.
    const failed = lines.filter((line) => line["error"] && line["path"] !== `${folder}/other`);
    const shown = failed.map((line) => [
      line.event_type,
      line["comm"],
      line["error"],
      line["path"] ?? line["old_filename"],
    ]);
    expect(shown.map((words) => words.join(" "))).toEqual([
      `file_open cat ENOENT ${folder}/absent`,
      `file_unlink rm ENOENT ${folder}/d/absent`,
      `file_rename mv ENOENT ${folder}/absent`,
      `file_open cat EACCES ${folder}/secret`,
    ]);
    const without = await observe(watch, work);
    expect(without.filter((line) => line["error"])).toEqual([]);
  }, 60_000);

  test("a removal behind a link and .. does not get past the watch list, although the name is that of another place", async () => {
    const outside = join(realpathSync(bench.folder), "outside");
    const script = `cd ${folder}; mkdir d ../outside; ln -s ${folder}/d ../outside/link; echo > secret; rm ${outside}/link/../secret; echo > ../outside/other; rm ../outside/other`;
    const lines = await observe(`[file]\nwatch_paths = ["${folder}"]\n`, async () => {
      expect(await Bun.spawn(["sh", "-c", script]).exited).toBe(0);
    });
    const paths = lines.filter((line) => line.event_type === "file_unlink" && line["comm"] === "rm");
    const inFentry = lines[0]?.["profile"] === "fentry";
    expect(paths.map((line) => line["path"])).toEqual([inFentry ? `${folder}/secret` : `${outside}/secret`]);
  }, 60_000);

  test("a write that failed is reported on request, and does not hide the first one that works", async () => {
    const lines = await observe(`[file]\nwatch_paths = ["${folder}"]\ninclude_failed = true\n`, async () => {
      expect(await Bun.spawn([fileTool, "bad-write", folder]).exited).toBe(0);
    });
    const writes = lines.filter((line) => line.event_type === "file_write");
    expect(writes.map((line) => [line["path"], line["error"], line["count"]])).toEqual([
      [`${folder}/written`, "EFAULT", null],
      [`${folder}/written`, null, 4],
    ]);
  }, 60_000);

  test("a file that changes its name while it is opened goes by one of its names, and not by parts of both", async () => {
    const lines = await observe(`[file]\nwatch_paths = ["${folder}"]\n`, async () => {
      expect(await Bun.spawn([fileTool, "swinging", folder]).exited).toBe(0);
    });
    const opened = lines.filter((line) => line.event_type === "file_open").map((line) => line["path"]);
    expect(opened.length).toBeGreaterThanOrEqual(50_000);
    expect(new Set(opened)).toEqual(new Set([`${folder}/one`, `${folder}/the-other-that-is-much-longer`]));
  }, 60_000);

  test("files of one number in two layers of an overlay are two files", async () => {
    const script = `cd ${folder}; for i in 1 2 3; do mkdir t$i; mount -t tmpfs tmpfs t$i; mkdir t$i/d t$i/w; done
echo > t1/d/a; echo > t2/d/b; mkdir m
mount -t overlay overlay -o lowerdir=t1/d:t2/d,upperdir=t3/d,workdir=t3/w m
echo x >> m/a; echo x >> m/b`;
    const lines = await observe(`[file]\nwatch_paths = ["${folder}/m"]\n`, async () => {
      expect(await Bun.spawn(["unshare", "--mount", "sh", "-ec", script]).exited).toBe(0);
    });
    const writes = lines.filter((line) => line.event_type === "file_write");
    expect(writes.map((line) => line["path"])).toEqual([`${folder}/m/a`, `${folder}/m/b`]);
  }, 60_000);

  test("shared memory without a file is no write, whatever descriptor is passed with it", async () => {
    const lines = await observe(`[file]\nwatch_paths = ["${folder}"]\n`, async () => {
      expect(await Bun.spawn([fileTool, "anonymous", folder]).exited).toBe(0);
    });
    expect(
      lines.filter((line) => line["path"] === `${folder}/anonymous`).map((line) => line.event_type),
    ).toEqual(["file_open"]);
  }, 60_000);

  test("a name longer than most file systems take keeps its end, and says that it was cut", async () => {
    const name = `${"n".repeat(300)}.service`;
    const config = `[file]\nwatch_patterns = ["*.service"]\ninclude_failed = true\n`;
    const lines = await observe(config, async () => {
      await Bun.spawn(["cat", `${folder}/${name}`], { stderr: "ignore" }).exited;
    });
    expect(lines.find((line) => line["error"] === "ENAMETOOLONG")).toMatchObject({
      path: name.slice(-255),
      truncated: ["path"],
    });
  }, 60_000);

  test("the root is no path that was looked at before it", async () => {
    const names = Array.from({ length: 20 }, (_, i) => String.fromCharCode(97 + i).repeat(200));
    const last = "z".repeat(4096 - folder.length - names.length * 201 - 1);
    expect(last.length).toBeGreaterThan(0);
    const enter = names.map((name) => `mkdir -p ${name}; cd ${name}`).join("; ");
    const script = `cd ${folder}; ${enter}; for cpu in 0 1; do taskset -c $cpu sh -c 'echo > ${last}; exec < /'; done`;
    const lines = await observe(`[file]\nwatch_paths = ["${folder}"]\n`, async () => {
      await Bun.spawn(["sh", "-c", script], { stderr: "ignore" }).exited;
    });
    const opened = lines
      .filter((line) => line.event_type === "file_open")
      .map((line) => String(line["path"]));
    expect(opened.filter((path) => path.length === 4096).length).toBe(2);
    expect(opened).not.toContain("/");
  }, 60_000);

  test("every write is an event on request", async () => {
    const work = async () => {
      await Bun.spawn(["bash", "-c", `exec 3> ${folder}/log; for i in {1..50}; do echo $i >&3; done`]).exited;
    };
    const watch = `[file]\nwatch_paths = ["${folder}"]\n`;
    const writes = (lines: Line[]) => lines.filter((line) => line.event_type === "file_write").length;
    expect(writes(await observe(`${watch}write_events = "every"\n`, work))).toBe(50);
    expect(writes(await observe(watch, work))).toBe(1);
  }, 60_000);

  test("legacy calls, hard links, symlinks, dots, bind mounts and long paths show the true file", async () => {
    const script = `
cd ${folder}; mkdir d; echo x > d/true; ln d/true hard; ln -s d link; mkdir bound; mount --bind d bound
cat link/true link/../d/./true /proc/self/root${folder}/d/true bound/true hard > /dev/null
umount bound
`;
    const lines = await observe(`[file]\nwatch_paths = ["${folder}"]\n`, async () => {
      await Bun.spawn(["unshare", "--mount", "sh", "-c", script]).exited;
    });
    const opens = lines.filter((line) => line.event_type === "file_open" && line["comm"] === "cat");
    expect(opens.map((line) => String(line["path"]).slice(folder.length))).toEqual([
      "/d/true",
      "/d/true",
      "/d/true",
      "/bound/true",
      "/hard",
    ]);
    expect(new Set(opens.map((line) => line["inode"])).size).toBe(1);
    for (const line of opens) expect(line["nlink"]).toBe(2);
  }, 60_000);
});
