// A map of numbers on a canvas: one head's weights (square cells, grey where masked) or its vectors.
// In: the payload of heatmap.py. Out: the trigger "pick", [row, column], when a cell is locked or let go (null).

export default function (component) {
  const state = stateOf(component.parentElement, create, draw);
  const { header, body } = decode(component.data);
  Object.assign(state, { header, numbers: new Float32Array(body.buffer), theme: readTheme(state.host) });
  state.trigger = component.setTriggerValue;
  state.active = null;
  state.locked = header.selected || null;
  fillStrip(state);
  draw(state);
  return () => forget(component.parentElement);
}

function create(root) {
  const host = root.querySelector(".map");
  const canvas = host.querySelector("canvas");
  const state = {
    host, canvas,
    base: document.createElement("canvas"), // the picture without crosshair
    tip: host.querySelector(".tip"), readout: host.querySelector(".readout"),
    legend: host.querySelector(".legend"), strip: host.querySelector(".strip"), width: 0,
  };
  canvas.onpointermove = (event) => point(state, cellAt(state, event));
  canvas.onpointerleave = () => point(state, null);
  canvas.onclick = (event) => lock(state, cellAt(state, event));
  canvas.onkeydown = (event) => key(state, event);
  canvas.onblur = () => point(state, null);
  return state;
}

// ---- numbers ---------------------------------------------------------------------------------------

function valueAt({ header, numbers }, row, column) {
  if (header.packing === "lower") return column > row ? NaN : numbers[(row * (row + 1)) / 2 + column];
  return numbers[row * header.shape[1] + column];
}

function rowLabel({ header }, row) {
  if (header.bare) return header.rows[row]; // it says its position itself
  const first = row * header.pool[0];
  const last = Math.min(first + header.pool[0], header.rows.length) - 1;
  return first === last ? `${first} ${header.rows[first]}` : `${first}–${last}`;
}

function columnLabel({ header }, column) {
  if (!header.columns) return `${column}`;
  if (header.bare) return header.columns[column];
  const first = column * header.pool[1];
  const last = Math.min(first + header.pool[1], header.columns.length) - 1;
  return first === last ? `${first} ${header.columns[first]}` : `${first}–${last}`;
}

// ---- picture ---------------------------------------------------------------------------------------

function colourOf({ header, theme }) {
  const colours = table(theme[header.palette]);
  const masked = rgb(theme.masked);
  const at = header.palette === "diverging"
    ? (v) => 0.5 + v / (2 * header.limit)
    : (v) => SCALES[header.scale].at(v / (header.top || 1));
  const floor = header.threshold || 0; // numbers closer to zero are painted as zero; reading them stays exact
  return (v) => (Number.isNaN(v) ? masked : colours[level(at(Math.abs(v) < floor ? 0 : v))]);
}

function layout(state) {
  const { host, header, theme, canvas } = state;
  const dpr = window.devicePixelRatio || 1;
  const [rows, columns] = header.shape;
  const width = (state.width = host.clientWidth);
  const ctx = canvas.getContext("2d");
  ctx.font = `12px ${theme.font}`;
  const widest = (count, label) => {
    let most = 0; // of some, the last ones among them: they have the longest numbers
    const stride = Math.ceil(count / 400);
    for (let i = count - 1; i >= 0; i -= stride) most = Math.max(most, ctx.measureText(label(i)).width);
    return Math.ceil(most) + 2;
  };
  const left = Math.min(widest(rows, (i) => rowLabel(state, i)) + 10, Math.max(64, width * 0.24), 150);
  const slanted = header.columns && width >= 560;
  const room = Math.min(widest(columns, (i) => columnLabel(state, i)), 120);
  const top = header.columns ? Math.ceil(slanted ? room * 0.71 + 14 : room + 14) : 20;
  const right = slanted ? Math.ceil(room * 0.6) : 6;
  const across = Math.max(40, (width - left - right)) * dpr; // device pixels for the cells
  const square = header.cell === "square";
  const high = (square ? header.max_height : Math.min(header.max_height, rows * 26)) * dpr;
  // Whole device pixels per cell where a pixel more or less would be seen; where cells are smaller than a
  // pixel, k of them share one and the largest shows (colour only: the numbers read stay exact).
  const side = (space, count) => {
    const pool = Math.ceil(count / space), size = space / Math.ceil(count / pool);
    return [size < 4 ? size : Math.floor(size), pool];
  };
  let [cellX, poolX] = side(square ? Math.min(across, high) : across, columns);
  let [cellY, poolY] = side(high, rows);
  if (square) [cellX, poolX] = [cellY, poolY] = [Math.min(cellX, Math.round(58 * dpr)), poolX];
  else cellY = Math.min(cellY, Math.round(26 * dpr));
  const plotX = Math.round(Math.ceil(columns / poolX) * cellX);
  const plotY = Math.round(Math.ceil(rows / poolY) * cellY);
  Object.assign(state, {
    dpr, slanted, left, top, poolX, poolY, plotX, plotY, room, cellX, cellY,
    stepX: cellX / poolX / dpr, stepY: cellY / poolY / dpr, // css pixels from one cell to the next
    height: Math.ceil(top + plotY / dpr + 6),
  });
}

