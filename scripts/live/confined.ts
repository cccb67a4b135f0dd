// Loads the real programs as the sensor does, gives up all rights as it does, and then runs attempts.ts where the sensor would
// serve. The argument is the folder of the socket.

import { chownSync, mkdirSync, openSync } from "node:fs";
import { join } from "node:path";
import { chooseHooks } from "../../sensor/hooks.ts";
import { listenUnix } from "../../sensor/libc.ts";
import { becomeServer } from "../../sensor/privileges.ts";
import { attachPrograms } from "../../sensor/programs.ts";
import { findUser, readSettings } from "../../sensor/settings.ts";

const build = join(import.meta.dir, "../../build");
const socket = join(process.argv[2] ?? "/nonexistent", "sensor.sock");
const user = findUser("nobody", "here");
const { settings } = readSettings(undefined, []);
const { hooks } = chooseHooks(settings, "auto", join(build, "probe.bpf.o"), new Map());
const { lock, ...programs } = attachPrograms(join(build, "warder.bpf.o"), settings, hooks, false, () => {});
const folder = join(socket, "..", "canary");
mkdirSync(folder);
chownSync(folder, user.uid, user.gid);
const handover = {
  ...programs,
  ringSizes: settings.ringSizes,
  listener: listenUnix(socket),
  socket,
  canary: { folder: openSync(folder, "r"), program: Bun.which("true") },
  allowed: [],
  preamble: "",
  coverage: "",
};
await becomeServer(user, handover, lock, join(import.meta.dir, "attempts.ts"));
