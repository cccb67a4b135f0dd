// Settings come in layers, each stronger than the one before: the defaults, a file, the files of a folder beside it, the
// environment, the command line. Both processes read the same ones.

import { parse } from "smol-toml";
import { suggest } from "./words.ts";

/** The settings file where none is named, and beside any such file the folder with more. */
export const DEFAULT_CONFIG = "/etc/warder/config.toml";
export const CONFIG_FOLDER = "config.d";

const SECTIONS: readonly string[] = [
  ...["agent", "sensor", "ebpf", "events", "process", "file", "network", "output", "health", "metrics"],
  ...["performance", "rules", "detections", "disable"],
];

/** What is wrong with the name of a section; null: nothing. */
export function unknownSection(name: string): string | null {
  if (SECTIONS.includes(name)) return null;
  return `${name}: unknown section${suggest(name, SECTIONS)}; known are ${SECTIONS.join(", ")}`;
}

/** Settings from elsewhere than a file, as TOML. `name` says where from. */
export type Layer = { name: string; text: string };

/** WARDER_SECTION__KEY: two underscores, so that our other variables are none of these. */
const VARIABLE = /^WARDER_([A-Z]+)__([A-Z0-9_]+)$/;

/** The settings in an environment, one layer each, in the order of their names. */
export function environmentLayers(environment: Readonly<Record<string, string | undefined>>): Layer[] {
  return Object.keys(environment)
    .toSorted()
    .flatMap((name) => {
      const [, section = "", key = ""] = VARIABLE.exec(name) ?? [];
      const value = environment[name];
      return section === "" || value === undefined
        ? []
        : [layerOf(name, section.toLowerCase(), key.toLowerCase(), value)];
    });
}

/** The layer of a word "section.key=value"; null when it is none. */
export function assignmentLayer(word: string): Layer | null {
  const [, section = "", key = "", value = ""] = /^([a-z]+)\.([a-z0-9_]+)=(.*)$/s.exec(word) ?? [];
  return section === "" ? null : layerOf(`--set ${section}.${key}`, section, key, value);
}

/** A value may be written as in TOML; what is not TOML is a text. */
function layerOf(name: string, section: string, key: string, value: string): Layer {
  const head = `[${section}]\n${key} = `;
  try {
    const { value: parsed, ...others } = parse(`value = ${value}`);
    if (parsed !== undefined && Object.keys(others).length === 0) return { name, text: `${head}${value}` };
  } catch {
    // A text.
  }
  return { name, text: head + JSON.stringify(value) };
}