function paintCells(state) {
  const { header, poolX, poolY } = state;
  const [rows, columns] = header.shape;
  const wide = Math.ceil(columns / poolX), high = Math.ceil(rows / poolY);
  const image = new ImageData(wide, high);
  const pixels = new Uint32Array(image.data.buffer);
  const colour = colourOf(state);
  const better = header.palette === "diverging" ? (a, b) => Math.abs(a) > Math.abs(b) : (a, b) => a > b;
  for (let y = 0; y < high; y++)
    for (let x = 0; x < wide; x++) {
      let best = NaN;
      for (let r = y * poolY; r < Math.min((y + 1) * poolY, rows); r++)
        for (let c = x * poolX; c < Math.min((x + 1) * poolX, columns); c++) {
          const v = valueAt(state, r, c);
          if (Number.isNaN(best) || better(v, best)) best = v;
        }
      const [r, g, b] = colour(best);
      pixels[y * wide + x] = (255 << 24) | (b << 16) | (g << 8) | r;
    }
  const small = document.createElement("canvas");
  small.width = wide;
  small.height = high;
  small.getContext("2d").putImageData(image, 0, 0);
  return small;
}

function draw(state) {
  if (!onScreen(state)) return;
  const { canvas, base, header, theme } = state;
  layout(state);
  const { dpr, left, top, plotX, plotY, cellX, cellY, width, height } = state;
  for (const c of [canvas, base]) {
    c.width = Math.round(width * dpr);
    c.height = Math.round(height * dpr);
  }
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const ctx = base.getContext("2d");
  const x0 = (state.x0 = Math.round(left * dpr)), y0 = (state.y0 = Math.round(top * dpr));
  ctx.imageSmoothingEnabled = false;
  ctx.drawImage(paintCells(state), x0, y0, plotX, plotY);
  ctx.fillStyle = theme.background; // hair lines between cells large enough to be looked at one by one
  if (cellX >= 12 * dpr) for (let x = x0 + cellX; x < x0 + plotX; x += cellX) ctx.fillRect(x, y0, 1, plotY);
  if (cellY >= 12 * dpr) for (let y = y0 + cellY; y < y0 + plotY; y += cellY) ctx.fillRect(x0, y, plotX, 1);
  ctx.strokeStyle = theme.border;
  ctx.lineWidth = 1;
  ctx.strokeRect(x0 - 0.5, y0 - 0.5, plotX + 1, plotY + 1);
  if (header.join) { // from here on the model wrote the tokens itself
    ctx.strokeStyle = theme.accent;
    ctx.setLineDash([4 * dpr, 3 * dpr]);
    const [jx, jy] = [x0 + header.join * state.stepX * dpr, y0 + header.join * state.stepY * dpr];
    ctx.strokeRect(x0, jy, plotX, 0);
    ctx.strokeRect(jx, y0, 0, plotY);
    ctx.setLineDash([]);
  }
  ctx.scale(dpr, dpr);
  labels(state, ctx, null);
  drawLegend(state);
  Object.assign(canvas.dataset, {
    x: x0 / dpr, y: y0 / dpr, stepX: state.stepX, stepY: state.stepY, painted: header.version,
  });
  canvas.setAttribute("aria-label", header.label);
  state.readout.textContent = header.hint;
  refresh(state);
}

