// What signals ask the evaluator for: to end, to read rules and settings again, to open its files anew.

/** SIGINT and SIGTERM ask for a clean end; the second one ends at once. */
export function stopSignal(): { signal: AbortSignal } {
  const controller = new AbortController();
  for (const [name, number] of [
    ["SIGINT", 2],
    ["SIGTERM", 15],
  ] as const) {
    process.on(name, () => {
      if (controller.signal.aborted) process.exit(128 + number);
      controller.abort();
    });
  }
  return { signal: controller.signal };
}

/** Acts when `signal` is aborted, at once if it is already. Returns how to call that off. */
export function onAbort(signal: AbortSignal, act: () => void): () => void {
  if (signal.aborted) act();
  else signal.addEventListener("abort", act, { once: true });
  return () => signal.removeEventListener("abort", act);
}

/**
 * A signal that is acted on as soon as there is something to act on, which the caller gives. Without a handler it would end this
 * process.
 */
export function laterSignal(name: "SIGHUP" | "SIGUSR1"): (act: () => void) => void {
  let came = false;
  let act = () => {
    came = true;
  };
  process.on(name, () => act());
  return (action) => {
    act = action;
    if (came) act();
  };
}
