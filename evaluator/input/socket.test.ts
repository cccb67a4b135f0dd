import { expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ACKNOWLEDGEMENT, type Acknowledgement, readAcknowledgement } from "../../bpf/event.gen.ts";
import { connectSensor } from "./socket.ts";

test("acknowledgements that nobody reads do not pile up, and the last arrives when somebody does", async () => {
  const folder = mkdtempSync(join(tmpdir(), "warder-socket-"));
  const path = join(folder, "sensor.sock");
  const received: Buffer[] = [];
  let peer: Socket | undefined;
  const server = createServer((socket) => {
    peer = socket;
    socket.pause();
    socket.on("data", (piece: Buffer) => received.push(piece));
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  const connection = await connectSensor(path);
  const count = 500_000n;
  for (let position = 1n; position <= count; position++) {
    connection.acknowledge({
      position: [position, 2n * position, 0n, 0n],
      counters: 3n * position,
      unwrittenEvents: 4n,
      unwrittenAlerts: 5n,
    });
    if (position % 1000n === 0n) await Bun.sleep(0);
  }
  let last: Acknowledgement | null = null;
  peer?.resume();
  for (let waited = 0; waited < 400 && last?.counters !== 3n * count; waited++) {
    await Bun.sleep(10);
    const bytes = Buffer.concat(received);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const whole = bytes.length - (bytes.length % ACKNOWLEDGEMENT.size);
    if (whole > 0) last = readAcknowledgement(view, whole - ACKNOWLEDGEMENT.size);
  }
  expect(last).toEqual({
    position: [count, 2n * count, 0n, 0n],
    counters: 3n * count,
    unwrittenEvents: 4n,
    unwrittenAlerts: 5n,
  });
  // What the kernel holds for a socket, and what may wait here: far from the 16 MB that were said.
  expect(Buffer.concat(received).length).toBeLessThan(2_000_000);
  connection.close();
  server.close();
  rmSync(folder, { recursive: true });
});

/** Acknowledges behind the runtime's back: it has closed the descriptor, whose number is another file's now, and has not said so. */
const ACKNOWLEDGE_LATE = `
  const { closeSync, openSync, readdirSync, readlinkSync } = await import("node:fs");
  const { connectSensor } = await import("./evaluator/input/socket.ts");
  const [path, other] = process.argv.slice(1);
  const sockets = () => readdirSync("/proc/self/fd").filter((fd) => {
    try {
      return readlinkSync("/proc/self/fd/" + fd).startsWith("socket:");
    } catch {}
  });
  const before = sockets();
  const connection = await connectSensor(path);
  const [fd] = sockets().filter((one) => !before.includes(one));
  const acknowledge = (counters) =>
    connection.acknowledge({ position: [0n, 0n, 0n, 0n], counters, unwrittenEvents: 0n, unwrittenAlerts: 0n });
  acknowledge(1n);
  closeSync(Number(fd));
  acknowledge(2n);
  while (openSync(other, "a") !== Number(fd));
  acknowledge(3n);
  process.exit(0);
`;

test("no acknowledgement is written to whatever has got the number of a descriptor that is closed", async () => {
  const folder = mkdtempSync(join(tmpdir(), "warder-socket-"));
  const path = join(folder, "sensor.sock");
  const received: Buffer[] = [];
  const server = createServer((socket) => {
    socket.on("data", (piece: Buffer) => received.push(piece));
    socket.on("end", () => server.close());
  });
  const closed = new Promise((resolve) => server.on("close", resolve));
  await new Promise<void>((resolve) => server.listen(path, resolve));
  const other = join(folder, "other");
  const program = Bun.spawn([process.execPath, "-e", ACKNOWLEDGE_LATE, path, other], {
    cwd: join(import.meta.dir, "../.."),
    stderr: "pipe",
  });
  const [said, code] = await Promise.all([new Response(program.stderr).text(), program.exited]);
  expect({ said, code }).toEqual({ said: "", code: 0 });
  expect(readFileSync(other, "latin1")).toBe("");
  await closed;
  expect(Buffer.concat(received).length).toBe(ACKNOWLEDGEMENT.size);
  rmSync(folder, { recursive: true });
});
