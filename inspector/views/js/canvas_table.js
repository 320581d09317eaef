// The numbers of a canvas as a table behind "Table": for the keyboard, for screen readers, and to be copied.

import { show } from "./canvas.js";
import { element } from "./elements.js";
import { columnLabel, rowLabel, valueAt, written } from "./heatmap_reading.js";
import { numberAt } from "./strips_reading.js";

/** @import { MapHeader, Numbers, StripsHeader } from "./types.js" */

const MOST_CELLS = 5000; // more would make the page slow; rows beyond are counted

/**
 * Return a map's numbers as a table; masked cells are empty.
 * @param {MapHeader} header
 * @param {Float32Array} numbers
 * @returns {Numbers}
 */
export function tableOfMap(header, numbers) {
  const [rows, columns] = header.shape;
  const across = Array.from({ length: columns }, (_, at) => at);
  return {
    caption: header.label,
    names: [header.row_name, ...across.map((at) => columnLabel(header, at))],
    count: rows,
    row: (at) => {
      const found = across.map((column) => valueAt(header, numbers, [at, column]));
      return [rowLabel(header, at), ...found.map((value) => (Number.isNaN(value) ? "" : written(header, value)))];
    },
  };
}

/**
 * Return the numbers of strips and bars as a table, a row for each of their columns.
 * @param {StripsHeader} header
 * @param {Float32Array} numbers
 * @returns {Numbers}
 */
export function tableOfStrips(header, numbers) {
  return {
    caption: header.label,
    names: ["", ...header.series, ...(header.notes ? ["note"] : [])],
    count: header.count,
    row: (at) => {
      const found = header.series.map((_, series) => numberAt(header, numbers, series, at));
      const said = found.map((value) => (Number.isNaN(value) ? "" : show(value)));
      return [header.names[at], ...said, ...(header.notes ? [header.notes[at]] : [])];
    },
  };
}

/**
 * Fill the table of a canvas when it is opened, and again with each message while it is open.
 * @param {HTMLElement} host  the element around the canvas
 * @param {Numbers} table
 */
export function offerTable(host, table) {
  const details = /** @type {HTMLDetailsElement | null} */ (host.querySelector("details.numbers"));
  const room = /** @type {HTMLElement | null} */ (details?.querySelector("div") ?? null);
  if (!details || !room) return;
  details.ontoggle = () => (details.open ? fill(room, table) : room.replaceChildren());
  if (details.open) fill(room, table);
}

/**
 * Write a table, as many of its rows as fit into MOST_CELLS.
 * @param {HTMLElement} room
 * @param {Numbers} table
 */
function fill(room, { caption, names, count, row }) {
  room.replaceChildren();
  const rows = Math.min(count, Math.max(1, Math.floor(MOST_CELLS / names.length)));
  const most =
    rows < count ? ` (the first ${rows} of ${count.toLocaleString("en")} rows; a CSV file has them all)` : "";
  room.setAttribute("aria-label", `Table: ${caption}`);
  const made = element("table", "", room);
  element("caption", "", made, caption + most);
  const top = element("tr", "", element("thead", "", made));
  for (const name of names) element("th", "", top, name).scope = "col";
  const body = element("tbody", "", made);
  for (let at = 0; at < rows; at++) {
    const line = element("tr", "", body);
    row(at).forEach((said, i) => {
      if (i === 0) element("th", "", line, said).scope = "row";
      else element("td", "", line, said);
    });
  }
}
