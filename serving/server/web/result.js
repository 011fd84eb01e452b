// What an answer says, as text: the verdict, the choice of a face, its crop and its labels.

import { drawCrop } from "./drawing.js";
import { labelWord, percent, word } from "./words.js";

const MOST_LABELS = 5;
const MOST_NAMED = 4;
const MASKS = ["worn", "incorrect", "absent"];

const at = (id) => document.getElementById(id);

// Makes a parent have so many children, so that the ones that stay keep focus and selection.
function children(parent, count, template) {
  while (parent.children.length > count) parent.lastElementChild.remove();
  while (parent.children.length < count) parent.append(at(template).content.cloneNode(true));
  return [...parent.children];
}

// Live regions speak whenever their text is set, so it is set only when it differs.
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// A label; a joint one is broken into lines behind its slashes.
function sayLabel(element, text) {
  if (element.textContent === text) return;
  const parts = text.split(/(?<=\/)/).map((part) => {
    const span = document.createElement("span");
    span.textContent = part;
    return span;
  });
  element.replaceChildren(...parts);
}

const judged = (face) => face.notify !== undefined;
const best = (probabilities) => Object.entries(probabilities).sort((a, b) => b[1] - a[1]);

// The texts over a face in the picture: with its labels, and a short one.
export function tags(faces, number) {
  const face = faces[number];
  const name = faces.length > 1 ? `${number + 1}` : "";
  const alarm = face.notify ? "! " : "";
  let labels = Object.values(face.heads).slice(0, 2).map((head) => labelWord(head.label)).join(", ");
  if (face.notify) labels = reason(face);
  const text = [name, labels].filter(Boolean).join(" · ") || word("face", { number: number + 1 });
  return { tag: alarm + text, shortTag: alarm + (name || labels) };
}

const reason = (face) => word(face.notify_reason === "incorrect" ? "tagIncorrect" : "tagAbsent");

// What the verdict is about: its kind, its sentence and a detail. Faces whose model judges no masks are only counted.
// `faces` is null without an answer; `asked` says that there is a picture.
export function verdict(faces, asked) {
  if (!faces) return { kind: "idle", text: word(asked ? "noAnswer" : "idle"), detail: "" };
  if (!faces.length) return { kind: "none", text: word("none"), detail: word("noneDetail") };
  const masks = faces.filter(judged);
  const wrong = masks.filter((face) => face.notify);
  if (wrong.length) return alarm(faces, masks, wrong);
  if (masks.length) {
    const least = percent(Math.min(...masks.map((face) => 1 - face.notify_confidence)));
    if (masks.length === 1) return { kind: "worn", text: word("worn"), detail: word("wornDetail", { percent: least }) };
    const text = word("wornMany", { count: masks.length });
    return { kind: "worn", text, detail: word("wornManyDetail", { percent: least }) };
  }
  const text = faces.length > 1 ? word("foundMany", { count: faces.length }) : word("foundOne");
  return { kind: "faces", text, detail: "" };
}

function alarm(faces, masks, wrong) {
  if (masks.length === 1) {
    const detail = word("notifyDetail", { percent: percent(wrong[0].notify_confidence) });
    return { kind: "notify", text: word(wrong[0].notify_reason === "incorrect" ? "incorrect" : "absent"), detail };
  }
  const each = wrong.slice(0, MOST_NAMED).map((face) => {
    const number = faces.indexOf(face) + 1;
    return word("notifyFace", { number, percent: percent(face.notify_confidence), reason: reason(face) });
  });
  each.unshift(word("notifyEach"));
  if (wrong.length > MOST_NAMED) each.push(word("notifyMore", { count: wrong.length - MOST_NAMED }));
  const text = word("notifyMany", { some: wrong.length, count: masks.length });
  return { kind: "notify", text, detail: each.join("\n"), many: true };
}

export function showVerdict({ kind, text, detail, many = false }) {
  at("verdict").dataset.kind = kind;
  at("verdict").classList.toggle("many", many);
  say(at("verdict-text"), text);
  say(at("verdict-detail"), detail);
}

// Shows the radio buttons of several faces; the checked one is `selected`.
export function showChoice(faces, selected) {
  at("faces").hidden = faces.length < 2;
  const choices = children(at("face-list"), faces.length < 2 ? 0 : faces.length, "face-choice");
  for (const [number, choice] of choices.entries()) {
    const radio = choice.querySelector("input");
    radio.value = number;
    radio.checked = number === selected;
    choice.classList.toggle("notify", faces[number].notify === true);
    const name = word("face", { number: number + 1 });
    radio.setAttribute("aria-label", faces[number].notify ? `${name}: ${reason(faces[number])}` : name);
    say(choice.querySelector("span"), `${faces[number].notify ? "! " : ""}${number + 1}`);
  }
}

// Shows one face: its crop, and the best labels of each head.
export function showFace(shown, faces, selected) {
  const face = faces[selected];
  at("face").hidden = !face;
  if (!face) return;
  at("crop").hidden = !shown.picture;
  if (shown.picture) drawCrop(at("crop"), shown.picture, face.box);
  at("crop").setAttribute("aria-label", word("cropOf", { number: selected + 1 }));
  const name = face.box ? word("face", { number: selected + 1 }) : word("wholePicture");
  say(at("crop-caption"), face.score === null ? name : `${name}, ${word("found", { percent: percent(face.score) })}`);
  const heads = Object.entries(face.heads).flatMap(withMasks);
  if (!heads.length) {
    at("heads").replaceChildren(word("noHeads"));
    return;
  }
  if (!at("heads").children.length) at("heads").replaceChildren();
  const sections = children(at("heads"), heads.length, "head");
  for (const [number, [head, probabilities]] of heads.entries()) showHead(sections[number], head, probabilities);
}

// A head's name and probabilities; before those of joint labels such as worn/female/<30 the sums of how the mask is worn,
// which the verdict is about.
function withMasks([name, { probabilities }]) {
  const sums = {};
  for (const [label, share] of Object.entries(probabilities)) {
    const [state, ...others] = label.split("/");
    if (!MASKS.includes(state) || !others.length) return [[name, probabilities]];
    sums[state] = (sums[state] ?? 0) + share;
  }
  return [["mask", sums], [name, probabilities]];
}

function showHead(section, name, probabilities) {
  say(section.querySelector("h2"), labelWord(name));
  const shares = best(probabilities).slice(0, MOST_LABELS);
  const rows = children(section.querySelector("ol"), shares.length, "share");
  for (const [number, [label, share]] of shares.entries()) {
    sayLabel(rows[number].querySelector(".label"), labelWord(label));
    say(rows[number].querySelector(".value"), percent(share));
    rows[number].querySelector(".bar").style.setProperty("--share", share);
  }
}

export function showFacts(answer, milliseconds, more) {
  at("facts").hidden = !answer;
  if (!answer) return;
  const facts = word("facts", { model: answer.model, version: answer.version, ms: Math.round(milliseconds) });
  say(at("facts"), [facts, ...more].join(" · "));
}
