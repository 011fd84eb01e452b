// The picture with boxes and labels over it, and the crop of one face.

const FONT = "600 14px system-ui, sans-serif";
const TAG_HEIGHT = 22;
const TAG_PADDING = 7;
const CROP_SIDE = 320;

// Where a picture of a size lies in a canvas that shows it whole: scale and corner, in pixels of the page.
function placed(canvas, width, height) {
  const { clientWidth, clientHeight } = canvas;
  const scale = Math.min(clientWidth / width, clientHeight / height);
  return { scale, x: (clientWidth - width * scale) / 2, y: (clientHeight - height * scale) / 2 };
}

function rectangle(canvas, shown, [x, y, width, height]) {
  const place = placed(canvas, shown.width, shown.height);
  const left = shown.mirrored ? shown.width - x - width : x;
  return [place.x + left * place.scale, place.y + y * place.scale, width * place.scale, height * place.scale];
}

// Draws `shown` {picture, width, height, mirrored, faces: [{box, tag, shortTag, notify}], selected}; without a picture the
// boxes alone, which lie over the video.
export function draw(canvas, shown) {
  const density = window.devicePixelRatio;
  canvas.width = Math.round(canvas.clientWidth * density);
  canvas.height = Math.round(canvas.clientHeight * density);
  if (!shown) return;
  const context = canvas.getContext("2d");
  context.scale(density, density);
  if (shown.picture) {
    const { scale, x, y } = placed(canvas, shown.width, shown.height);
    context.imageSmoothingQuality = "high";
    context.drawImage(shown.picture, x, y, shown.width * scale, shown.height * scale);
  }
  const faces = shown.faces.map((face, number) => ({ ...face, selected: number === shown.selected })).filter((face) => face.box);
  for (const face of faces) face.at = rectangle(canvas, shown, face.box);
  // The most important first: it gets the better place for its tag, and is drawn over the others.
  faces.sort((a, b) => b.selected - a.selected || (b.notify === true) - (a.notify === true));
  context.font = FONT;
  const tags = [];
  for (const face of faces) tags.push(placeTag(context, canvas, face, faces, tags));
  for (const face of faces.reverse()) drawBox(context, face);
  for (const tag of tags.reverse()) drawTag(context, tag);
}

// A box is white on black, so that it is seen on any picture; dashes say that there is something to notice, a thick line
// that the face is the selected one.
function drawBox(context, { at, notify, selected }) {
  const line = selected ? 3.5 : 2;
  context.setLineDash([]);
  context.lineWidth = line + 3;
  context.strokeStyle = "rgb(0 0 0 / 0.75)";
  context.strokeRect(...at);
  context.lineWidth = line;
  context.strokeStyle = notify ? "#ff9d8f" : "#fff";
  context.setLineDash(notify ? [10, 6] : []);
  context.strokeRect(...at);
}

// Above the box or below it, where it covers no other tag and no other face; else the short one, there or within the box.
function placeTag(context, canvas, face, faces, tags) {
  const [x, y, , height] = face.at;
  const covered = [...tags, ...faces.filter((other) => other !== face).map(areaOf)];
  for (const text of [face.tag, face.shortTag]) {
    const width = context.measureText(text).width + 2 * TAG_PADDING;
    const left = Math.min(Math.max(x - 2, 0), Math.max(0, canvas.clientWidth - width));
    for (const top of [y - 4 - TAG_HEIGHT, y + height + 4]) {
      const tag = { text, left, top, width, height: TAG_HEIGHT, notify: face.notify, selected: face.selected };
      const inside = top >= 0 && top + TAG_HEIGHT <= canvas.clientHeight;
      if (inside && !covered.some((other) => touching(tag, other))) return tag;
    }
  }
  const width = context.measureText(face.shortTag).width + 2 * TAG_PADDING;
  const place = { left: Math.max(0, x), top: Math.max(0, y), width, height: TAG_HEIGHT };
  return { ...place, text: face.shortTag, notify: face.notify, selected: face.selected };
}

function areaOf({ at: [left, top, width, height] }) {
  return { left, top, width, height };
}

function touching(a, b) {
  return a.left < b.left + b.width && b.left < a.left + a.width && a.top < b.top + b.height && b.top < a.top + a.height;
}

function drawTag(context, { text, left, top, width, notify, selected }) {
  const color = notify ? "#a5190d" : "#17191c";
  context.fillStyle = selected ? "#fff" : color;
  context.fillRect(left, top, width, TAG_HEIGHT);
  context.fillStyle = selected ? color : "#fff";
  context.textBaseline = "middle";
  context.fillText(text, left + TAG_PADDING, top + TAG_HEIGHT / 2 + 1);
}

// The number of the smallest box at a point of the page, or -1.
export function faceAt(canvas, shown, clientX, clientY) {
  const frame = canvas.getBoundingClientRect();
  const [pointX, pointY] = [clientX - frame.left, clientY - frame.top];
  let found = -1;
  let smallest = Infinity;
  for (const [number, face] of shown.faces.entries()) {
    if (!face.box) continue;
    const [x, y, width, height] = rectangle(canvas, shown, face.box);
    const inside = pointX >= x && pointX <= x + width && pointY >= y && pointY <= y + height;
    if (inside && width * height < smallest) [found, smallest] = [number, width * height];
  }
  return found;
}

// Draws the part of a picture that is in a box, or all of it without one.
export function drawCrop(canvas, picture, box) {
  const { width, height } = picture;
  const [x, y, boxWidth, boxHeight] = box ?? [0, 0, width, height];
  const left = Math.max(0, x);
  const top = Math.max(0, y);
  const wide = Math.max(1, Math.min(width, x + boxWidth) - left);
  const high = Math.max(1, Math.min(height, y + boxHeight) - top);
  const scale = CROP_SIDE / Math.max(wide, high);
  canvas.width = Math.max(1, Math.round(wide * scale));
  canvas.height = Math.max(1, Math.round(high * scale));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, left, top, wide, high, 0, 0, canvas.width, canvas.height);
}
