import { expect, test } from "bun:test";
import { laterSignal } from "./signals.ts";

test("a signal that comes before there is something to act on is acted on then, and after that each time", async () => {
  const onSignal = laterSignal("SIGUSR1");
  let acted = 0;
  const send = async () => {
    process.kill(process.pid, "SIGUSR1");
    await Bun.sleep(50);
  };
  await send();
  onSignal(() => {
    acted += 1;
  });
  expect(acted).toBe(1);
  await send();
  expect(acted).toBe(2);
});