function labels(state, ctx, active) {
  const { header, theme, left, top, stepX, stepY } = state;
  const [rows, columns] = header.shape;
  ctx.font = `12px ${theme.font}`;
  ctx.textBaseline = "middle";
  const every = (step, gap) => Math.max(1, Math.ceil(gap / step));
  const one = (text, x, y, turn, room, align) => {
    ctx.save();
    ctx.translate(x, y);
    ctx.rotate(turn);
    ctx.textAlign = align;
    const fitted = fit(ctx, text, room);
    if (active) {
      const wide = ctx.measureText(fitted).width + 6;
      ctx.fillStyle = theme.accent;
      ctx.fillRect(align === "right" ? 3 - wide : align === "center" ? -wide / 2 : -3, -9, wide, 18);
    }
    ctx.fillStyle = active ? theme.background : theme.text;
    ctx.fillText(fitted, 0, 0);
    ctx.restore();
  };
  const row = (r) => one(rowLabel(state, r), left - 6, top + (r + 0.5) * stepY, 0, left - 8, "right");
  const turn = state.slanted ? -Math.PI / 4 : -Math.PI / 2;
  const column = (c) =>
    header.columns
      ? one(columnLabel(state, c), left + (c + 0.5) * stepX, top - 6, turn, state.room, "left")
      : one(columnLabel(state, c), left + (c + 0.5) * stepX, top - 9, 0, 60, "center");
  if (active) {
    row(active[0]);
    column(active[1]);
    return;
  }
  for (let r = 0; r < rows; r += every(stepY, 15)) row(r);
  for (let c = 0; c < columns; c += header.columns ? every(stepX, 16) : 8 * every(stepX * 8, 26)) column(c);
}

function drawLegend(state) {
  const { header, legend, theme } = state;
  legend.replaceChildren();
  element("span", "name", legend, header.legend);
  const bar = element("span", "bar", legend);
  const colours = table(theme[header.palette]);
  const stops = Array.from({ length: 17 }, (_, i) => `rgb(${colours[level(i / 16)]}) ${(i * 100) / 16}%`);
  element("span", "ramp", bar).style.background = `linear-gradient(90deg, ${stops})`;
  const scale = SCALES[header.scale];
  const ticks = header.palette === "diverging"
    ? [-1, -0.5, 0, 0.5, 1].map((x) => [0.5 + x / 2, show(x * header.limit)])
    : scale.ticks.map((w) => [
        scale.at(w), `${header.scale === "log" && w <= 1e-4 ? "≤ " : ""}${header.top ? show(w * header.top) : w}`,
      ]);
  for (const [at, text] of ticks) element("span", "tick", bar, text).style.left = `${at * 100}%`;
  if (header.masked) {
    const note = element("span", "masked", legend);
    element("i", "", note).style.background = theme.masked;
    element("span", "", note, header.masked);
  }
}

// ---- reading ---------------------------------------------------------------------------------------

function cellAt(state, event) {
  const box = state.canvas.getBoundingClientRect();
  const row = Math.floor((event.clientY - box.top - state.y0 / state.dpr) / state.stepY);
  const column = Math.floor((event.clientX - box.left - state.x0 / state.dpr) / state.stepX);
  const [rows, columns] = state.header.shape;
  return row >= 0 && column >= 0 && row < rows && column < columns ? [row, column] : null;
}

function point(state, cell) {
  const before = state.active;
  state.active = cell;
  if (before === cell || (before && cell && before[0] === cell[0] && before[1] === cell[1])) return;
  refresh(state);
}

function lock(state, cell) {
  const same = cell && state.locked && cell[0] === state.locked[0] && cell[1] === state.locked[1];
  state.locked = same ? null : cell;
  refresh(state);
  if (state.header.picks) state.trigger("pick", state.locked || [-1, -1]);
}

// ---- the token strip: whom a token looks at, and who looks at it -------------------------------------

