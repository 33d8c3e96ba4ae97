// Values beside the picture: curves that scroll by, histograms, what is fitted.

import { BOTTOM_PX, CURVES, axis, cell, colour, fill, levels, made, prepared, short } from "./drawing.js";
import { addTicks, drawTicks, tickRoom } from "./declared.js";
import { shown } from "./shown.js";

const RARE = 0.002; // of the highest: bins of a histogram's tail that few would see
const COUNTED = ["order", "spot", "id", "emitters", "column", "label"]; // axes whose places are things, not a scale

// Values that scroll by: columns of frames, kept for a window

export function addCurves(detail, header, arrays) {
  const count = header.ids.length;
  if (header.anew || detail.ids?.length !== count) detail.columns = [];
  Object.assign(detail, {
    ids: header.ids, each: header.each, interval_s: header.interval_s, page: header.page, pages: header.pages,
    window: header.window, marks: header.marks, stale: true,
  });
  const high = arrays.high ?? arrays.low;
  for (let n = 0; n < arrays.low.shape[0]; n++) {
    const of = (values) => values.subarray(n * count, (n + 1) * count);
    detail.columns.push([header.first + n, of(arrays.low), of(high)]);
  }
  const newest = detail.columns.at(-1)?.[0] ?? 0;
  while (detail.columns.length && detail.columns[0][0] <= newest - header.window) detail.columns.shift();
  addTicks(detail, header, arrays);
}

function span(detail) {
  const newest = detail.columns.at(-1)[0];
  const oldest = Math.max(newest - detail.window, detail.columns[0][0]);
  const second = detail.interval_s ? detail.interval_s * detail.each : detail.each;
  return { newest, oldest, second, unit: detail.interval_s ? "s" : "frame" };
}

function range(detail, curve) {
  let [low, high] = [Infinity, -Infinity];
  for (const [, lows, highs] of detail.columns) {
    if (lows[curve] < low) low = lows[curve];
    if (highs[curve] > high) high = highs[curve];
  }
  return low <= high ? [low, high] : [0, 1];
}

function trace(pen, detail, curve, x, y) {
  pen.beginPath();
  let [before, end] = [null, 0];
  for (const [column, lows, highs] of detail.columns) {
    const [low, high] = [lows[curve], highs[curve]];
    if (!Number.isFinite(low)) {
      before = null;
      continue;
    }
    const at = x(column);
    const [first, second] = Math.abs(low - end) <= Math.abs(high - end) ? [low, high] : [high, low];
    if (before !== column - 1) pen.moveTo(at, y(first));
    else pen.lineTo(at, y(first));
    if (high !== low) pen.lineTo(at, y(second));
    [before, end] = [column, second];
  }
  pen.stroke();
}

export function drawStack(detail) {
  const [pen, width, height] = prepared(detail.canvas);
  detail.note.textContent = detail.pages > 1 ? `${detail.page + 1} of ${detail.pages}` : "";
  if (!detail.columns.length || !detail.ids.length) return;
  const { newest, oldest, second, unit } = span(detail);
  const [left, bottom] = [34, BOTTOM_PX];
  const lane = (height - bottom) / detail.ids.length;
  const x = (column) => left + ((column - oldest) / Math.max(1, newest - oldest)) * (width - left - 4);
  detail.ids.forEach((id, n) => {
    const base = (n + 1 - tickRoom(detail)) * lane - 2;
    const [low, high] = range(detail, n);
    const tall = Math.max(4, (1 - tickRoom(detail)) * lane - 5);
    pen.strokeStyle = pen.fillStyle = cell(id);
    pen.lineWidth = id === shown.chosen ? 2.6 : 1.3;
    if (id === shown.chosen) {
      pen.globalAlpha = 0.12;
      pen.fillRect(0, n * lane, width, lane);
      pen.globalAlpha = 1;
    }
    trace(pen, detail, n, x, (value) => base - ((value - low) / (high > low ? high - low : 1)) * tall);
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    pen.font = pen.font.replace(/^(bold )?/, id === shown.chosen ? "bold " : "");
    pen.fillText(String(id), left - 7, (n + 0.5) * lane);
  });
  drawTicks(pen, detail, x, lane);
  drawMarks(pen, detail, x, height - bottom);
  axis(pen, left, width - 4, height, oldest * second, newest * second, unit);
}

export function drawLines(detail) {
  const [pen, width, height] = prepared(detail.canvas);
  if (!detail.columns.length) return;
  const { newest, oldest, second, unit } = span(detail);
  const ranges = detail.ids.map((_, n) => range(detail, n));
  let [low, high] = [Math.min(...ranges.map((r) => r[0])), Math.max(...ranges.map((r) => r[1]))];
  if (!(high > low)) [low, high] = [low - 0.5, low + 0.5];
  const [left, top, bottom] = [50, 6, BOTTOM_PX];
  const x = (column) => left + ((column - oldest) / Math.max(1, newest - oldest)) * (width - left - 4);
  const y = (value) => height - bottom - ((value - low) / (high - low)) * (height - bottom - top);
  levels(pen, left, width, y, low, high);
  pen.lineWidth = 1.4;
  const names = detail.dims[1] === "yx" ? ["y", "x"] : [];
  const last = detail.columns.at(-1);
  detail.ids.forEach((_, n) => {
    pen.strokeStyle = colour(`curve-${n % CURVES}`);
    trace(pen, detail, n, x, y);
  });
  fill(detail.note, detail.ids.slice(0, 4).map((_, n) => {
    const text = `${names[n] ? `${names[n]} ` : ""}${short(last[2][n])} `;
    const note = made("span", text);
    note.style.color = colour(`curve-${n % CURVES}`);
    return note;
  }));
  drawMarks(pen, detail, x, height - bottom);
  axis(pen, left, width - 4, height, oldest * second, newest * second, unit);
}

