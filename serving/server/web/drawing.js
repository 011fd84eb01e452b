// The picture with boxes and labels over it, and the crop of one face.

const FONT = "600 14px system-ui, sans-serif";
const TAG_HEIGHT = 22;
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

// Draws `shown` {picture, width, height, mirrored, faces: [{box, tag, notify}], selected}; without a picture the boxes
// alone, which lie over the video.
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
  // The selected face is drawn last, over the others.
  const order = [...shown.faces.keys()].sort((a, b) => (a === shown.selected) - (b === shown.selected));
  for (const number of order) {
    const face = shown.faces[number];
    if (face.box) drawFace(context, canvas, rectangle(canvas, shown, face.box), face, number === shown.selected);
  }
}

// A box is white on black, so that it is seen on any picture; dashes say that there is something to notice, a thick line
// that the face is the selected one.
function drawFace(context, canvas, [x, y, width, height], face, selected) {
  const line = selected ? 3.5 : 2;
  context.setLineDash([]);
  context.lineWidth = line + 3;
  context.strokeStyle = "rgb(0 0 0 / 0.75)";
  context.strokeRect(x, y, width, height);
  context.lineWidth = line;
  context.strokeStyle = face.notify ? "#ff9d8f" : "#fff";
  context.setLineDash(face.notify ? [10, 6] : []);
  context.strokeRect(x, y, width, height);

  context.font = FONT;
  const wide = context.measureText(face.tag).width + 14;
  const left = Math.min(Math.max(x - line, 0), Math.max(0, canvas.clientWidth - wide));
  const above = y - line - TAG_HEIGHT;
  const top = above >= 0 ? above : Math.max(0, Math.min(y + height + line, canvas.clientHeight - TAG_HEIGHT));
  context.fillStyle = face.notify ? "#a5190d" : selected ? "#fff" : "rgb(0 0 0 / 0.8)";
  context.fillRect(left, top, wide, TAG_HEIGHT);
  context.fillStyle = selected && !face.notify ? "#000" : "#fff";
  context.textBaseline = "middle";
  context.fillText(face.tag, left + 7, top + TAG_HEIGHT / 2 + 1);
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
