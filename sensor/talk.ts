// What the serving half says on standard error, within bounds: who knocks a thousand times must not fill a log.

const WINDOW_MS = 10_000;
/** Lines in a window that begin with the same word. */
const LINES_MAX = 20;

/** What was said since a window began, and what was kept back. */
type Topic = { said: number; kept: number; last: string };

/**
 * Gives a function that hands lines to `write`, LINES_MAX of a kind in WINDOW_MS, and at the window's end how many more there
 * were. The lines that begin with the same word are of a kind.
 */
export function talker(write: (line: string) => void): (line: string) => void {
  const topics = new Map<string, Topic>();
  const end = (word: string) => {
    const { kept, last } = topics.get(word) ?? { kept: 0, last: "" };
    topics.delete(word);
    if (kept > 0) write(`${kept} more lines like this in ${WINDOW_MS / 1000} s: ${last}`);
  };
  process.on("exit", () => topics.forEach((_, word) => end(word)));
  return (line) => {
    const [word = ""] = line.split(" ");
    let topic = topics.get(word);
    if (!topic) {
      topic = { said: 0, kept: 0, last: "" };
      topics.set(word, topic);
      setTimeout(end, WINDOW_MS, word).unref();
    }
    if (topic.said < LINES_MAX) {
      topic.said += 1;
      write(line);
    } else {
      topic.kept += 1;
      topic.last = line;
    }
  };
}