function drawMarks(pen, detail, x, height) {
  Object.values(detail.marks ?? {}).forEach((frames, n) => {
    pen.strokeStyle = colour(`curve-${(n + 1) % CURVES}`);
    pen.setLineDash([4, 3]);
    pen.lineWidth = 1.2;
    for (const frame of frames) {
      const at = x(frame / detail.each);
      pen.beginPath();
      pen.moveTo(at, 0);
      pen.lineTo(at, height);
      pen.stroke();
    }
    pen.setLineDash([]);
  });
}

export function drawPoints(detail) {
  const [pen, width, height] = prepared(detail.canvas);
  if (!detail.points) return;
  const { y: values, fit, low: lows, high: highs } = detail.points;
  const places = detail.points.x ?? values.map((_, n) => n + detail.told.begins);
  const bars = detail.kind === "curve" && COUNTED.includes(detail.dims[0]);
  const histogram = detail.kind === "histogram" || (detail.kind === "scatter" && !fit);
  const known = (list) => (list ? [...list].filter(Number.isFinite) : []);
  let [low, high] = extremes([...known(values), ...known(fit), ...known(lows).slice(-1), ...known(highs).slice(-1)]);
  if (bars || histogram) [low, high] = [Math.min(0, low), Math.max(0, high)];
  if (!(high > low)) high = low + 1;
  const filled = histogram ? [...places].filter((_, n) => values[n] > RARE * high) : [];
  let [first, last] = extremes(filled.length > 1 ? filled : known(places));
  if (bars) [first, last] = [first - 0.6, last + 0.6];
  if (!(last > first)) [first, last] = [first - 0.5, last + 0.5];
  const [left, top, bottom] = [50, 6, BOTTOM_PX];
  const x = (place) => left + ((place - first) / (last - first)) * (width - left - 8);
  const y = (value) => height - bottom - ((value - low) / (high - low)) * (height - bottom - top);
  levels(pen, left, width, y, low, high);
  pen.fillStyle = pen.strokeStyle = colour("curve-0");
  pen.lineWidth = 1.6;
  pen.save();
  pen.beginPath();
  pen.rect(left, 0, width - left, height - bottom + 1);
  pen.clip();
  if (bars) {
    const wide = Math.min(90, Math.max(2, 0.7 * (x(1) - x(0))));
    values.forEach((value, n) => {
      if (Number.isFinite(value)) pen.fillRect(x(places[n]) - wide / 2, y(value), wide, y(0) - y(value));
    });
  } else if (histogram) {
    line(pen, places, values, x, y);
    pen.lineTo(x(places.at(-1)), y(0));
    pen.lineTo(x(places[0]), y(0));
    pen.globalAlpha = 0.25;
    pen.fill();
    pen.globalAlpha = 1;
  } else if (detail.kind === "scatter") {
    values.forEach((value, n) => {
      pen.beginPath();
      pen.arc(x(places[n]), y(value), 2.5, 0, 2 * Math.PI);
      pen.fill();
    });
  } else {
    line(pen, places, values, x, y);
  }
  pen.lineWidth = 1;
  for (const edge of [lows, highs]) if (edge) line(pen, places, edge, x, y);
  if (lows && values.length === 1) {
    pen.beginPath();
    pen.arc(x(places[0]), y(values[0]), 3.5, 0, 2 * Math.PI);
    pen.fill();
    line(pen, [places[0], places[0]], [lows[0], highs[0]], x, y);
  }
  pen.strokeStyle = colour("curve-1");
  pen.lineWidth = 1.6;
  if (fit) line(pen, places, fit, x, y);
  pen.restore();
  const newest = [values, lows, highs].map((list) => short(list?.at(-1) ?? null));
  detail.note.textContent = lows ? `${newest[0]}, ${newest[1]} to ${newest[2]}` : detail.told.across;
  axis(pen, left, width - 8, height, first, last, "", bars || Boolean(lows && last - first < 2));
}

function line(pen, places, values, x, y) {
  pen.beginPath();
  let open = false;
  values.forEach((value, n) => {
    if (!Number.isFinite(value)) open = false;
    else if (open) pen.lineTo(x(places[n]), y(value));
    else {
      pen.moveTo(x(places[n]), y(value));
      open = true;
    }
  });
  pen.stroke();
}

function extremes(values) {
  return values.length ? [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))] : [0, 1];
}