function fillStrip(state) {
  const { strip, header } = state;
  strip.replaceChildren();
  strip.hidden = !header.strip;
  if (!header.strip) return;
  header.rows.forEach((label, i) => {
    const token = element("span", "token", strip, label);
    token.onpointerenter = () => {
      state.token = i;
      paintStrip(state);
    };
  });
  strip.onpointerleave = () => {
    state.token = null;
    paintStrip(state);
  };
}

function paintStrip(state) {
  const { strip, header, theme, active, locked } = state;
  if (!header.strip) return;
  const row = state.token ?? (active || locked || [null])[0];
  const colours = table(theme.sequential), at = SCALES[header.scale].at;
  const shade = (v) => level(at(Number.isNaN(v) ? 0 : v / (header.top || 1)));
  [...strip.children].forEach((token, i) => {
    const looked = row === null ? 0 : shade(valueAt(state, row, i)); // how much the row's token looks at this one
    const looks = row === null || i === row ? 0 : shade(valueAt(state, i, row)); // and this one at it
    token.style.background = looked ? `rgb(${colours[looked]})` : "transparent";
    const bright = theme.dark ? looked > 150 : looked > 115;
    token.style.color = bright ? (theme.dark ? "#0d1117" : "#ffffff") : "inherit";
    token.style.boxShadow = looks > 24 ? `inset 0 -3px 0 rgb(${colours[Math.max(looks, 110)]})` : "none";
    token.classList.toggle("here", i === row);
  });
}

function key(state, event) {
  const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  const [rows, columns] = state.header.shape;
  const [row, column] = state.active || state.locked || [0, 0];
  if (event.key === "Escape") {
    state.locked = null;
    point(state, null);
  } else if (event.key === "Enter" || event.key === " ") lock(state, state.active);
  else if (event.key === "Home") point(state, [row, 0]);
  else if (event.key === "End") point(state, [row, columns - 1]);
  else if (moves[event.key]) {
    const [dr, dc] = state.active || state.locked ? moves[event.key] : [0, 0];
    const inside = (x, count) => Math.max(0, Math.min(count - 1, x));
    point(state, [inside(row + dr, rows), inside(column + dc, columns)]);
  } else return;
  event.preventDefault();
  refresh(state);
}

function refresh(state) {
  const { canvas, base, header, theme, tip, readout, dpr, x0, y0, stepX, stepY, plotX, plotY } = state;
  const ctx = canvas.getContext("2d");
  ctx.setTransform(1, 0, 0, 1, 0, 0);
  ctx.clearRect(0, 0, canvas.width, canvas.height);
  ctx.drawImage(base, 0, 0);
  const cell = state.active || state.locked;
  tip.hidden = true;
  paintStrip(state);
  if (!cell) {
    readout.textContent = header.hint;
    return;
  }
  ctx.scale(dpr, dpr);
  const [row, column] = cell;
  const x = x0 / dpr + column * stepX, y = y0 / dpr + row * stepY;
  const wide = Math.max(stepX, 3), high = Math.max(stepY, 3);
  ctx.strokeStyle = theme.accent;
  ctx.globalAlpha = 0.55;
  ctx.strokeRect(x0 / dpr, y, plotX / dpr, high);
  ctx.strokeRect(x, y0 / dpr, wide, plotY / dpr);
  ctx.globalAlpha = 1;
  ctx.lineWidth = 2;
  ctx.strokeRect(x, y, wide, high);
  labels(state, ctx, cell);
  const value = valueAt(state, row, column);
  const number = Number.isNaN(value) ? header.masked_reading : `${header.value_name} ${show(value)}`;
  const lines = [
    `${header.row_name} ${rowLabel(state, row)}`,
    `${header.column_name} ${columnLabel(state, column)}`,
    number,
  ];
  readout.textContent = lines.join(" · ") + (state.locked && !state.active ? " (locked)" : "");
  if (!state.active) return;
  tip.replaceChildren();
  lines.forEach((line, i) => element("div", i === 2 ? "number" : "", tip, line));
  placeTip(tip, state.host, x + stepX / 2, y);
}
