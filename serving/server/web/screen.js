// What is on the screen at this moment, and how it gets there.

import { draw, faceAt } from "./drawing.js";
import { showChoice, showFace, showFacts, showVerdict, tags, verdict } from "./result.js";
import * as sound from "./sound.js";
import { read, write } from "./store.js";
import { word } from "./words.js";

const RATE_OF = 10;

const at = (id) => document.getElementById(id);
const overlay = at("overlay");

// `shown` is null or has: `picture`, the pixels that were sent (null where the browser cannot read them), their `width` and
// `height`, and from the answer on `answer` and `milliseconds`; `reduced` says that a photo was made smaller.
let shown = null;
let live = false;
// A photo was chosen, which may take a while to open.
let chosen = false;
let mirrored = false;
let times = [];
let selected = 0;
// Faces with something to notice in the last answer.
let alarms = 0;
let notice = null;
let soundOn = read("localStorage", "sound") !== "off";

export function render() {
  const faces = shown?.answer?.faces ?? null;
  at("video").classList.toggle("mirrored", mirrored);
  if (!live && !shown) at("stage").style.aspectRatio = "";
  at("hint").hidden = live || chosen;
  at("start").hidden = live;
  at("stop").hidden = !live;
  showVerdict(verdict(faces, chosen || shown !== null));
  showChoice(faces ?? [], selected);
  showFace(shown, faces ?? [], selected);
  showFacts(shown?.answer, shown?.milliseconds, more());
  renderPicture();
  renderNotice();
  renderSound();
}

export function renderPicture() {
  draw(overlay, drawn());
  overlay.setAttribute("aria-label", word("pictureWith", { count: shown?.answer?.faces.length ?? 0 }));
}

function drawn() {
  if (!shown || !(live || shown.picture)) return null;
  const faces = shown.answer?.faces ?? [];
  const tagged = faces.map((face, number) => ({ ...face, ...tags(faces, number) }));
  return { ...shown, picture: live ? null : shown.picture, mirrored, faces: tagged, selected };
}

function more() {
  if (shown?.reduced) return [word("size", shown)];
  if (times.length < 3) return [];
  const rate = (1000 * (times.length - 1)) / (times.at(-1) - times[0]);
  return [word("rate", { rate: rate < 10 ? rate.toFixed(1) : Math.round(rate) })];
}

function renderNotice() {
  at("notice").hidden = !notice;
  if (!notice) return;
  at("notice").classList.toggle("error", notice.error);
  const text = word(notice.key, notice.values);
  if (at("notice-text").textContent !== text) at("notice-text").textContent = text;
  at("notice-detail").textContent = notice.detail;
  at("again").hidden = !notice.again;
}

function renderSound() {
  const key = !soundOn ? "soundOff" : alarms && sound.blocked() ? "soundBlocked" : "soundOn";
  at("sound").textContent = word(key);
}

// Begins with the camera ("live") or a photo ("photo"), or with nothing (""); what was shown is forgotten.
export function begin(what, { mirror = false } = {}) {
  shown?.picture?.close?.(); // a large bitmap need not wait for the garbage collector
  [shown, live, chosen, mirrored] = [null, what === "live", what === "photo", mirror];
  [times, selected, alarms, notice] = [[], 0, 0, null];
  render();
}

// A photo that is not answered yet.
export function showPicture(picture) {
  shown = pictureOf(picture);
  render();
}

function pictureOf(picture) {
  const { width, height } = picture ?? { width: 1, height: 1 };
  // The stage has the shape of the picture, unless that is very long.
  if (picture) at("stage").style.aspectRatio = Math.min(Math.max(width / height, 1), 2.5);
  return { picture, width, height };
}

// From left to right as they are seen, so that a face keeps its number.
function inOrder(faces) {
  const left = ({ box }) => (box ? (mirrored ? -box[0] - box[2] : box[0]) : 0);
  return [...faces].sort((a, b) => left(a) - left(b));
}

export function showAnswer(picture, answer, milliseconds, { reduced = false } = {}) {
  const faces = inOrder(answer.faces);
  selected = sameFace(faces);
  shown = { ...pictureOf(picture), reduced, answer: { ...answer, faces }, milliseconds };
  if (live) times = [...times, performance.now()].slice(-RATE_OF);
  const wrong = faces.filter((face) => face.notify).length;
  // In a live picture a single frame is no alarm.
  if (soundOn && wrong && (!live || alarms)) sound.ring({ atOnce: !live });
  alarms = wrong;
  render();
}

// An old answer must not stand beside a new picture.
export function forgetAnswer() {
  shown = live || !shown ? null : { ...shown, answer: null };
  [times, alarms] = [[], 0];
  render();
}

// In a live picture the face that overlaps most with the selected one; else the first that has something to notice, or the first.
function sameFace(faces) {
  const before = live ? shown?.answer?.faces[selected]?.box : null;
  if (before) {
    const shares = faces.map((face) => (face.box ? overlap(face.box, before) : 0));
    const most = Math.max(0, ...shares);
    if (most > 0.1) return shares.indexOf(most);
  }
  return Math.max(0, faces.findIndex((face) => face.notify));
}

function overlap([x, y, width, height], [otherX, otherY, otherWidth, otherHeight]) {
  const wide = Math.min(x + width, otherX + otherWidth) - Math.max(x, otherX);
  const high = Math.min(y + height, otherY + otherHeight) - Math.max(y, otherY);
  const both = Math.max(0, wide) * Math.max(0, high);
  return both / (width * height + otherWidth * otherHeight - both);
}

// Shows a sentence until the next one. `key` names it, null takes it away; `detail` is the server's or the browser's own text;
// `again` is what the button for another try does.
export function say(key, { values = {}, detail = "", error = false, again = null } = {}) {
  notice = key && { key, values, detail, error, again };
  renderNotice();
}

export function select(number) {
  selected = number;
  render();
}

at("face-list").addEventListener("change", (event) => select(Number(event.target.value)));
overlay.addEventListener("click", (event) => {
  const picture = drawn();
  const number = picture ? faceAt(overlay, picture, event.clientX, event.clientY) : -1;
  if (number >= 0) select(number);
});
at("again").addEventListener("click", () => notice?.again?.());
at("sound").addEventListener("click", () => {
  const allow = soundOn && alarms && sound.blocked();
  soundOn = allow || !soundOn;
  write("localStorage", "sound", soundOn ? "on" : "off");
  if (soundOn) sound.ring({ atOnce: true });
  renderSound();
});
sound.watch(renderSound);
new ResizeObserver(renderPicture).observe(at("stage"));
