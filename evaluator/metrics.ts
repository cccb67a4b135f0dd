// Metrics and health over HTTP, for Prometheus and for whoever watches services. Only programs of this host reach them, and
// whatever these do, the evaluation goes on: connections, requests and their time are bounded.

import { createServer, type ServerResponse } from "node:http";
import { createServer as createListener, type Server, type Socket } from "node:net";
import { Exit, Failure } from "./exit.ts";

/** What is answered. Both are made when they are asked for, and at most once a second. */
export type Answers = {
  /** The metrics, as text. */
  metrics: () => string;
  /** What is wrong at this moment, in words. */
  troubles: () => string[];
};

type Answer = { status: number; type: string; body: string };

const HOST = "127.0.0.1";
const CONNECTIONS_MAX = 16;
const CONNECTION_MS_MAX = 5000;
/** Connections in RATE_MS; what is beyond them is closed. */
const RATE_MAX = 50;
const RATE_MS = 1000;
/** So long an answer is given again. */
const FRESH_MS = 1000;
const PLAIN = "text/plain; charset=utf-8";
/** The text format's own type. */
const METRICS = "text/plain; version=0.0.4; charset=utf-8";
/** The first descriptor that systemd hands over: sd_listen_fds(3). */
const HANDED_FD = 3;

/**
 * Answers at a port of the loopback address, or at the socket that systemd has handed over. Returns null when there is neither
 * (port 0).
 * @throws Failure when the port cannot be had
 */
export async function serveMetrics(port: number, answers: Answers): Promise<{ close: () => void } | null> {
  const handed = isHanded(process.env);
  if (port === 0 && !handed) return null;
  const http = createServer((request, response) => {
    if (request.method === "GET" || request.method === "HEAD") send(response, answerTo(request.url ?? "/"));
    else send(response, { status: 405, type: PLAIN, body: "only GET and HEAD are answered\n" });
  });
  const fresh = { metrics: keptFresh(answers.metrics), troubles: keptFresh(answers.troubles) };
  const answerTo = (url: string): Answer => {
    switch (url.split("?")[0]) {
      case "/metrics":
        return { status: 200, type: METRICS, body: fresh.metrics() };
      case "/healthz":
        return healthOf(fresh.troubles());
      default:
        return { status: 404, type: PLAIN, body: "there are /metrics and /healthz\n" };
    }
  };
  const admit = limited();
  const listener = createListener((socket) => {
    if (!admit()) return void socket.destroy();
    endInTime(socket);
    http.emit("connection", socket);
  });
  listener.maxConnections = CONNECTIONS_MAX;
  await listening(listener, handed ? { fd: HANDED_FD } : { port, host: HOST });
  return { close: () => void listener.close() };
}

function healthOf(troubles: readonly string[]): Answer {
  if (troubles.length === 0) return { status: 200, type: PLAIN, body: "ok\n" };
  return { status: 503, type: PLAIN, body: troubles.map((trouble) => `${trouble}\n`).join("") };
}

function send(response: ServerResponse, { status, type, body }: Answer): void {
  response.writeHead(status, {
    "Content-Type": type,
    "Content-Length": Buffer.byteLength(body),
    Connection: "close",
  });
  response.end(body);
}

/** Ends a connection that takes too long, and one that fails. */
function endInTime(socket: Socket): void {
  const timer = setTimeout(() => socket.destroy(), CONNECTION_MS_MAX);
  socket.on("close", () => clearTimeout(timer));
  socket.on("error", () => socket.destroy());
}

/** Says whether one more has room at this time. */
function limited(): () => boolean {
  let window = { since: -Infinity, count: 0 };
  return () => {
    const now = performance.now();
    if (now - window.since >= RATE_MS) window = { since: now, count: 0 };
    window.count += 1;
    return window.count <= RATE_MAX;
  };
}

function keptFresh<Value>(make: () => Value): () => Value {
  let kept: { at: number; value: Value } | null = null;
  return () => {
    const now = performance.now();
    if (!kept || now - kept.at >= FRESH_MS) kept = { at: now, value: make() };
    return kept.value;
  };
}

/** Has systemd handed a socket over to this process? */
export function isHanded({ LISTEN_PID, LISTEN_FDS }: Readonly<Record<string, string | undefined>>): boolean {
  return LISTEN_PID === String(process.pid) && Number(LISTEN_FDS) > 0;
}

function listening(listener: Server, where: { fd: number } | { port: number; host: string }): Promise<void> {
  const place = "fd" in where ? "the socket that systemd handed over" : `${where.host}:${where.port}`;
  return new Promise((resolve, reject) => {
    // Stays for later ones, such as a want of descriptors, which end nothing.
    listener.on("error", ({ code, message }: NodeJS.ErrnoException) => {
      const reason =
        code === "EADDRINUSE"
          ? 'another program listens there: choose another port, or end it ("ss -ltnp" names it)'
          : message;
      reject(new Failure(Exit.io, `metrics.port: ${place}: ${reason}`));
    });
    listener.listen(where, resolve);
  });
}
