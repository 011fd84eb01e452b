// The camera: its stream in a <video>, and single frames of it.

const PERMISSION_ERRORS = { NotAllowedError: "cameraRefused", NotFoundError: "cameraMissing", OverconstrainedError: "cameraMissing" };

// `key` names the sentence that says what is wrong.
export class CameraError extends Error {
  constructor(key, text = "") {
    super(text);
    this.key = key;
  }
}

export class Camera {
  // `lost` is called when the camera goes away by itself.
  constructor(video, lost) {
    this.video = video;
    this.lost = lost;
    this.stream = null;
    this.canvases = [document.createElement("canvas"), document.createElement("canvas")];
    this.awake = null;
  }

  get running() {
    return this.stream !== null;
  }

  // People expect a mirror from a camera that looks at them.
  get mirrored() {
    return this.running && this.stream.getVideoTracks()[0].getSettings().facingMode !== "environment";
  }

  get device() {
    return this.stream?.getVideoTracks()[0].getSettings().deviceId ?? "";
  }

  // Starts the camera with an id, or the one that looks at the user.
  async start(device = "") {
    this.stop();
    if (!window.isSecureContext) throw new CameraError("insecure");
    if (!navigator.mediaDevices?.getUserMedia) throw new CameraError("cameraMissing");
    const which = device ? { deviceId: { exact: device } } : { facingMode: "user" };
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({
        video: { width: { ideal: 1280 }, height: { ideal: 720 }, ...which },
        audio: false,
      });
    } catch (error) {
      throw new CameraError(PERMISSION_ERRORS[error.name] ?? "cameraFailed", error.message);
    }
    this.stream = stream;
    stream.getVideoTracks()[0].addEventListener("ended", () => this.stream === stream && this.lost());
    this.video.srcObject = stream;
    await this.video.play();
    // A phone at a door must not fall asleep; where that is refused the picture stays as long as the screen does.
    this.awake = await navigator.wakeLock?.request("screen").catch(() => null);
  }

  stop() {
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.stream = null;
    this.video.srcObject = null;
    this.awake?.release();
    this.awake = null;
  }

  async devices() {
    const all = await navigator.mediaDevices.enumerateDevices();
    return all.filter((device) => device.kind === "videoinput");
  }

  // Resolves with the next frame on the screen as a canvas whose longer side is at most `longest` pixels.
  // It stays as it is until the next but one is taken.
  async frame(longest) {
    await new Promise((resolve) => {
      if (this.video.requestVideoFrameCallback) this.video.requestVideoFrameCallback(resolve);
      else requestAnimationFrame(resolve);
    });
    this.canvases.reverse();
    const { videoWidth, videoHeight } = this.video;
    return scaled(this.video, videoWidth, videoHeight, longest, this.canvases[0]);
  }
}

// Draws a picture of a size onto a canvas, made smaller where its longer side is above `longest` pixels.
export function scaled(picture, width, height, longest, canvas = document.createElement("canvas")) {
  const factor = Math.min(1, longest / Math.max(width, height));
  canvas.width = Math.max(1, Math.round(width * factor));
  canvas.height = Math.max(1, Math.round(height * factor));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  return canvas;
}

export function jpeg(canvas) {
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.9));
}
