// The picture, and what lies over it: outlines in the colours of their cells, spots, a scale bar.

import { drawPlaces, placeAt } from "./declared.js";
import { $, cell, prepared, short, spelled } from "./drawing.js";
import { NARROW, shown } from "./shown.js";

const SMOOTH = 6; // pixels of the screen a pixel of the picture, from which on its pixels are to be seen

let drawnShape = "";
export function drawPicture(measure) {
  $("empty").hidden = Boolean(shown.shot);
  $("frame").hidden = !shown.shot;
  if (!shown.shot) return;
  if (String(shown.shot.shape) !== drawnShape) {
    drawnShape = String(shown.shot.shape);
    measure();
  }
  const [pen, width, height] = prepared($("picture"));
  pen.imageSmoothingEnabled = width * devicePixelRatio < SMOOTH * shown.shot.bitmap.width;
  pen.imageSmoothingQuality = "high";
  pen.drawImage(shown.shot.bitmap, 0, 0, width, height);
  drawOverlay();
  const [length, label] = shown.shot.scale;
  $("scale").hidden = !label;
  $("bar").style.width = `${(length / shown.shot.shape[1]) * width}px`;
  $("length").textContent = label;
  const narrow = matchMedia(NARROW).matches;
  const white = shown.shot.levels[1];
  const [low, high] = shown.shot.levels.map((level) => short(Math.abs(level) < 1e-3 * Math.abs(white) ? 0 : level));
  const facts = [`frame ${shown.shot.index.toLocaleString("en").replaceAll(",", "\u202f")}`];
  if (shown.shot.bin_px > 1) facts.push(`binned ${shown.shot.bin_px} × ${shown.shot.bin_px}`);
  if (shown.outlines?.ids.length) facts.push(`${shown.outlines.ids.length} cells`);
  if (shown.shot.spots) facts.push(`${shown.shot.spots.shape[0]} spots`);
  const { places, known } = shown.shot;
  if (places) facts.push(`${places.shape[0]} spots by ${known.value}, 0 to ${short(known.most)}`);
  if (shown.chosen !== null) facts.push(`${places ? "spot" : "cell"} ${shown.chosen}`);
  if (!narrow) facts.push(`black ${low}, white ${high} ${spelled(shown.shot.unit)}`);
  $("facts").textContent = facts.join(" · ");
  $("age").textContent = narrow ? "" : old(shown.shot.age_s); // a small page has no room for it
}

function old(age_s) {
  if (age_s === null || age_s >= 60) return "";
  return age_s < 1 ? `${Math.round(age_s * 1000)} ms old` : `${age_s.toFixed(1)} s old`;
}

function drawOverlay() {
  const [pen, width] = prepared($("overlay"));
  const scale = width / shown.shot.shape[1];
  const edge = shown.shot.edge_px; // where the picture begins, in pixels of the frame
  $("outlined").hidden = !(shown.outlines?.ids.length || shown.shot.spots || shown.shot.places);
  if (!$("outlines").checked) return;
  pen.lineJoin = "round";
  if (shown.shot.rectangle) {
    const [top, bottom, left, right] = shown.shot.rectangle;
    pen.strokeStyle = "rgba(160, 172, 184, .7)";
    pen.lineWidth = 1;
    pen.strokeRect((left - 0.5 - edge) * scale, (top - 0.5 - edge) * scale, (right - left) * scale, (bottom - top) * scale);
  }
  eachOutline((id, path) => {
    pen.strokeStyle = cell(id);
    pen.lineWidth = id === shown.chosen ? 4 : 1.8;
    pen.stroke(path(scale));
  });
  if (shown.shot.spots) {
    pen.strokeStyle = "#ffb000";
    pen.lineWidth = 1.5;
    for (let n = 0; n < shown.shot.spots.shape[0]; n++) {
      const [y, x, radius] = shown.shot.spots.subarray(3 * n, 3 * n + 3);
      pen.beginPath();
      pen.arc((x - edge) * scale, (y - edge) * scale, Math.max(4, radius * scale), 0, 2 * Math.PI);
      pen.stroke();
    }
  }
  drawPlaces(pen, scale);
}

// The thing at a place of the overlay of which something is known, or none.
export function spotAt(x, y) {
  return placeAt(x, y, $("overlay").clientWidth / (shown.shot?.shape[1] ?? 1));
}

function eachOutline(call) {
  if (!shown.outlines || shown.outlines.picture !== shown.shot?.picture) return;
  const { points, counts, ids, per_px } = shown.outlines;
  const edge = shown.shot.edge_px;
  let at = 0;
  for (let n = 0; n < ids.length; n++) {
    const [from, to] = [at, at + counts[n]];
    at = to;
    call(ids[n], (scale) => {
      const count = to - from;
      const corner = (p) => {
        const [before, at, behind] = [p + count - 1, p, p + 1].map((n) => 2 * (from + (n % count)));
        const middle = (axis) => (points[before + axis] + 2 * points[at + axis] + points[behind + axis]) / 4;
        return [(middle(1) / per_px - edge) * scale, (middle(0) / per_px - edge) * scale];
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

// The cell at a place of the overlay, or none; of several that lie there the last one drawn.
export function cellAt(x, y) {
  const [pen, width] = [$("overlay").getContext("2d"), $("overlay").clientWidth];
  const scale = width / (shown.shot?.shape[1] ?? 1);
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.lineWidth = 12; // a finger is not a needle
  let found = null;
  eachOutline((id, path) => {
    const shape = path(scale);
    if (pen.isPointInPath(shape, x, y)) found = id;
    else if (found === null && pen.isPointInStroke(shape, x, y)) found = id;
  });
  return found;
}
