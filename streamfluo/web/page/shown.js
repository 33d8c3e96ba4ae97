// What the page shows, and what it knows of the run.

export const NARROW = "(max-width: 760px), (max-aspect-ratio: 1)"; // as in the style

export const shown = {
  want: { picture: "", plane: "", side_px: 640, page: 0, curves: 8, component: null },
  details: new Map(), // id → what is drawn of it
  run: { pictures: [], details: [], planes: [] },
  shot: null, // the newest picture: facts, bitmap, spots
  outlines: null, // ids, counts, points
  chosen: null, // id of the component that is drawn thick
};
