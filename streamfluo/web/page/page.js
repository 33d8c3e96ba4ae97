// One page on a run. It draws what the program sends and says what it wants and what it has drawn, nothing else.
// Texts from the wire are put in with textContent alone.

import { drawBars, drawCourses, drawGauge } from "./declared.js";
import { $, BOTTOM_PX, fill, forgetColours, made, option, spelled } from "./drawing.js";
import { cellAt, drawPicture, spotAt } from "./picture.js";
import { addCurves, drawLines, drawPoints, drawStack } from "./plots.js";
import { NARROW, shown } from "./shown.js";

const MOST = 0.66; // of the width for the picture
const LEAST_PX = 530; // but so much for what is chosen above it
const LANE_PX = 34; // height of a trace among others
const DECLARED = { gauge: drawGauge, over_time: drawCourses, counts: drawBars, chosen: drawBars };
const TYPES = { "|u1": Uint8Array, "<i2": Int16Array, "<i4": Int32Array, "<f4": Float32Array, "<f8": Float64Array };

let socket = null;
let asked = "";
let again_ms = 500;
let drawing = false;
let marked = ""; // the picture whose own colours were taken

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
    shown.run = header;
    shown.outlines = shown.shot = shown.chosen = null;
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
    if (shown.shot) shown.shot.bitmap.close();
    if (shown.outlines && shown.outlines.picture !== header.picture) shown.outlines = null;
    shown.shot = { ...header, bitmap, spots: arrays.spots || null, places: arrays.places || null };
  },
  outlines(header, arrays) {
    shown.outlines = { ...header, ...arrays };
  },
  curves(header, arrays) {
    const detail = shown.details.get(header.detail);
    if (detail) addCurves(detail, header, arrays);
  },
  points(header, arrays) {
    const detail = shown.details.get(header.detail);
    if (detail) Object.assign(detail, { points: arrays, told: header, stale: true });
  },
  courses: (header, arrays) => takes.points(header, arrays),
  bars: (header, arrays) => takes.points(header, arrays),
  gauge: (header, arrays) => takes.points(header, arrays),
  numbers(header) {
    const detail = shown.details.get(header.detail);
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
    const line = "to the program that serves this page; it is tried again";
    takes.health({ tone: "red", state: "not connected", line, troubles: [] });
    setTimeout(connect, again_ms);
    again_ms = Math.min(2 * again_ms, 8000);
  };
}

function say(what) {
  if (socket && socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(what));
}

function ask() {
  const text = JSON.stringify(shown.want);
  if (text !== asked && socket && socket.readyState === WebSocket.OPEN) {
    asked = text;
    say({ want: shown.want });
  }
}

// What there is to choose

function offer() {
  document.title = `${shown.run.program || "streamfluo"} · streamfluo`;
  $("who").textContent = [shown.run.program, shown.run.uri].filter(Boolean).join(" at ");
  const first = shown.run.pictures[0]?.id ?? "";
  if (!shown.run.pictures.some((picture) => picture.id === shown.want.picture)) shown.want.picture = first;
  const chosen = shown.run.choice?.pictures ?? [];
  const main = shown.run.pictures.filter((picture) => picture.main && !chosen.includes(picture.id));
  const others = shown.run.pictures.filter((picture) => !picture.main);
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
  $("plane").hidden = shown.run.planes.length < 2;
  fill($("plane"), shown.run.planes.map((plane) => option(plane.id, plane.title)));
  const plane = shown.run.planes[0]?.id ?? "";
  if (!shown.run.planes.some((each) => each.id === shown.want.plane)) shown.want.plane = plane;
  $("plane").value = shown.want.plane;
  shown.want.component = null;
  shown.want.page = 0;
  shown.details.clear();
  rooms.disconnect();
  fill($("details"), shown.run.details.map(placeFor));
  $("details").hidden = !shown.run.details.length;
  $("choice").hidden = !chosen.length;
  if (chosen.length) {
    $("called").textContent = shown.run.choice.called;
    $("order").max = chosen.length - 1;
  }
  mark();
  measure();
}

