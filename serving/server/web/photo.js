// Sending one photo: as it is, or scaled down where it is too large; again while the server is busy.

import { jpeg, scaled } from "./camera.js";
import { predict } from "./server.js";

const LARGEST_BYTES = 8 * 2 ** 20;
const SIDES = [4096, 2048, 1024];
const TRIES = 10;
const NAMES = /\.(jpe?g|png|webp|gif|bmp|avif|hei[cf]|tiff?|p[bgp]m)$/i;

export const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));

// The picture of a file, upright; null where this browser cannot read it, undefined where it is no picture at all.
export async function open(file) {
  const picture = await createImageBitmap(file).catch(() => null);
  return picture ?? (file.type.startsWith("image/") || NAMES.test(file.name) ? null : undefined);
}

// Asks about a photo. Returns the picture that was sent, whether it was made smaller, the answer and its milliseconds.
// `busy` is called with the error before each pause.
export async function ask(file, picture, model, signal, busy) {
  if (file.size <= LARGEST_BYTES || !picture) {
    try {
      return { sent: picture, reduced: false, ...(await patiently(file, model, signal, busy)) };
    } catch (error) {
      if (error.kind !== "large" || !picture) throw error;
    }
  }
  for (const side of SIDES) {
    const sent = scaled(picture, picture.width, picture.height, side);
    try {
      return { sent, reduced: true, ...(await patiently(await jpeg(sent), model, signal, busy)) };
    } catch (error) {
      if (error.kind !== "large" || side === SIDES.at(-1)) throw error;
    }
  }
}

async function patiently(body, model, signal, busy) {
  for (let tries = 1; ; tries++) {
    try {
      return await predict(body, model, signal);
    } catch (error) {
      if (error.kind !== "busy" || tries === TRIES) throw error;
      busy(error);
      await sleep(error.waitSeconds);
      signal.throwIfAborted();
    }
  }
}
