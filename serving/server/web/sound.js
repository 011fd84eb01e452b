// Two falling tones, made here.

const TONES = [
  { hertz: 880, at: 0 },
  { hertz: 622, at: 0.2 },
];
const TONE_S = 0.18;
const LOUDNESS = 0.35;
const SHORTEST_PAUSE_MS = 4000;
const LATE_MS = 1000;

let context = null;
let changed = () => {};
let last = -Infinity;

// `callback` is called when `blocked` may have changed.
export function watch(callback) {
  changed = callback;
}

// Browsers let a page sound only after a click or a key; call this in one.
export function unlock() {
  if (!context) {
    context = new AudioContext();
    context.addEventListener("statechange", () => changed());
  }
  return context.state === "running" ? Promise.resolve() : context.resume();
}

export function blocked() {
  return context !== null && context.state !== "running";
}

// Sounds at most every four seconds; `atOnce` ignores that.
export async function ring({ atOnce = false } = {}) {
  const now = performance.now();
  if (!atOnce && now - last < SHORTEST_PAUSE_MS) return;
  last = now;
  await unlock(); // as long as the browser blocks sound, this waits
  if (performance.now() - now > LATE_MS) return;
  for (const { hertz, at } of TONES) {
    const tone = new OscillatorNode(context, { type: "triangle", frequency: hertz });
    const volume = new GainNode(context, { gain: 0 });
    const start = context.currentTime + at;
    volume.gain.setValueAtTime(0, start);
    volume.gain.linearRampToValueAtTime(LOUDNESS, start + 0.02);
    volume.gain.exponentialRampToValueAtTime(0.001, start + TONE_S);
    tone.connect(volume).connect(context.destination);
    tone.start(start);
    tone.stop(start + TONE_S);
  }
}