function mark() {
  const { pictures = [], names = [] } = shown.run.choice ?? {};
  const at = pictures.indexOf(shown.want.picture);
  if (at >= 0) $("order").value = at;
  $("named").textContent = at >= 0 ? names[at] : "";
  const told = shown.run.pictures.find((picture) => picture.id === shown.want.picture);
  if (marked !== shown.want.picture) {
    marked = shown.want.picture;
    $("colours").value = told?.colours ?? "";
    if ($("colours").selectedIndex < 0) $("colours").value = "";
    $("picture").className = $("colours").value;
  }
  for (const button of $("tabs").children) {
    button.setAttribute("aria-pressed", String(button.dataset.picture === shown.want.picture));
  }
  const others = shown.run.pictures.filter((picture) => !picture.main);
  $("more").value = others.some((picture) => picture.id === shown.want.picture) ? shown.want.picture : "";
}

function show(picture) {
  shown.want.picture = picture;
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
    rooms.observe(room);
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
      const lane = Math.floor((event.offsetY / (detail.canvas.clientHeight - BOTTOM_PX)) * (detail.ids?.length ?? 0));
      if (detail.ids?.[lane] !== undefined) choose(detail.ids[lane]);
    };
  }
  shown.details.set(told.id, detail);
  return box;
}

function turnPage(detail, by) {
  const pages = detail.pages ?? 1;
  shown.want.page = ((detail.page ?? 0) + by + pages) % pages;
  shown.want.component = null;
  ask();
}

function choose(component) {
  shown.chosen = shown.chosen === component ? null : component;
  shown.want.component = shown.chosen;
  for (const detail of shown.details.values()) detail.stale = true;
  ask();
  draw();
}

// Sizes

const rooms = new ResizeObserver(() => {
  for (const detail of shown.details.values()) detail.stale = true;
  draw();
});

function measure() {
  forgetColours();
  const narrow = matchMedia(NARROW).matches;
  const room = $("place").getBoundingClientRect();
  const shape = shown.shot?.shape ?? [1, 1];
  const height = narrow ? Math.max(innerHeight * 0.62, 200) : room.height;
  const most = narrow ? room.width : ($("details").hidden ? 1 : MOST) * (innerWidth - 36) - 22;
  const scale = Math.min(most / shape[1], height / shape[0]);
  const wide = Math.max(LEAST_PX, Math.ceil(shape[1] * scale) + 22);
  document.querySelector("main").style.gridTemplateColumns = $("details").hidden ? "1fr" : `${wide}px minmax(0, 1fr)`;
  $("frame").style.width = `${Math.max(1, Math.floor(shape[1] * scale))}px`;
  $("frame").style.height = `${Math.max(1, Math.floor(shape[0] * scale))}px`;
  if (shown.shot) shown.want.side_px = Math.round(Math.min(8192, Math.max(...shape) * scale * devicePixelRatio));
  for (const detail of shown.details.values()) {
    detail.stale = true;
    if (detail.by_id) shown.want.curves = Math.max(3, Math.min(16, Math.floor(detail.canvas.clientHeight / LANE_PX)));
  }
  ask();
}

// Drawing

function draw() {
  if (drawing) return;
  drawing = true;
  try {
    drawPicture(measure);
    for (const detail of shown.details.values()) {
      if (!detail.stale || !detail.canvas || !detail.canvas.clientWidth) continue;
      detail.stale = false;
      if (detail.kind === "trace") (detail.by_id ? drawStack : drawLines)(detail);
      else (DECLARED[detail.kind] ?? drawPoints)(detail);
    }
  } finally {
    drawing = false;
  }
}

// What somebody does

$("more").onchange = () => show($("more").value || shown.run.pictures[0]?.id || "");
$("order").oninput = () => {
  const picture = shown.run.choice?.pictures[Number($("order").value)];
  if (picture) show(picture);
};
$("plane").onchange = () => {
  shown.want.plane = $("plane").value;
  ask();
};
$("colours").onchange = () => {
  $("picture").className = $("colours").value;
};
$("outlines").onchange = draw;
$("overlay").onclick = (event) => {
  $("overlay").focus({ preventScroll: true });
  const at = [event.offsetX, event.offsetY];
  const found = cellAt(...at) ?? spotAt(...at) ?? shown.chosen;
  if (found !== null) choose(found);
};
$("overlay").onkeydown = (event) => {
  const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const ids = shown.outlines?.ids.length
    ? [...shown.outlines.ids].sort((a, b) => a - b)
    : Array.from({ length: shown.shot?.places?.shape[0] ?? 0 }, (_, n) => n);
  if (!by || !ids.length) return;
  event.preventDefault();
  const at = ids.indexOf(shown.chosen);
  shown.chosen = null;
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
