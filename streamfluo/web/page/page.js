"use strict";
// One page on a run. It draws what the program sends and says what it wants and what it has drawn, nothing else.
// Texts from the wire are put in with textContent alone.

const $ = (id) => document.getElementById(id);
const CURVES = 6; // colours of cells
const NARROW = "(max-width: 760px), (max-aspect-ratio: 1)"; // as in the style
const SMOOTH = 6; // pixels of the screen a pixel of the picture, from which on its pixels are to be seen
const MOST = 0.66; // of the width for the picture
const LEAST_PX = 530; // but so much for what is chosen above it
const RARE = 0.002; // of the highest: bins of a histogram's tail that few would see
const LANE_PX = 34; // height of a trace among others
const TYPES = { "|u1": Uint8Array, "<i2": Int16Array, "<i4": Int32Array, "<f4": Float32Array, "<f8": Float64Array };

const want = { picture: "", plane: "", side_px: 640, page: 0, curves: 8, component: null };
const details = new Map(); // id → what is drawn of it
let run = { pictures: [], details: [], planes: [] };
let socket = null;
let shot = null; // the newest picture: facts, bitmap, spots
let outlines = null; // ids, counts, points
let chosen = null; // id of the component that is drawn thick
let asked = "";
let again_ms = 500;
let drawing = false;
let palette = {};

// Messages

function unpack(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const arrays = {};
  for (const [name, [dtype, shape, at]] of Object.entries(header.arrays)) {
    const count = shape.reduce((product, side) => product * side, 1);
    arrays[name] = new TYPES[dtype](buffer, 4 + length + at, count);
    arrays[name].shape = shape;
  }
  return [header, arrays];
}

const takes = {
  run(header) {
    run = header;
    outlines = shot = chosen = null;
    offer();
  },
  health(header) {
    $("dot").className = header.tone;
    $("dot").setAttribute("aria-label", header.tone);
    $("state").textContent = header.state;
    $("line").textContent = header.line;
    $("line").className = header.tone;
    $("troubles").hidden = !header.troubles.length;
    $("troubles").className = header.tone;
    fill($("troubles"), header.troubles.map((text) => made("li", text)));
  },
  async picture(header, arrays) {
    const bitmap = await createImageBitmap(new Blob([arrays.jpeg], { type: "image/jpeg" }));
    if (shot) shot.bitmap.close();
    if (outlines && outlines.picture !== header.picture) outlines = null;
    shot = { ...header, bitmap, spots: arrays.spots || null };
  },
  outlines(header, arrays) {
    outlines = { ...header, ...arrays };
  },
  curves(header, arrays) {
    const detail = details.get(header.detail);
    if (detail) addCurves(detail, header, arrays);
  },
  points(header, arrays) {
    const detail = details.get(header.detail);
    if (detail) Object.assign(detail, { points: arrays, told: header, stale: true });
  },
  numbers(header) {
    const detail = details.get(header.detail);
    if (detail) fill(detail.list, header.numbers.flatMap(([name, text]) => [made("dt", name), made("dd", text)]));
  },
  turn(header) {
    requestAnimationFrame(() => {
      draw();
      say({ seen: header.number });
    });
  },
};

