// What the page keeps. A browser may refuse to keep anything; then it is asked again next time.

export function read(area, name) {
  try {
    return window[area].getItem(`facet.${name}`) ?? "";
  } catch {
    return "";
  }
}

export function write(area, name, value) {
  try {
    window[area].setItem(`facet.${name}`, value);
  } catch {
    // Nothing depends on it.
  }
}
