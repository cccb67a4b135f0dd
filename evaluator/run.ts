// What the subcommands do: a source of bytes, the core, the output, in a loop.

import { statSync } from "node:fs";
import { whyNotRead } from "../bpf/words.ts";
import type { Loaded } from "./config.ts";
import { Exit, Failure } from "./exit.ts";
import { type Capture, openCapture, readCapture } from "./input/capture.ts";
import { FrameReader } from "./input/records.ts";
import { connectSensor, Handled, type SensorConnection } from "./input/socket.ts";
import type { Judge } from "./judge.ts";
import { serveMetrics } from "./metrics.ts";
import { failureOf, type OutputOptions, openPipeline } from "./pipeline.ts";
import { becomeUser } from "./privileges.ts";
import { openRecording, Recording, writeRecording } from "./recording.ts";
import { laterSignal, onAbort, stopSignal } from "./signals.ts";
import { Progress, say } from "./talk.ts";

export type RunOptions = OutputOptions & {
  socket?: string;
  record?: string;
  once?: boolean;
  user: string;
  allowRoot?: boolean;
};

const RETRY_MS_MIN = 100;
const RETRY_MS_MAX = 2000;
/** A sensor that closes sooner than this, one after the other, is connected to ever less often. */
const STEADY_MS = 1000;
/** A sensor that is started again serves sooner. */
const LATE_MS = 5000;
const REFUSALS_MAX = 5;
/** After a signal, how long the end of the stream is waited for. */
const END_MS = 3000;
/** After a signal, how long a reader that does not read is waited for. */
const GIVE_UP_MS = 4000;
const REFUSED = "the sensor closed the connection at once: its messages say why";

/**
 * Evaluates what the sensor hands over, until a signal, or with `once` until the sensor ends. `load` reads settings and rules,
 * `reload` does again.
 */
export async function run(load: () => Loaded, options: RunOptions, reload: () => Loaded): Promise<void> {
  // Before rules are read: what is changed after that must not go unnoticed.
  const stop = stopSignal();
  const onMoved = laterSignal("SIGUSR1");
  const onChanged = laterSignal("SIGHUP");
  const loaded = load();
  const socket = options.socket ?? loaded.config.sensor.socket;
  const recording = options.record === undefined ? null : new Recording(openRecording(options.record), say);
  // The first connection is made with the rights that this process was started with.
  let connection = await tryConnect(socket);
  if (!options.allowRoot) becomeUser(options.user);
  else if (process.getuid?.() === 0) say("stays root, as --allow-root says");
  const pipeline = openPipeline(loaded, options, () => Math.round(process.memoryUsage.rss() / 1024));
  onMoved(() => pipeline.reopen());
  onAbort(stop.signal, () => setTimeout(() => pipeline.giveUp(), GIVE_UP_MS));
  onChanged(() => pipeline.reload(reload()));

  const troubles = () => pipeline.troubles(connection !== null, socket);
  const metrics = await serveMetrics(loaded.config.metrics.port, {
    metrics: () => pipeline.metrics(connection !== null, troubles()),
    troubles,
  });

  let refusals = 0;
  let pause = 0;
  let failure: Failure | null = null;
  while (!failure) {
    const next =
      connection ?? (await waitForSensor(socket, stop, () => pipeline.release()).catch(failureOf(socket)));
    if (next instanceof Failure) failure = next;
    if (next === null || next instanceof Failure) break;
    connection = next;
    const { signal } = stop;
    const { close } = connection;
    const connected = performance.now();
    const callOff = onAbort(signal, () => setTimeout(close, options.once ? END_MS : 0));
    const outcome = await pipeline
      .feed(connection.pieces, recording, connection.acknowledge, signal)
      .catch(failureOf(socket));
    callOff();
    connection.close();
    connection = null;
    if (outcome instanceof Failure) {
      failure = outcome;
      break;
    }
    if (signal.aborted || options.once || pipeline.closed) break;
    if (outcome !== "nothing") {
      refusals = 0;
      say(
        outcome === "end"
          ? "the sensor has stopped; waiting for the next one"
          : "the sensor has gone; waiting for the next one",
      );
      const isSteady = performance.now() - connected > STEADY_MS;
      pause = isSteady ? 0 : Math.min(Math.max(pause * 2, RETRY_MS_MIN), RETRY_MS_MAX);
      await Bun.sleep(pause);
      continue;
    }
    // A sensor that is being killed may still take a connection; one that refuses does so every time.
    refusals += 1;
    if (refusals > (pipeline.begun ? REFUSALS_MAX : 0))
      failure = new Failure(Exit.io, `${socket}: ${REFUSED}`);
    await Bun.sleep(RETRY_MS_MIN * refusals);
  }
  // Who leaves on purpose leaves the next one what is held back.
  const unreleased = stop.signal.aborted ? null : await pipeline.release();
  const incomplete = await pipeline.finish(stop.signal.aborted);
  metrics?.close();
  await recording?.close();
  failure ??= unreleased ?? pipeline.failure ?? recording?.failure ?? incomplete;
  if (failure) throw failure;
}

