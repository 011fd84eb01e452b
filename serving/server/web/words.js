// Everything that the page says, in English and Korean. {name} is replaced by a value.

import { read, write } from "./store.js";

const ENGLISH = {
  picture: "Picture",
  result: "Result",
  model: "Model",
  camera: "Camera",
  soundOn: "Sound: on",
  soundOff: "Sound: off",
  soundBlocked: "Sound: blocked, press to allow",
  hint: "Start the camera, or drop a photo here.",
  start: "Start camera",
  stop: "Stop camera",
  choose: "Choose a photo",
  again: "Try again",
  faces: "Faces",
  face: "Face {number}",
  wholePicture: "Whole picture",
  found: "detector score {percent}",
  noHeads: "This model finds faces and says nothing more about them.",
  cropOf: "Face {number}, cut out of the picture",
  pictureWith: "The picture, with {count} faces marked",
  facts: "{model} · version {version} · answer after {ms}\u00a0ms",
  rate: "{rate} pictures a second",
  size: "sent as {width} × {height}",

  idle: "Nothing to see yet",
  noAnswer: "No answer yet",
  none: "No face found",
  noneDetail: "The model found no face in this picture.",
  foundOne: "1 face found",
  foundMany: "{count} faces found",
  worn: "Mask worn properly",
  wornMany: "All {count} masks worn properly",
  wornDetail: "Worn as it should be: {percent}",
  wornManyDetail: "Each worn as it should be: {percent} or more",
  absent: "No mask",
  incorrect: "Mask worn wrongly",
  notifyMany: "{some} of {count} without a properly worn mask",
  notifyDetail: "Not worn as it should be: {percent}",
  notifyEach: "Not worn as it should be:",
  notifyFace: "Face {number}: {percent} ({reason})",
  notifyMore: "and {count} more",
  tagAbsent: "no mask",
  tagIncorrect: "worn wrongly",

  opening: "Opening the picture …",
  asking: "Asking the server …",
  loading: "The server is not ready yet. This page goes on as soon as it is.",
  busy: "The server is busy. Trying again in {seconds} s.",
  stillBusy: "The server is still busy.",
  silent: "The server does not answer. Trying again.",
  silentPhoto: "The server does not answer.",
  refused: "The server did not take this picture.",
  large: "The server takes no picture this large, even scaled down.",
  noModels: "The server has no model to ask.",
  hidden: "Paused while this page is hidden.",
  insecure: "The browser gives no camera to a page over plain http. Open this page over https or on localhost, or choose a photo.",
  cameraRefused: "The camera was refused. Allow it for this page in the browser, or choose a photo.",
  cameraMissing: "There is no camera here. Choose a photo.",
  cameraFailed: "The camera cannot be used; perhaps another program has it. Close that, or choose a photo.",
  cameraLost: "The camera is gone. Start it again when it is back.",
  notPicture: "“{name}” is not a picture.",
  unseen: "This browser cannot show this kind of picture. The server read it.",
  keyNeeded: "This server wants an API key.",
  keyWrong: "The server does not know this key.",
  keyField: "API key",
  keyUse: "Use key",
  keyHelp: "Kept in this tab only, until it is closed.",
  keyForm: "A key has letters, digits and signs without spaces.",

  privacy: "Pictures go to the server of this page and nowhere else. This page keeps none.",
  judgment: "What is shown here is a model's estimate of a picture. It is no decision about a person.",
};

