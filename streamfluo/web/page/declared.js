// What operators say of how their results are drawn: places by value, ticks, gauges, courses, bars.

import { BOTTOM_PX, CURVES, axis, colour, fill, levels, made, prepared, short } from "./drawing.js";
import { shown } from "./shown.js";

const RADIUS_PX = 4; // of the circle round a place, in pixels of the frame
const DARKEST = 0.3; // so that a value of 0 can be seen on a dark picture
const VIRIDIS = [
  [68, 1, 84], [72, 36, 117], [59, 82, 139], [44, 114, 142], [33, 145, 140], [40, 174, 128], [94, 201, 98],
  [173, 220, 48], [253, 231, 37],
];
const TICK = 0.35; // of a lane
const [BARS, BOTH_PX] = [0.45, 150]; // of the height, where there is a trace beneath them; if it is so high
const LEAST_TICK = 0.1; // of the highest in view

export function shade(share) {
  const at = (DARKEST + (1 - DARKEST) * Math.min(Math.max(share, 0), 1)) * (VIRIDIS.length - 1);
  const [low, part] = [Math.min(Math.floor(at), VIRIDIS.length - 2), at - Math.min(Math.floor(at), VIRIDIS.length - 2)];
  const mixed = VIRIDIS[low].map((value, n) => Math.round(value + part * (VIRIDIS[low + 1][n] - value)));
  return `rgb(${mixed.join(" ")})`;
}

// Places

function eachPlace(call) {
  const { places, known, edge_px: edge } = shown.shot ?? {};
  for (let n = 0; places && n < places.shape[0]; n++) {
    const [y, x, value, doubtful] = places.subarray(4 * n, 4 * n + 4);
    if (Number.isFinite(y) && Number.isFinite(x)) call(n, x - edge, y - edge, value / known.most, doubtful > 0);
  }
}

export function drawPlaces(pen, scale) {
  const radius = Math.max(4, RADIUS_PX * scale);
  eachPlace((n, x, y, share, doubtful) => {
    const chosen = n === (shown.chosen ?? -1);
    pen.strokeStyle = chosen ? "#fff" : shade(Number.isFinite(share) ? share : 0);
    pen.lineWidth = chosen ? 3 : 2;
    pen.setLineDash(doubtful ? [3, 3] : []);
    pen.beginPath();
    pen.arc(x * scale, y * scale, chosen ? 1.6 * radius : radius, 0, 2 * Math.PI);
    pen.stroke();
  });
  pen.setLineDash([]);
}

export function placeAt(at_x, at_y, scale) {
  let [found, nearest] = [null, 1.5 * Math.max(8, RADIUS_PX * scale)];
  eachPlace((n, x, y) => {
    const apart = Math.hypot(x * scale - at_x, y * scale - at_y);
    if (apart < nearest) [found, nearest] = [n, apart];
  });
  return found;
}

// Ticks beneath curves: as high as they are, beside the highest in view

export function addTicks(detail, header, arrays) {
  if (header.anew || !detail.ticks) detail.ticks = [];
  const { ticks } = arrays;
  for (let n = 0; ticks && n < ticks.shape[0]; n++) detail.ticks.push([...ticks.subarray(3 * n, 3 * n + 3)]);
  const newest = detail.columns.at(-1)?.[0] ?? 0;
  detail.ticks = detail.ticks.filter(([, frame]) => frame / detail.each > newest - detail.window);
}

export function drawTicks(pen, detail, x, lane) {
  const highest = [];
  for (const [n, , height] of detail.ticks ?? []) highest[n] = Math.max(highest[n] ?? 0, height);
  pen.strokeStyle = colour("text");
  pen.lineWidth = 1;
  pen.beginPath();
  for (const [n, frame, height] of detail.ticks ?? []) {
    if (height < LEAST_TICK * highest[n]) continue;
    const [at, base] = [x(frame / detail.each), (n + 1) * lane - 1];
    pen.moveTo(at, base);
    pen.lineTo(at, base - (height / highest[n]) * TICK * lane);
  }
  pen.stroke();
}

export const tickRoom = (detail) => (detail.ticks?.length ? TICK : 0); // that curves leave them, of a lane

// A number on a bar

export function drawGauge(detail) {
  const [pen, width] = prepared(detail.canvas);
  const { value, look, much } = detail.told ?? {};
  if (value === undefined) return;
  const told = (number) => (much <= 1 ? `${short(Number((100 * number).toPrecision(2)))} %` : short(number));
  const known = Number.isFinite(value);
  const tone = !known ? "soft" : value < look ? "green" : value < much ? "amber" : "red";
  const word = { soft: "not known yet", green: "fine", amber: "worth a look", red: "too much" }[tone];
  fill(detail.note, [made("span", known ? `${told(value)}: ${word}` : word)]);
  detail.note.firstChild.style.color = colour(tone);
  const [left, top, tall, end] = [4, 8, 16, 2 * much];
  const x = (number) => left + (Math.min(Math.max(number, 0), end) / end) * (width - 2 * left);
  pen.fillStyle = colour(tone);
  if (known) pen.fillRect(left, top, x(value) - left, tall);
  pen.strokeStyle = colour("soft");
  pen.lineWidth = 1;
  pen.strokeRect(left, top, width - 2 * left, tall);
  pen.fillStyle = colour("soft");
  pen.textAlign = "center";
  pen.textBaseline = "top";
  for (const mark of [look, much]) {
    pen.beginPath();
    pen.moveTo(x(mark), top - 3);
    pen.lineTo(x(mark), top + tall + 3);
    pen.stroke();
    pen.fillText(told(mark), x(mark), top + tall + 4);
  }
}

