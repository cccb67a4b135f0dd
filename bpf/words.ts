// What both programs say of words that mean nothing to them, and of files that they cannot use.

/** ` (did you mean "x"?)`, when something similar is known. */
export function suggest(word: string, known: readonly string[]): string {
  const close = known
    .map((candidate) => ({ candidate, distance: editDistance(word.toLowerCase(), candidate.toLowerCase()) }))
    .filter(
      ({ candidate, distance }) =>
        distance <= Math.max(1, Math.floor(Math.min(word.length, candidate.length) / 3)),
    )
    .toSorted((a, b) => a.distance - b.distance)[0];
  const meant = close?.candidate ?? (word.length < 3 ? undefined : known.find((one) => one.startsWith(word)));
  return meant === undefined ? "" : ` (did you mean "${meant}"?)`;
}

/** Insertions, deletions, replacements and swaps of neighbours that turn one word into the other. */
function editDistance(from: string, to: string): number {
  if (Math.abs(from.length - to.length) > 3) return Infinity;
  const rows: number[][] = [Array.from({ length: to.length + 1 }, (_, i) => i)];
  const at = (i: number, j: number) => rows[i]?.[j] ?? Infinity;
  for (let i = 1; i <= from.length; i++) {
    const row = [i];
    rows.push(row);
    for (let j = 1; j <= to.length; j++) {
      const same = from[i - 1] === to[j - 1] ? 0 : 1;
      const swapped =
        from[i - 1] === to[j - 2] && from[i - 2] === to[j - 1] ? at(i - 2, j - 2) + 1 : Infinity;
      row.push(Math.min(at(i - 1, j) + 1, (row[j - 1] ?? Infinity) + 1, at(i - 1, j - 1) + same, swapped));
    }
  }
  return at(from.length, to.length);
}

/** What is said where a folder was given for a file. */
export const IS_FOLDER = "is a folder, and a file is needed";
const REASONS: Readonly<Record<string, string>> = {
  ENOENT: "no such file",
  EISDIR: IS_FOLDER,
  ENOTDIR: "leads through a file as if that were a folder",
  ELOOP: "leads through too many symbolic links, or through a circle of them",
};

/** Why the system did not let a file be read, in words. */
export function whyNotRead({ code = "", message }: NodeJS.ErrnoException): string {
  if (code === "EACCES") return `user ${process.geteuid?.()} may not read it`;
  return REASONS[code] ?? message;
}

/** Why a text is not TOML, from what the parser says. To it a text without its last quote has a newline in it. */
export function whyNotToml(
  { message, line, column }: { message: string; line: number; column: number },
  text: string,
): string {
  const atEnd = column > (text.split("\n")[line - 1] ?? "").length;
  const said = (message.split("\n")[0] ?? "").replace("Invalid TOML document: ", "");
  return `not TOML: ${atEnd && said.endsWith("in strings") ? "a quote is missing where this text ends" : said}`;
}
