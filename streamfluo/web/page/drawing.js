// How things are drawn: colours of the style, canvases as fine as the screen, axes, numbers as a person reads them.

export const $ = (id) => document.getElementById(id);
export const CURVES = 6; // colours of cells
export const BOTTOM_PX = 20; // for the axis
const COMPACT = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 4 });
let palette = {};

export function made(tag, text = "", className = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  if (className) element.className = className;
  return element;
}

export function fill(element, children) {
  element.replaceChildren(...children);
}

export function option(value, text) {
  const element = made("option", text);
  element.value = value;
  return element;
}

// Colours follow the device's light or dark.
export function forgetColours() {
  palette = {};
}

export function colour(name) {
  palette[name] ??= getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  return palette[name];
}

export const cell = (id) => colour(`curve-${((id % CURVES) + CURVES) % CURVES}`);

export function prepared(canvas) {
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  const [w, h] = [Math.round(width * devicePixelRatio), Math.round(height * devicePixelRatio)];
  if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
  const pen = canvas.getContext("2d");
  pen.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.font = `12px ${getComputedStyle(document.body).fontFamily}`;
  return [pen, width, height];
}

export function ticks(low, high, most) {
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((size) => size >= rough * 0.999);
  const found = [];
  for (let n = Math.ceil(low / step); n * step <= high * (1 + 1e-12) && found.length < 20; n++) found.push(n * step);
  return found;
}

export function axis(pen, left, right, height, first, last, unit, whole = false) {
  pen.fillStyle = colour("soft");
  pen.textAlign = "center";
  pen.textBaseline = "bottom";
  if (!(last > first)) return;
  for (const tick of ticks(first, last, whole ? last - first : Math.max(3, Math.floor((right - left) / 80)))) {
    if (whole && tick % 1) continue;
    const at = left + ((tick - first) / (last - first)) * (right - left);
    if (at < left + 8 || at > right - 14) continue;
    pen.fillText(`${short(tick)}${unit === "s" ? " s" : ""}`, at, height - 1);
  }
}

export function levels(pen, left, width, y, low, high) {
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  pen.lineWidth = 1;
  for (const tick of ticks(low, high, Math.max(2, Math.floor(Math.abs(y(low) - y(high)) / 32)))) {
    pen.strokeStyle = colour("line");
    pen.beginPath();
    pen.moveTo(left, y(tick));
    pen.lineTo(width, y(tick));
    pen.stroke();
    pen.fillStyle = colour("soft");
    pen.fillText(short(tick), left - 6, y(tick));
  }
}

export function spelled(unit) {
  return unit.replace(/\^(\d)/g, (_, digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]);
}

export function short(value) {
  if (value === null || !Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e12 || size < 1e-3) return value.toExponential(1);
  return size >= 1e5 ? COMPACT.format(value) : String(Number(value.toPrecision(4)));
}
