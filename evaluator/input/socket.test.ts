import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ACKNOWLEDGEMENT, readAcknowledgement } from "../../bpf/event.gen.ts";
import { connectSensor } from "./socket.ts";

test("acknowledgements that nobody reads do not pile up, and the last of each ring arrives when somebody does", async () => {
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
    connection.acknowledge(0, position);
    connection.acknowledge(1, 2n * position);
    if (position % 1000n === 0n) await Bun.sleep(0);
  }
  const last = new Map<number, bigint>();
  peer?.resume();
  for (let waited = 0; waited < 400 && last.get(1) !== 2n * count; waited++) {
    await Bun.sleep(10);
    const bytes = Buffer.concat(received);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let at = 0; at + ACKNOWLEDGEMENT.size <= bytes.length; at += ACKNOWLEDGEMENT.size) {
      const { ring, position } = readAcknowledgement(view, at);
      last.set(ring, position);
    }
  }
  expect([...last]).toEqual([
    [0, count],
    [1, 2n * count],
  ]);
  // What the kernel holds for a socket, and what may wait here: far from the 16 MB that were said.
  expect(Buffer.concat(received).length).toBeLessThan(2_000_000);
  connection.close();
  server.close();
  rmSync(folder, { recursive: true });
});
