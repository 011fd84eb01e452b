// Requests to the server that the page came from.

import { read, write } from "./store.js";

const PATIENCE_MS = 60_000;
const LONGEST_WAIT_S = 30;

// Why there is no answer: "key" (401), "busy" (503), "large" (413), "refused" (any other status), "silent" (no answer).
export class ServerError extends Error {
  constructor(kind, text = "", waitSeconds = 1) {
    super(text);
    this.kind = kind;
    this.waitSeconds = waitSeconds;
  }
}

export function hasKey() {
  return read("sessionStorage", "key") !== "";
}

// The key lives as long as the tab.
export function keepKey(key) {
  write("sessionStorage", "key", key);
}

// The names of the loaded models, the default one first.
export async function modelNames() {
  return (await ask("v2/models")).models;
}

// Why the server is not ready, in its own words; "" when it is.
export async function unready() {
  try {
    await ask("v2/health/ready");
  } catch (error) {
    if (error.kind !== "busy") throw error;
    return error.message || "not ready";
  }
  return "";
}

// The answer about one picture, a Blob, and the milliseconds from sending it to having the answer.
export async function predict(picture, model, signal) {
  const began = performance.now();
  const query = model ? `?${new URLSearchParams({ model })}` : "";
  const type = picture.type || "application/octet-stream";
  const answer = await ask(`predict${query}`, { method: "POST", body: picture, headers: { "Content-Type": type }, signal });
  return { answer, milliseconds: performance.now() - began };
}

async function ask(path, { headers = {}, signal, ...options } = {}) {
  const key = read("sessionStorage", "key");
  if (key) headers = { ...headers, Authorization: `Bearer ${key}` };
  const patience = AbortSignal.timeout(PATIENCE_MS);
  signal = signal ? AbortSignal.any([signal, patience]) : patience;
  let response, body;
  try {
    response = await fetch(path, { cache: "no-store", ...options, headers, signal });
    body = await response.text();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError("silent");
  }
  const content = parsed(body);
  if (response.ok && content) return content;
  const text = content?.error ?? `HTTP ${response.status}`;
  const kind = { 401: "key", 413: "large", 503: "busy" }[response.status] ?? "refused";
  throw new ServerError(kind, text, waitSeconds(response));
}

function parsed(body) {
  try {
    return JSON.parse(body);
  } catch {
    return null;
  }
}

// Retry-After is a number of seconds or a date.
function waitSeconds(response) {
  const text = response.headers.get("Retry-After") ?? "";
  const seconds = /^\d+$/.test(text) ? Number(text) : (Date.parse(text) - Date.now()) / 1000;
  return Number.isNaN(seconds) ? 1 : Math.min(Math.max(seconds, 0.2), LONGEST_WAIT_S);
}