/** Evaluates captures, one after the other, as one stream. @throws Failure also when the judge has something to object */
export async function replay(
  files: string[],
  loaded: Loaded,
  options: RunOptions,
  judge: Judge,
): Promise<void> {
  const onMoved = laterSignal("SIGUSR1");
  const captures = files.map(openOrFail);
  if (!options.allowRoot) becomeUser(options.user);
  const pipeline = openPipeline(
    loaded,
    options,
    () => null,
    (alert) => judge.see(alert),
  );
  onMoved(() => pipeline.reopen());
  const progress = new Progress(captures);
  let failure: Failure | null = null;
  for (const capture of captures) {
    const pieces = watched(readCapture(capture), () => progress.step(() => pipeline.events));
    const outcome = await pipeline.feed(pieces, null, null).catch(failureOf(capture.name));
    if (outcome instanceof Failure) failure = outcome;
    if (failure || pipeline.closed) break;
  }
  const unreleased = await pipeline.release();
  progress.end();
  // Of a file that is no capture, there is nothing to sum up.
  const rules = failure && !pipeline.begun ? null : loaded.rules;
  const incomplete = await pipeline.finish(false, rules);
  if (failure && pipeline.begun)
    throw new Failure(failure.exitCode, `${failure.message}; what came before is in the output`);
  failure ??= unreleased ?? incomplete;
  if (failure) throw failure;
  judge.decide({ complete: !pipeline.closed });
}

async function* watched(pieces: AsyncIterable<Uint8Array>, see: () => void): AsyncGenerator<Uint8Array> {
  for await (const piece of pieces) {
    see();
    yield piece;
  }
}

/** Saves the sensor's stream, untouched but for checksums and, where it does not end by itself, an end. */
export async function record(
  file: string,
  loaded: Loaded,
  options: Omit<RunOptions, "record"> & { duration?: string },
): Promise<void> {
  const seconds = options.duration === undefined ? null : Number(options.duration);
  if (seconds !== null && !(seconds > 0))
    throw new Failure(Exit.usage, `--duration ${options.duration}: expected seconds, such as 30 or 0.5`);
  const socket = options.socket ?? loaded.config.sensor.socket;
  const connection = await tryConnect(socket);
  if (!connection)
    throw new Failure(Exit.io, `no sensor serves at ${socket}: start one with "warder-sensor run"`);
  const recording = openRecording(file);
  if (!options.allowRoot) becomeUser(options.user);
  const stop = stopSignal();
  let isLeft = false;
  const leave = () => {
    isLeft = true;
    connection.close();
  };
  onAbort(stop.signal, leave);
  if (seconds !== null) setTimeout(leave, seconds * 1000);
  const reader = new FrameReader();
  let frames = 0;
  const handled = new Handled();
  for await (const piece of connection.pieces) {
    for (const frame of reader.push(piece)) {
      recording.write(frame);
      frames += 1;
      handled.came(frame);
      handled.add(frame);
    }
    await writeRecording(recording, () => recording.flush());
    connection.acknowledge({ ...handled.now(), unwrittenEvents: 0n, unwrittenAlerts: 0n });
  }
  recording.endStream(!isLeft);
  await writeRecording(recording, () => recording.close());
  if (frames === 0) throw new Failure(Exit.io, `${socket}: ${REFUSED}`);
  say(`${file}: ${frames} frames`);
}

function openOrFail(path: string): Capture {
  try {
    return openCapture(path);
  } catch (error) {
    throw new Failure(Exit.io, `${path}: ${whyNotRead(error as NodeJS.ErrnoException)}`);
  }
}

/** Null when no sensor is there; with `patient`, also when it takes the connection and drops it. */
async function tryConnect(socket: string, patient = false): Promise<SensorConnection | null> {
  try {
    return await connectSensor(socket);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (isOther(socket))
      throw new Failure(Exit.io, `${socket}: is no socket: expected the one that the sensor serves at`);
    if (code === "ENOENT" || code === "ECONNREFUSED") return null;
    if (code === "ECONNRESET" || code === "EPIPE") {
      if (patient) return null;
      throw new Failure(Exit.io, `${socket}: ${REFUSED}`);
    }
    const reason =
      code === "EACCES"
        ? "this user may not reach the sensor's socket: be root, or one of [sensor] evaluators"
        : message;
    throw new Failure(Exit.io, `${socket}: ${reason}`);
  }
}

/** Is something else at this path, as far as this user can see? */
function isOther(socket: string): boolean {
  try {
    return !statSync(socket).isSocket();
  } catch {
    return false;
  }
}

/** `late`: what to do when none has come for a while. */
async function waitForSensor(
  socket: string,
  stop: { signal: AbortSignal },
  late: () => Promise<Failure | null>,
): Promise<SensorConnection | null> {
  const begun = performance.now();
  let told = false;
  for (let wait = RETRY_MS_MIN; !stop.signal.aborted; wait = Math.min(wait * 2, RETRY_MS_MAX)) {
    const connection = await tryConnect(socket, true);
    if (connection) return connection;
    if (!told) say(`no sensor serves at ${socket} yet ("warder-sensor run" starts one); waiting`);
    told = true;
    const failure = performance.now() - begun > LATE_MS ? await late() : null;
    if (failure) throw failure;
    await Bun.sleep(wait);
  }
  return null;
}
