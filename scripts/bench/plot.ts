// Curves as an SVG picture: one panel a curve, the x axis logarithmic, the y axis from 0 on.

/** One curve. */
export type Curve = { title: string; x: string; y: string; points: { x: number; y: number }[] };

const WIDTH = 420;
const HEIGHT = 260;
const COLUMNS = 2;
/** Around the lines of a panel. */
const EDGE = { left: 70, right: 20, top: 40, bottom: 45 };
const STYLE =
  "text{font:12px sans-serif;fill:#333}.title{font-weight:bold}.axis{stroke:#999}.curve{fill:none;stroke:#1668a8;stroke-width:2}circle{fill:#1668a8}";

/** The picture of all curves. `caption` says what it was measured on. */
export function plot(curves: readonly Curve[], caption: string): string {
  const rows = Math.ceil(curves.length / COLUMNS);
  const size = { width: COLUMNS * WIDTH, height: rows * HEIGHT + 30 };
  const panels = curves.map((curve, i) => {
    const [x, y] = [(i % COLUMNS) * WIDTH, Math.floor(i / COLUMNS) * HEIGHT];
    return `<g transform="translate(${x} ${y})">\n${panel(curve)}\n</g>`;
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${size.width}" height="${size.height}">`,
    `<style>${STYLE}</style>`,
    '<rect width="100%" height="100%" fill="white"/>',
    ...panels,
    text(WIDTH, size.height - 12, caption, "middle"),
    "</svg>\n",
  ].join("\n");
}

function panel({ title, x, y, points }: Curve): string {
  const [bottom, right] = [HEIGHT - EDGE.bottom, WIDTH - EDGE.right];
  const xs = points.map((point) => Math.log(point.x));
  const [low, high] = [Math.min(...xs), Math.max(...xs)];
  const top = roundUp(Math.max(...points.map((point) => point.y)));
  const place = (point: { x: number; y: number }) => ({
    x: EDGE.left + ((Math.log(point.x) - low) / (high - low || 1)) * (right - EDGE.left),
    y: bottom - (point.y / top) * (bottom - EDGE.top),
  });
  const places = points.map(place);
  return [
    text(EDGE.left, 20, title, "start", "title"),
    `<line class="axis" x1="${EDGE.left}" y1="${bottom}" x2="${right}" y2="${bottom}"/>`,
    `<line class="axis" x1="${EDGE.left}" y1="${bottom}" x2="${EDGE.left}" y2="${EDGE.top}"/>`,
    ...[0, top / 2, top].map((value) =>
      text(EDGE.left - 6, place({ x: 1, y: value }).y + 4, short(value), "end"),
    ),
    ...places.map((at, i) => text(at.x, bottom + 16, short(points[i]?.x ?? 0), "middle")),
    text((EDGE.left + right) / 2, HEIGHT - 10, x, "middle"),
    text(EDGE.left, EDGE.top - 6, y, "start"),
    `<polyline class="curve" points="${places.map((at) => `${at.x.toFixed(1)},${at.y.toFixed(1)}`).join(" ")}"/>`,
    ...places.map((at) => `<circle cx="${at.x.toFixed(1)}" cy="${at.y.toFixed(1)}" r="3"/>`),
  ].join("\n");
}

function text(x: number, y: number, words: string, anchor: "start" | "middle" | "end", style = ""): string {
  const escaped = words.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  return `<text class="${style}" x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}">${escaped}</text>`;
}

/** The next number whose first digit alone is not 0. */
function roundUp(value: number): number {
  const unit = 10 ** Math.floor(Math.log10(value || 1));
  return Math.ceil(value / unit) * unit;
}

function short(value: number): string {
  if (value >= 1e6) return `${value / 1e6} M`;
  return value >= 1000 && value % 1000 === 0 ? `${value / 1000} k` : value.toLocaleString("en-US");
}