const KOREAN = {
  picture: "사진",
  result: "결과",
  model: "모델",
  camera: "카메라",
  soundOn: "소리: 켜짐",
  soundOff: "소리: 꺼짐",
  soundBlocked: "소리: 막힘, 눌러서 허용",
  hint: "카메라를 켜거나 사진을 여기에 놓으세요.",
  start: "카메라 켜기",
  stop: "카메라 끄기",
  choose: "사진 고르기",
  again: "다시 시도",
  faces: "얼굴",
  face: "얼굴 {number}",
  wholePicture: "사진 전체",
  found: "검출 점수 {percent}",
  noHeads: "이 모델은 얼굴을 찾기만 하고 분류하지 않습니다.",
  cropOf: "사진에서 잘라 낸 얼굴 {number}",
  pictureWith: "얼굴 {count}개를 표시한 사진",
  facts: "{model} · 버전 {version} · 응답 {ms}\u00a0ms",
  rate: "초당 {rate}장",
  size: "{width} × {height} 크기로 보냄",

  idle: "아직 볼 것이 없습니다",
  noAnswer: "아직 답이 없습니다",
  none: "얼굴을 찾지 못했습니다",
  noneDetail: "모델이 이 사진에서 얼굴을 찾지 못했습니다.",
  foundOne: "얼굴 1개를 찾았습니다",
  foundMany: "얼굴 {count}개를 찾았습니다",
  worn: "마스크를 바르게 썼습니다",
  wornMany: "{count}명 모두 마스크를 바르게 썼습니다",
  wornDetail: "바르게 썼을 확률 {percent}",
  wornManyDetail: "바르게 썼을 확률 각각 {percent} 이상",
  absent: "마스크를 쓰지 않았습니다",
  incorrect: "마스크를 잘못 썼습니다",
  notifyMany: "{count}명 중 {some}명이 마스크를 바르게 쓰지 않았습니다",
  notifyDetail: "바르게 쓰지 않았을 확률 {percent}",
  notifyEach: "바르게 쓰지 않았을 확률:",
  notifyFace: "얼굴 {number}: {percent} ({reason})",
  notifyMore: "외 {count}명",
  tagAbsent: "미착용",
  tagIncorrect: "잘못 착용",

  opening: "사진을 여는 중 …",
  asking: "서버에 묻는 중 …",
  loading: "서버가 아직 준비되지 않았습니다. 준비되면 이어집니다.",
  busy: "서버가 바쁩니다. {seconds}초 뒤에 다시 시도합니다.",
  stillBusy: "서버가 아직 바쁩니다.",
  silent: "서버가 응답하지 않습니다. 다시 시도하는 중입니다.",
  silentPhoto: "서버가 응답하지 않습니다.",
  refused: "서버가 이 사진을 받지 않았습니다.",
  large: "크기를 줄여도 서버가 받기에 너무 큰 사진입니다.",
  noModels: "서버에 물어볼 모델이 없습니다.",
  hidden: "이 페이지가 가려져 있어 멈췄습니다.",
  insecure: "브라우저는 암호화되지 않은 http 페이지에 카메라를 허용하지 않습니다. https나 localhost로 열거나 사진을 고르세요.",
  cameraRefused: "카메라 사용이 거부되었습니다. 브라우저에서 이 페이지에 카메라를 허용하거나 사진을 고르세요.",
  cameraMissing: "카메라가 없습니다. 사진을 고르세요.",
  cameraFailed: "카메라를 사용할 수 없습니다. 다른 프로그램이 쓰고 있다면 닫거나, 사진을 고르세요.",
  cameraLost: "카메라 연결이 끊겼습니다. 다시 연결되면 카메라를 켜세요.",
  notPicture: "“{name}” 파일은 사진이 아닙니다.",
  unseen: "이 브라우저는 이런 사진을 표시하지 못합니다. 서버는 사진을 읽었습니다.",
  keyNeeded: "이 서버를 쓰려면 API 키가 필요합니다.",
  keyWrong: "서버가 모르는 키입니다.",
  keyField: "API 키",
  keyUse: "키 사용",
  keyHelp: "이 탭에만, 닫을 때까지 보관합니다.",
  keyForm: "키는 공백 없는 영문자, 숫자, 기호로 되어 있습니다.",

  privacy: "사진은 이 페이지의 서버로만 보내며, 이 페이지는 사진을 저장하지 않습니다.",
  judgment: "화면의 결과는 사진에 대한 모델의 추정이며, 사람에 대한 결정이 아닙니다.",
};

// Labels and heads are the model's own words; these are known.
const KOREAN_LABELS = {
  mask: "마스크", worn: "착용", incorrect: "잘못 착용", absent: "미착용",
  gender: "성별", male: "남성", female: "여성",
  age: "나이", "<30": "30세 미만", "30-59": "30~59세", ">=60": "60세 이상",
  emotion: "감정", anger: "분노", anxiety: "불안", embarrass: "당황", happy: "기쁨", normal: "중립", pain: "상처", sad: "슬픔",
  gender_age: "성별과 나이", mask_gender_age: "마스크, 성별, 나이",
};

const DICTIONARIES = { en: ENGLISH, ko: KOREAN };

export let language = "en";

export function chooseLanguage(chosen) {
  language = chosen in DICTIONARIES ? chosen : "en";
  document.documentElement.lang = language;
}

export function keepLanguage(chosen) {
  write("localStorage", "language", chosen);
  chooseLanguage(chosen);
}

// The one chosen before, else the browser's.
export function firstLanguage() {
  return read("localStorage", "language") || navigator.language.slice(0, 2);
}

export function word(key, values = {}) {
  return DICTIONARIES[language][key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

// A label or head in the language of the page where it is known; joint labels are parts with a slash between them.
export function labelWord(label) {
  if (language !== "ko") return label;
  return label.split("/").map((part) => KOREAN_LABELS[part] ?? part).join("/");
}

export function percent(share) {
  return new Intl.NumberFormat(language, { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 }).format(share);
}

// Puts words where the page asks for them.
export function fillWords(root = document) {
  for (const element of root.querySelectorAll("[data-word]")) element.textContent = word(element.dataset.word);
  for (const element of root.querySelectorAll("[data-label]")) element.setAttribute("aria-label", word(element.dataset.label));
  for (const button of root.querySelectorAll("[data-language]")) {
    button.setAttribute("aria-pressed", String(button.dataset.language === language));
  }
}
