import { expect, test } from "bun:test";
import { plot } from "./plot.ts";

const numbers = (text = "") => text.split(/[ ,]/).map(Number);
const points = (svg: string) => [...svg.matchAll(/points="([^"]+)"/g)].map((match) => numbers(match[1]));

test("a curve goes from edge to edge, by tens on one axis and from 0 on the other", () => {
  const svg = plot(
    [
      {
        ...{ title: "a & b", x: "rules", y: "events" },
        points: [10, 100, 1000].map((x, i) => ({ x, y: 1e6 * (2 - i) })),
      },
    ],
    "measured <here>",
  );
  expect(points(svg)).toEqual([[70, 40, 235, 127.5, 400, 215]]);
  const words = [...svg.matchAll(/>([^<\n]+)<\/text>/g)].map((match) => match[1]);
  expect(words).toEqual([
    ...["a &amp; b", "0", "1 M", "2 M", "10", "100", "1 k", "rules", "events"],
    "measured &lt;here>",
  ]);
});

test("curves stand side by side in panels, and one of a single point is drawn", () => {
  const one = { title: "t", x: "x", y: "y", points: [{ x: 5, y: 7 }] };
  const svg = plot([one, one, one], "");
  expect(points(svg)).toEqual([
    [70, 40],
    [70, 40],
    [70, 40],
  ]);
  expect([...svg.matchAll(/translate\((\d+) (\d+)\)/g)].map((match) => [match[1], match[2]])).toEqual([
    ["0", "0"],
    ["420", "0"],
    ["0", "260"],
  ]);
});
