// The door page: what the user does, and what is asked of the server.

import { Camera, CameraError, jpeg } from "./camera.js";
import * as photos from "./photo.js";
import * as screen from "./screen.js";
import { ServerError, hasKey, keepKey, modelNames, predict, unready } from "./server.js";
import { unlock } from "./sound.js";
import { chooseLanguage, fillWords, firstLanguage, keepLanguage } from "./words.js";

const LIVE_SIDE = 640;

const at = (id) => document.getElementById(id);

// The chosen model, "" before the server has named its own: several may have no default.
let model = "";
// What is at hand is aborted when something else begins.
let work = new AbortController();
// The file, for another try.
let photo = null;
// The camera that goes on when the page is seen again.
let paused = null;

const camera = new Camera(at("video"), () => {
  stopCamera();
  screen.say("cameraLost", { error: true });
});

function begin() {
  work.abort();
  work = new AbortController();
  return work.signal;
}

// ---- The camera

async function startCamera(device = "") {
  const signal = begin();
  photo = null;
  try {
    await camera.start(device);
  } catch (error) {
    if (!(error instanceof CameraError)) throw error;
    if (signal.aborted) return;
    screen.begin("");
    screen.say(error.key, { detail: error.message, error: true });
    return;
  }
  if (signal.aborted) return camera.stop();
  screen.begin("live", { mirror: camera.mirrored });
  await listCameras();
  await live(signal);
}

function stopCamera() {
  begin();
  camera.stop();
  at("camera-field").hidden = true;
  screen.begin("");
}

async function listCameras() {
  const devices = await camera.devices();
  at("camera-field").hidden = devices.length < 2;
  const options = devices.map(({ label, deviceId }) => new Option(label, deviceId, false, deviceId === camera.device));
  at("camera").replaceChildren(...options);
}

// One frame after the other: the next is taken when the answer is there.
async function live(signal) {
  while (!signal.aborted) {
    const frame = await camera.frame(LIVE_SIDE);
    try {
      const { answer, milliseconds } = await predict(await jpeg(frame), model, signal);
      if (signal.aborted) return;
      screen.say(null);
      screen.showAnswer(frame, answer, milliseconds);
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof ServerError)) throw error;
      screen.forgetAnswer();
      if (error.kind === "key") return askForKey(error);
      if (error.kind === "busy") sayBusy(error);
      else screen.say(error.kind, { detail: error.message, error: true });
      await photos.sleep(error.waitSeconds);
    }
  }
}

// ---- A photo

async function showPhoto(file) {
  const signal = begin();
  camera.stop();
  at("camera-field").hidden = true;
  photo = file;
  screen.begin("photo");
  screen.say("opening");
  const picture = await photos.open(file);
  if (signal.aborted) return;
  if (picture === undefined) {
    screen.begin("");
    screen.say("notPicture", { values: { name: file.name }, error: true });
    return;
  }
  screen.showPicture(picture);
  screen.say("asking");
  try {
    const { sent, reduced, answer, milliseconds } = await photos.ask(file, picture, model, signal, sayBusy);
    if (signal.aborted) return;
    screen.say(picture ? null : "unseen");
    screen.showAnswer(sent, answer, milliseconds, { reduced });
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof ServerError)) throw error;
    if (error.kind === "key") return askForKey(error);
    const key = { busy: "stillBusy", silent: "silentPhoto" }[error.kind];
    const again = key ? () => showPhoto(file) : null;
    screen.say(key ?? error.kind, { detail: error.message, error: true, again });
  }
}

// ---- The server

function sayBusy(error) {
  screen.say("busy", { values: { seconds: Math.ceil(error.waitSeconds) }, detail: error.message });
}

function askForKey(error) {
  screen.say(hasKey() ? "keyWrong" : "keyNeeded", { detail: error.message, error: true });
  at("key-form").hidden = false;
  at("key").focus();
}

// Waits until there are models.
async function connect() {
  for (;;) {
    try {
      const names = await modelNames();
      const waiting = names.length ? "" : await unready();
      if (names.length) return showModels(names);
      screen.say(waiting ? "loading" : "noModels", { detail: waiting, error: !waiting });
    } catch (error) {
      if (!(error instanceof ServerError)) throw error;
      if (error.kind === "key") return askForKey(error);
      const loading = error.kind === "busy";
      screen.say(loading ? "loading" : "silent", { detail: error.message, error: !loading });
    }
    await photos.sleep(1);
  }
}

function showModels(names) {
  screen.say(null);
  if (!names.includes(model)) [model] = names;
  at("model").replaceChildren(...names.map((name) => new Option(name, name, false, name === model)));
  at("model-field").hidden = names.length < 2;
}

// Asks once more about what is shown, with another model or another key.
function repeat() {
  if (camera.running) live(begin());
  else if (photo) showPhoto(photo);
}

// ---- What the user does

at("start").addEventListener("click", () => {
  unlock();
  startCamera();
});
at("stop").addEventListener("click", () => {
  stopCamera();
  at("start").focus();
});
at("camera").addEventListener("change", () => startCamera(at("camera").value));
at("choose").addEventListener("click", () => {
  at("file").click();
  unlock();
});
at("file").addEventListener("change", () => {
  const [file] = at("file").files;
  if (file) showPhoto(file);
  at("file").value = ""; // so that the same file can be chosen again
});
at("model").addEventListener("change", () => {
  model = at("model").value;
  repeat();
});
at("key-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const key = at("key").value.trim();
  if (!/^[\x21-\x7e]+$/.test(key)) return screen.say("keyForm", { error: true });
  keepKey(key);
  at("key").value = "";
  at("key-form").hidden = true;
  await connect();
  if (at("key-form").hidden) repeat();
});
for (const button of document.querySelectorAll("[data-language]")) {
  button.addEventListener("click", () => {
    keepLanguage(button.dataset.language);
    fillWords();
    screen.render();
  });
}

document.addEventListener("dragover", (event) => {
  event.preventDefault();
  at("stage").classList.add("over");
});
document.addEventListener("dragleave", () => at("stage").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  at("stage").classList.remove("over");
  const [file] = event.dataTransfer.files;
  if (file) showPhoto(file);
});

// Hidden, the page lets go of the camera; seen again, it goes on.
document.addEventListener("visibilitychange", () => {
  if (document.hidden && camera.running) {
    paused = camera.device;
    stopCamera();
    screen.say("hidden");
  } else if (!document.hidden && paused !== null) {
    startCamera(paused);
    paused = null;
  }
});

chooseLanguage(firstLanguage());
fillWords();
screen.render();
connect();