// Values as frames go by

export function drawCourses(detail) {
  const [pen, width, height] = prepared(detail.canvas);
  if (!detail.points) return;
  const { x: frames, y: values } = detail.points;
  const count = values.shape[1];
  const known = [...values].filter(Number.isFinite);
  let [low, high] = [Math.min(0, ...known), Math.max(...known, 0)];
  if (!(high > low)) high = low + 1;
  let [first, last] = [frames[0], frames.at(-1)];
  if (!(last > first)) [first, last] = [first - 0.5, last + 0.5];
  const [left, top, bottom] = [50, 6, BOTTOM_PX];
  const x = (frame) => left + ((frame - first) / (last - first)) * (width - left - 10);
  const y = (value) => height - bottom - ((value - low) / (high - low)) * (height - bottom - top);
  levels(pen, left, width, y, low, high);
  for (let n = 0; n < count; n++) {
    pen.strokeStyle = pen.fillStyle = colour(`curve-${n % CURVES}`);
    pen.lineWidth = 1.8;
    pen.beginPath();
    let open = false;
    frames.forEach((frame, k) => {
      const value = values[k * count + n];
      if (Number.isFinite(value)) open ? pen.lineTo(x(frame), y(value)) : pen.moveTo(x(frame), y(value));
      open = Number.isFinite(value);
    });
    pen.stroke();
    const newest = values[(frames.length - 1) * count + n];
    if (!Number.isFinite(newest)) continue;
    pen.beginPath();
    pen.arc(x(frames.at(-1)), y(newest), 3, 0, 2 * Math.PI);
    pen.fill();
  }
  fill(detail.note, detail.told.names.map((name, n) => {
    const note = made("span", `${name}: ${short(values[(frames.length - 1) * count + n])} `);
    note.style.color = colour(`curve-${n % CURVES}`);
    return note;
  }));
  axis(pen, left, width - 10, height, first, last, "", last - first < 5);
}

// Bars over whole numbers: how many have each value, how likely each is

export function drawBars(detail) {
  const [pen, width, tall] = prepared(detail.canvas);
  if (!detail.points) return;
  const { y: values, doubtful, trace } = detail.points;
  const height = trace && tall >= BOTH_PX ? Math.round(tall * BARS) : tall;
  const { begins, marked, probability, told } = detail.told;
  const sum = (n) => values[n] + (doubtful ? doubtful[n] : 0);
  const high = probability ? 1 : Math.max(1, ...values.map((_, n) => sum(n)));
  const [first, last] = [begins - 0.6, begins + values.length - 0.4];
  const [left, top, bottom] = [50, 6, BOTTOM_PX];
  const x = (place) => left + ((place - first) / (last - first)) * (width - left - 8);
  const y = (value) => height - bottom - (value / high) * (height - bottom - top);
  levels(pen, left, width, y, 0, high);
  const wide = Math.min(90, Math.max(2, 0.7 * (x(1) - x(0))));
  const largest = Math.max(1, values.length - 2);
  values.forEach((value, n) => {
    if (!Number.isFinite(value)) return;
    const from = x(n + begins) - wide / 2;
    pen.fillStyle = probability ? colour("curve-0") : shade(n / largest); // as the circles
    pen.globalAlpha = probability && n + begins !== marked ? 0.45 : 1;
    pen.fillRect(from, y(value), wide, y(0) - y(value));
    pen.globalAlpha = 1;
    if (doubtful && doubtful[n] > 0) {
      pen.strokeStyle = colour("text");
      pen.setLineDash([3, 3]);
      pen.strokeRect(from, y(sum(n)), wide, y(value) - y(sum(n)));
      pen.setLineDash([]);
    }
  });
  detail.note.textContent = told;
  axis(pen, left, width - 8, height, first, last, "", true);
  if (height < tall) drawTraced(pen, detail, left, width, height, tall);
}

// The chosen place's values of the newest frames, and what was fitted to them

function drawTraced(pen, detail, left, width, above, height) {
  const curves = [["trace", "text", 1], ["fitted", "curve-1", 2]].filter(([name]) => detail.points[name]);
  const known = curves.flatMap(([name]) => [...detail.points[name]]).filter(Number.isFinite);
  const frames = detail.points.trace_x;
  if (!known.length) return;
  let [low, high] = [Math.min(0, ...known), Math.max(0, ...known)];
  if (!(high > low)) high = low + 1;
  let [first, last] = [frames[0], frames.at(-1)];
  if (!(last > first)) [first, last] = [first - 0.5, last + 0.5];
  const top = above + 20;
  const x = (frame) => left + ((frame - first) / (last - first)) * (width - left - 8);
  const y = (value) => height - BOTTOM_PX - ((value - low) / (high - low)) * (height - BOTTOM_PX - top);
  levels(pen, left, width, y, low, high);
  for (const [name, tone, wide] of curves) {
    pen.strokeStyle = colour(tone);
    pen.lineWidth = wide;
    pen.beginPath();
    let open = false;
    detail.points[name].forEach((value, k) => {
      const frame = detail.points[`${name}_x`][k];
      if (Number.isFinite(value) && frame >= first) {
        open ? pen.lineTo(x(frame), y(value)) : pen.moveTo(x(frame), y(value));
        open = true;
      } else open = false;
    });
    pen.stroke();
  }
  pen.fillStyle = colour("soft");
  pen.textAlign = "left";
  pen.textBaseline = "bottom";
  pen.fillText(`${detail.told.along} by frame`, left + 4, top - 2);
  axis(pen, left, width - 8, height, first, last, "", last - first < 5);
}