function connect() {
  const address = new URL("ws", location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  address.search = location.search;
  socket = new WebSocket(address);
  socket.binaryType = "arraybuffer";
  asked = "";
  let order = Promise.resolve(); // pictures are decoded beside; what follows waits for them
  socket.onopen = () => {
    again_ms = 500;
    ask();
  };
  socket.onmessage = (event) => {
    const [header, arrays] = unpack(event.data);
    order = order.then(() => takes[header.kind]?.(header, arrays)).catch(console.error);
  };
  socket.onclose = () => {
    takes.health({
      tone: "red", state: "not connected", line: "to the program that serves this page; it is tried again", troubles: [],
    });
    setTimeout(connect, again_ms);
    again_ms = Math.min(2 * again_ms, 8000);
  };
}

function say(what) {
  if (socket && socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(what));
}

function ask() {
  const text = JSON.stringify(want);
  if (text !== asked && socket && socket.readyState === WebSocket.OPEN) {
    asked = text;
    say({ want });
  }
}

// What there is to choose

function made(tag, text = "", className = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  if (className) element.className = className;
  return element;
}

function fill(element, children) {
  element.replaceChildren(...children);
}

function option(value, text) {
  const element = made("option", text);
  element.value = value;
  return element;
}

function offer() {
  document.title = `${run.program || "streamfluo"} · streamfluo`;
  $("who").textContent = [run.program, run.uri].filter(Boolean).join(" at ");
  if (!run.pictures.some((picture) => picture.id === want.picture)) want.picture = run.pictures[0]?.id ?? "";
  const main = run.pictures.filter((picture) => picture.main);
  const others = run.pictures.filter((picture) => !picture.main);
  fill($("tabs"), main.map((picture) => {
    const alone = main.filter((other) => other.name === picture.name).length === 1;
    const button = made("button", alone ? picture.name : picture.title);
    button.type = "button";
    button.title = `${picture.title}: ${picture.meaning}`;
    button.dataset.picture = picture.id;
    button.onclick = () => show(picture.id);
    return button;
  }));
  $("more").hidden = !others.length;
  fill($("more"), [option("", "more …"), ...others.map((picture) => option(picture.id, picture.title))]);
  $("plane").hidden = run.planes.length < 2;
  fill($("plane"), run.planes.map((plane) => option(plane.id, plane.title)));
  if (!run.planes.some((plane) => plane.id === want.plane)) want.plane = run.planes[0]?.id ?? "";
  $("plane").value = want.plane;
  want.component = null;
  want.page = 0;
  details.clear();
  fill($("details"), run.details.map(placeFor));
  $("details").hidden = !run.details.length;
  mark();
  measure();
}

function mark() {
  for (const button of $("tabs").children) {
    button.setAttribute("aria-pressed", String(button.dataset.picture === want.picture));
  }
  const others = run.pictures.filter((picture) => !picture.main);
  $("more").value = others.some((picture) => picture.id === want.picture) ? want.picture : "";
}

function show(picture) {
  want.picture = picture;
  mark();
  ask();
}

function placeFor(told) {
  const box = made("div", "", `detail ${told.kind}${told.by_id ? " stack" : ""}`);
  const heading = made("h2");
  const name = told.kind === "numbers" ? told.step : told.name + (told.unit ? ` [${spelled(told.unit)}]` : "");
  heading.append(made("span", name), made("span", told.kind === "numbers" ? "" : told.step, "step"));
  heading.title = told.meaning;
  const detail = { ...told, note: made("span", "", "note"), columns: [], stale: true };
  heading.append(detail.note);
  box.append(heading);
  if (told.kind === "numbers") {
    detail.list = document.createElement("dl");
    box.append(detail.list);
  } else {
    const room = made("div", "", "room");
    detail.canvas = document.createElement("canvas");
    detail.canvas.setAttribute("role", "img");
    detail.canvas.setAttribute("aria-label", told.meaning || told.title);
    room.append(detail.canvas);
    box.append(room);
  }
  if (told.by_id) {
    for (const [text, label, by] of [["‹", "components before", -1], ["›", "next components", 1]]) {
      const button = made("button", text);
      button.type = "button";
      button.setAttribute("aria-label", label);
      button.onclick = () => turnPage(detail, by);
      heading.append(button);
    }
    detail.canvas.onclick = (event) => {
      const lane = Math.floor((event.offsetY / detail.canvas.clientHeight) * (detail.ids?.length ?? 0) * (1 + 20 / detail.canvas.clientHeight));
      if (detail.ids?.[lane] !== undefined) choose(detail.ids[lane]);
    };
  }
  details.set(told.id, detail);
  return box;
}

function turnPage(detail, by) {
  const pages = detail.pages ?? 1;
  want.page = ((detail.page ?? 0) + by + pages) % pages;
  want.component = null;
  ask();
}

function choose(component) {
  chosen = chosen === component ? null : component;
  want.component = chosen;
  for (const detail of details.values()) detail.stale = true;
  ask();
  draw();
}

// Sizes

function measure() {
  palette = {};
  const narrow = matchMedia(NARROW).matches;
  const room = $("place").getBoundingClientRect();
  const shape = shot?.shape ?? [1, 1];
  const height = narrow ? Math.max(innerHeight * 0.62, 200) : room.height;
  const most = narrow ? room.width : ($("details").hidden ? 1 : MOST) * (innerWidth - 36) - 22;
  const scale = Math.min(most / shape[1], height / shape[0]);
  const wide = Math.max(LEAST_PX, Math.ceil(shape[1] * scale) + 22);
  document.querySelector("main").style.gridTemplateColumns = $("details").hidden ? "1fr" : `${wide}px minmax(0, 1fr)`;
  $("frame").style.width = `${Math.max(1, Math.floor(shape[1] * scale))}px`;
  $("frame").style.height = `${Math.max(1, Math.floor(shape[0] * scale))}px`;
  if (shot) want.side_px = Math.round(Math.min(8192, Math.max(...shape) * scale * devicePixelRatio));
  for (const detail of details.values()) {
    detail.stale = true;
    if (detail.by_id) want.curves = Math.max(3, Math.min(16, Math.floor(detail.canvas.clientHeight / LANE_PX)));
  }
  ask();
}

function colour(name) {
  palette[name] ??= getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  return palette[name];
}

const cell = (id) => colour(`curve-${((id % CURVES) + CURVES) % CURVES}`);

function prepared(canvas) {
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  const [w, h] = [Math.round(width * devicePixelRatio), Math.round(height * devicePixelRatio)];
  if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
  const pen = canvas.getContext("2d");
  pen.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.font = `12px ${getComputedStyle(document.body).fontFamily}`;
  return [pen, width, height];
}

// Drawing

function draw() {
  if (drawing) return;
  drawing = true;
  try {
    drawPicture();
    for (const detail of details.values()) {
      if (!detail.stale || !detail.canvas || !detail.canvas.clientWidth) continue;
      detail.stale = false;
      if (detail.kind === "trace") (detail.by_id ? drawStack : drawLines)(detail);
      else drawPoints(detail);
    }
  } finally {
    drawing = false;
  }
}

let drawnShape = "";
function drawPicture() {
  $("empty").hidden = Boolean(shot);
  $("frame").hidden = !shot;
  if (!shot) return;
  if (String(shot.shape) !== drawnShape) {
    drawnShape = String(shot.shape);
    measure();
  }
  const [pen, width, height] = prepared($("picture"));
  pen.imageSmoothingEnabled = width * devicePixelRatio < SMOOTH * shot.bitmap.width; // else pixels are shown as they are
  pen.imageSmoothingQuality = "high";
  pen.drawImage(shot.bitmap, 0, 0, width, height);
  drawOverlay();
  const [length, label] = shot.scale;
  $("scale").hidden = !label;
  $("bar").style.width = `${(length / shot.shape[1]) * width}px`;
  $("length").textContent = label;
  const narrow = matchMedia(NARROW).matches;
  const [low, high] = shot.levels.map((level) => short(Math.abs(level) < 1e-3 * Math.abs(shot.levels[1]) ? 0 : level));
  const age = old(shot.age_s);
  const facts = [`frame ${shot.index.toLocaleString("en").replaceAll(",", "\u202f")}`];
  if (narrow && age) facts.push(age);
  if (shot.bin_px > 1) facts.push(`binned ${shot.bin_px} × ${shot.bin_px}`);
  if (outlines?.ids.length) facts.push(`${outlines.ids.length} cells`);
  if (shot.spots) facts.push(`${shot.spots.shape[0]} spots`);
  if (chosen !== null) facts.push(`cell ${chosen}`);
  if (!narrow) facts.push(`black ${low}, white ${high} ${spelled(shot.unit)}`);
  $("facts").textContent = facts.join(" · ");
  $("age").textContent = narrow ? "" : age;
}

function old(age_s) {
  if (age_s === null || age_s >= 60) return "";
  return age_s < 1 ? `${Math.round(age_s * 1000)} ms old` : `${age_s.toFixed(1)} s old`;
}

function drawOverlay() {
  const [pen, width] = prepared($("overlay"));
  const scale = width / shot.shape[1];
  $("outlined").hidden = !(outlines?.ids.length || shot.spots);
  if (!$("outlines").checked) return;
  pen.lineJoin = "round";
  if (shot.rectangle) {
    const [top, bottom, left, right] = shot.rectangle;
    pen.strokeStyle = "rgba(160, 172, 184, .7)";
    pen.lineWidth = 1;
    pen.strokeRect(left * scale, top * scale, (right - left) * scale, (bottom - top) * scale);
  }
  eachOutline((id, path) => {
    pen.strokeStyle = cell(id);
    pen.lineWidth = id === chosen ? 4 : 1.8;
    pen.stroke(path(scale));
  });
  if (shot.spots) {
    pen.strokeStyle = "#ffb000";
    pen.lineWidth = 1.5;
    for (let n = 0; n < shot.spots.shape[0]; n++) {
      const [y, x, radius] = shot.spots.subarray(3 * n, 3 * n + 3);
      pen.beginPath();
      pen.arc((x + 0.5) * scale, (y + 0.5) * scale, Math.max(4, radius * scale), 0, 2 * Math.PI);
      pen.stroke();
    }
  }
}

function eachOutline(call) {
  if (!outlines || outlines.picture !== shot?.picture) return;
  const { points, counts, ids, per_px } = outlines;
  let at = 0;
  for (let n = 0; n < ids.length; n++) {
    const [from, to] = [at, at + counts[n]];
    at = to;
    call(ids[n], (scale) => {
      const count = to - from;
      const corner = (p) => {
        const [before, at, behind] = [p + count - 1, p, p + 1].map((n) => 2 * (from + (n % count)));
        const middle = (axis) => (points[before + axis] + 2 * points[at + axis] + points[behind + axis]) / 4;
        return [(middle(1) / per_px + 0.5) * scale, (middle(0) / per_px + 0.5) * scale];
      };
      const path = new Path2D();
      for (let p = 0; p <= count; p++) { // through the middles of its sides, so that pixels leave no steps
        const [[x, y], [next_x, next_y]] = [corner(p), corner(p + 1)];
        if (p) path.quadraticCurveTo(x, y, (x + next_x) / 2, (y + next_y) / 2);
        else path.moveTo((x + next_x) / 2, (y + next_y) / 2);
      }
      return path;
    });
  }
}

function pick(event) {
  $("overlay").focus({ preventScroll: true });
  const [pen, width] = [$("overlay").getContext("2d"), $("overlay").clientWidth];
  const scale = width / (shot?.shape[1] ?? 1);
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.lineWidth = 12; // a finger is not a needle
  let found = null;
  eachOutline((id, path) => {
    const shape = path(scale);
    if (pen.isPointInPath(shape, event.offsetX, event.offsetY)) found = id;
    else if (found === null && pen.isPointInStroke(shape, event.offsetX, event.offsetY)) found = id;
  });
  if (found !== null) choose(found);
  else if (chosen !== null) choose(chosen);
}

// Values that scroll by: columns of frames, kept for a window

function addCurves(detail, header, arrays) {
  const count = header.ids.length;
  if (header.anew || detail.ids?.length !== count) detail.columns = [];
  Object.assign(detail, {
    ids: header.ids, each: header.each, interval_s: header.interval_s, page: header.page, pages: header.pages,
    window: header.window, marks: header.marks, stale: true,
  });
  const high = arrays.high ?? arrays.low;
  for (let n = 0; n < arrays.low.shape[0]; n++) {
    detail.columns.push([header.first + n, arrays.low.subarray(n * count, (n + 1) * count), high.subarray(n * count, (n + 1) * count)]);
  }
  const newest = detail.columns.at(-1)?.[0] ?? 0;
  while (detail.columns.length && detail.columns[0][0] <= newest - header.window) detail.columns.shift();
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
  let before = null;
  for (const [column, lows, highs] of detail.columns) {
    const [low, high] = [lows[curve], highs[curve]];
    if (!Number.isFinite(low)) {
      before = null;
      continue;
    }
    const at = x(column);
    if (before !== column - 1) pen.moveTo(at, y(low));
    else pen.lineTo(at, y(low));
    if (high !== low) pen.lineTo(at, y(high));
    before = column;
  }
  pen.stroke();
}

function drawStack(detail) {
  const [pen, width, height] = prepared(detail.canvas);
  detail.note.textContent = detail.pages > 1 ? `${detail.page + 1} of ${detail.pages}` : "";
  if (!detail.columns.length || !detail.ids.length) return;
  const { newest, oldest, second, unit } = span(detail);
  const [left, bottom] = [34, 20];
  const lane = (height - bottom) / detail.ids.length;
  const x = (column) => left + ((column - oldest) / Math.max(1, newest - oldest)) * (width - left - 4);
  detail.ids.forEach((id, n) => {
    const base = (n + 1) * lane - 2;
    const [low, high] = range(detail, n);
    const tall = Math.max(4, lane - 5);
    pen.strokeStyle = pen.fillStyle = cell(id);
    pen.lineWidth = id === chosen ? 2.6 : 1.3;
    if (id === chosen) {
      pen.globalAlpha = 0.12;
      pen.fillRect(0, n * lane, width, lane);
      pen.globalAlpha = 1;
    }
    trace(pen, detail, n, x, (value) => base - ((value - low) / (high > low ? high - low : 1)) * tall);
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    pen.font = pen.font.replace(/^(bold )?/, id === chosen ? "bold " : "");
    pen.fillText(String(id), left - 7, base - lane / 2 + 2);
  });
  drawMarks(pen, detail, x, height - bottom);
  axis(pen, left, width - 4, height, oldest * second, newest * second, unit);
}

function drawLines(detail) {
  const [pen, width, height] = prepared(detail.canvas);
  if (!detail.columns.length) return;
  const { newest, oldest, second, unit } = span(detail);
  const ranges = detail.ids.map((_, n) => range(detail, n));
  let [low, high] = [Math.min(...ranges.map((r) => r[0])), Math.max(...ranges.map((r) => r[1]))];
  if (!(high > low)) [low, high] = [low - 0.5, low + 0.5];
  const [left, top, bottom] = [46, 5, 20];
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

function drawPoints(detail) {
  const [pen, width, height] = prepared(detail.canvas);
  if (!detail.points) return;
  const { y: values, fit, low: lows, high: highs } = detail.points;
  const places = detail.points.x ?? values.map((_, n) => n + detail.told.begins);
  const bars = detail.kind === "curve" && ["order", "spot", "id", "emitters", "column", "label"].includes(detail.dims[0]);
  const histogram = detail.kind === "scatter" && !fit;
  const known = (list) => (list ? [...list].filter(Number.isFinite) : []);
  let [low, high] = extremes([...known(values), ...known(fit), ...known(lows).slice(-1), ...known(highs).slice(-1)]);
  if (bars || histogram) [low, high] = [Math.min(0, low), Math.max(0, high)];
  if (!(high > low)) high = low + 1;
  const filled = histogram ? [...places].filter((_, n) => values[n] > RARE * high) : [];
  let [first, last] = extremes(filled.length > 1 ? filled : known(places));
  if (bars) [first, last] = [first - 0.6, last + 0.6];
  if (!(last > first)) [first, last] = [first - 0.5, last + 0.5];
  const [left, top, bottom] = [46, 5, 20];
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
    values.forEach((value, n) => Number.isFinite(value) && pen.fillRect(x(places[n]) - wide / 2, Math.min(y(value), y(0)), wide, Math.abs(y(value) - y(0))));
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
  pen.strokeStyle = colour("curve-1");
  pen.lineWidth = 1.6;
  if (fit) line(pen, places, fit, x, y);
  pen.restore();
  detail.note.textContent = bars || !values.length || histogram ? detail.told.across : short(values.at(-1));
  axis(pen, left, width - 8, height, first, last, "", bars);
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

function ticks(low, high, most) {
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((size) => size >= rough * 0.999);
  const found = [];
  for (let n = Math.ceil(low / step); n * step <= high * (1 + 1e-12) && found.length < 20; n++) found.push(n * step);
  return found;
}

function axis(pen, left, right, height, first, last, unit, whole = false) {
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

function levels(pen, left, width, y, low, high) {
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  pen.lineWidth = 1;
  for (const tick of ticks(low, high, 3)) {
    pen.strokeStyle = colour("line");
    pen.beginPath();
    pen.moveTo(left, y(tick));
    pen.lineTo(width, y(tick));
    pen.stroke();
    pen.fillStyle = colour("soft");
    pen.fillText(short(tick), left - 6, y(tick));
  }
}

function spelled(unit) {
  return unit.replace(/\^(\d)/g, (_, digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]);
}

function short(value) {
  if (value === null || !Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size >= 1e5 || size < 1e-3 ? value.toExponential(1) : String(Number(value.toPrecision(4)));
}

// What somebody does

$("more").onchange = () => show($("more").value || run.pictures[0]?.id || "");
$("plane").onchange = () => {
  want.plane = $("plane").value;
  ask();
};
$("colours").onchange = () => {
  $("picture").className = $("colours").value;
};
$("outlines").onchange = draw;
$("overlay").onclick = pick;
$("overlay").onkeydown = (event) => {
  const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!by || !outlines?.ids.length) return;
  event.preventDefault();
  const ids = [...outlines.ids].sort((a, b) => a - b);
  const at = ids.indexOf(chosen);
  chosen = null;
  choose(ids[(at < 0 ? (by > 0 ? 0 : ids.length - 1) : at + by + ids.length) % ids.length]);
};
new ResizeObserver(() => {
  measure();
  draw();
}).observe(document.querySelector("main"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  measure();
  draw();
});
connect();
