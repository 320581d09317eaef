// Numbers in line on a canvas: panels one below the other, strips of colour or bars, with their columns aligned.
// In: the payload of strips.py. Out: the trigger "pick", the number that header.picks has for a column.

export default function (component) {
  const state = stateOf(component.parentElement, create, draw);
  const { header, body } = decode(component.data);
  const changed = !state.header || state.header.version !== header.version;
  const theme = readTheme(state.host);
  Object.assign(state, { header, theme, numbers: new Float32Array(body.buffer), trigger: component.setTriggerValue });
  if (changed) state.active = state.locked = -1;
  draw(state);
  return () => forget(component.parentElement);
}

function create(root) {
  const host = root.querySelector(".columns");
  const canvas = host.querySelector("canvas");
  const state = {
    host, canvas, base: document.createElement("canvas"), // the picture without cursor
    tip: host.querySelector(".tip"), readout: host.querySelector(".readout"), width: 0, active: -1, locked: -1,
  };
  canvas.onpointermove = (event) => point(state, columnAt(state, event));
  canvas.onpointerleave = () => point(state, -1);
  canvas.onclick = (event) => choose(state, columnAt(state, event));
  canvas.onkeydown = (event) => key(state, event);
  canvas.onblur = () => point(state, -1);
  return state;
}

// ---- numbers ---------------------------------------------------------------------------------------

const valueAt = ({ header, numbers }, row, column) => numbers[row * header.count + column];

// Height of a bar, from -1 to 1.
const heightOf = (panel, v) => (panel.scale ? SCALES[panel.scale].at(v) : v / panel.limit);

function ticksOf(panel) {
  if (!panel.scale) {
    const up = [[1, show(panel.limit)], [0, "0"]];
    return panel.upward ? up : [...up, [-1, show(-panel.limit)]];
  }
  return SCALES[panel.scale].ticks.map((w) => [SCALES[panel.scale].at(w), `${w}`]);
}

// ---- picture ---------------------------------------------------------------------------------------

const TITLE = 24, GAP = 14, STRIP = 30, BARS = 118;

function layout(state) {
  const { host, header, theme, canvas } = state;
  const width = (state.width = host.clientWidth);
  const ctx = canvas.getContext("2d");
  ctx.font = `12px ${theme.font}`;
  const bars = header.panels.some((panel) => panel.kind === "bars");
  const widest = (texts) => Math.max(0, ...texts.map((text) => ctx.measureText(text).width));
  const left = bars ? Math.ceil(widest(header.panels.flatMap((p) => ticksOf(p).map((tick) => tick[1])))) + 10 : 1;
  const right = 10;
  const step = Math.min((width - left - right) / header.count, header.turned ? 64 : 48);
  let y = 0;
  const places = header.panels.map((panel) => {
    const top = y + TITLE, high = panel.kind === "strip" ? STRIP : BARS;
    y = top + high + GAP;
    return { top, high };
  });
  const some = header.axis.length > 400 ? header.axis.slice(-400) : header.axis; // the last ones are the longest
  const axis = header.turned ? Math.min(96, Math.ceil(widest(some)) + 8) : header.axis_name ? 36 : 20;
  Object.assign(state, { left, step, places, axisTop: y - GAP + 6, height: Math.ceil(y - GAP + 6 + axis) });
}

function colours({ theme }) {
  return {
    ramp: table(theme.diverging), below: theme.diverging[1], above: theme.diverging[5],
    content: theme.dark ? "#46b39d" : "#17806a", position: theme.dark ? "#c39bf0" : "#7b3fb5",
  };
}

function draw(state) {
  if (!onScreen(state)) return;
  const { canvas, base, header, theme } = state;
  layout(state);
  const { left, step, places, width, height } = state;
  const dpr = (state.dpr = window.devicePixelRatio || 1);
  for (const c of [canvas, base]) {
    c.width = Math.round(width * dpr);
    c.height = Math.round(height * dpr);
  }
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const ctx = base.getContext("2d");
  ctx.scale(dpr, dpr);
  const paint = colours(state);
  header.panels.forEach((panel, i) => {
    const { top, high } = places[i];
    title(state, ctx, panel, top, paint);
    (panel.kind === "strip" ? strip : bars)(state, ctx, panel, top, high, paint);
  });
  axis(state, ctx);
  if (header.marked >= 0) mark(state, ctx, header.marked, theme.accent);
  canvas.dataset.testid = header.test_id;
  state.readout.dataset.testid = `${header.test_id}-readout`;
  Object.assign(canvas.dataset, { x: left, y: places[0].top + places[0].high / 2, step, painted: header.version });
  canvas.setAttribute("aria-label", header.label);
  refresh(state);
}

function title(state, ctx, panel, top, paint) {
  const { theme, width } = state;
  ctx.font = `600 13px ${theme.font}`;
  ctx.textBaseline = "alphabetic";
  ctx.textAlign = "left";
  const ends = panel.kind === "strip" ? `full colour: ±${show(panel.limit)}` : "";
  const room = width - 12;
  ctx.fillStyle = theme.text;
  if (panel.also) { // two kinds of bars: a small box before each name, as the bars are drawn
    const first = fit(ctx, panel.title, room - 110), x = ctx.measureText(first).width;
    ctx.fillText(first, 0, top - 8);
    box(ctx, x + 8, top - 18, 11, 11, paint.content, true);
    ctx.fillStyle = theme.text;
    ctx.fillText(panel.also, x + 34, top - 8);
    box(ctx, x + 40 + ctx.measureText(panel.also).width, top - 18, 11, 11, paint.position, false);
    return;
  }
  const wide = ctx.measureText(panel.title).width;
  ctx.fillText(fit(ctx, panel.title, room), 0, top - 8);
  ctx.font = `12px ${theme.font}`;
  if (ends && wide + ctx.measureText(ends).width + 24 < width) {
    ctx.textAlign = "right";
    const end = state.left + state.step * state.header.count;
    ctx.fillText(ends, Math.max(end, wide + ctx.measureText(ends).width + 24), top - 8);
  }
}

function box(ctx, x, y, wide, high, colour, full) {
  ctx.fillStyle = ctx.strokeStyle = colour;
  ctx.lineWidth = 1;
  if (full || wide < 3) ctx.fillRect(x, y, wide, high);
  else ctx.strokeRect(x + 0.5, y + 0.5, wide - 1, Math.max(0, high - 1)); // hollow: told apart without colour too
}

function strip(state, ctx, panel, top, high, paint) {
  const { header, theme, left, step } = state;
  for (let c = 0; c < header.count; c++) {
    const [r, g, b] = paint.ramp[level(0.5 + valueAt(state, panel.rows[0], c) / (2 * panel.limit))];
    ctx.fillStyle = `rgb(${r},${g},${b})`;
    const x = left + c * step;
    ctx.fillRect(x, top, step - (step >= 7 ? 1 : 0), high);
  }
  ctx.strokeStyle = theme.border;
  ctx.lineWidth = 1;
  ctx.strokeRect(left - 0.5, top - 0.5, step * header.count + 1, high + 1);
}

function bars(state, ctx, panel, top, high, paint) {
  const { header, theme, left, step } = state;
  const upward = panel.scale || panel.upward; // nothing is below zero: all the height for what is above
  const zero = upward ? top + high : top + high / 2;
  const reach = upward ? high : high / 2;
  ctx.font = `12px ${theme.font}`;
  ctx.textAlign = "right";
  ctx.textBaseline = "middle";
  ctx.lineWidth = 1;
  let last = Infinity;
  for (const [at, text] of ticksOf(panel).sort((a, b) => a[0] - b[0])) {
    const y = Math.round(zero - at * reach) + 0.5;
    ctx.strokeStyle = theme.border;
    ctx.beginPath();
    ctx.moveTo(left, y);
    ctx.lineTo(left + step * header.count, y);
    ctx.stroke();
    if (last - y < 13) continue;
    ctx.fillStyle = theme.text;
    ctx.fillText(text, left - 5, y);
    last = y;
  }
  const gap = step >= 5 ? Math.min(6, step * 0.2) : 0;
  const wide = Math.max(1, (step - gap) / panel.rows.length);
  for (let c = 0; c < header.count; c++)
    panel.rows.forEach((row, i) => {
      const v = valueAt(state, row, c);
      if (Number.isNaN(v)) return;
      const h = heightOf(panel, v) * reach, x = left + c * step + gap / 2 + i * wide;
      const colour = panel.rows.length > 1
        ? (i ? paint.position : paint.content)
        : panel.scale ? theme.accent : v < 0 ? paint.below : paint.above;
      box(ctx, x, h >= 0 ? zero - h : zero, wide, Math.abs(h), colour, i === 0);
    });
  ctx.strokeStyle = theme.text;
  ctx.beginPath();
  ctx.moveTo(left, Math.round(zero) + 0.5);
  ctx.lineTo(left + step * header.count, Math.round(zero) + 0.5);
  ctx.stroke();
}

// Labels of the columns, as many as there is room for.
function axis(state, ctx) {
  const { header, theme, left, step, axisTop } = state;
  ctx.font = `12px ${theme.font}`;
  ctx.fillStyle = theme.text;
  ctx.textBaseline = "middle";
  let free = -Infinity;
  for (let c = 0; c < header.count; c++) {
    const x = left + (c + 0.5) * step;
    if (header.turned) {
      if (x < free || c === header.marked) continue;
      if (header.marked >= 0 && Math.abs(c - header.marked) * step < 15) continue; // room for the marked one
      turnedLabel(state, ctx, c, theme.text);
      free = x + 15;
      continue;
    }
    const half = ctx.measureText(header.axis[c]).width / 2;
    const end = left + step * header.count + 10;
    if (x - half < free || x + half > end) continue;
    ctx.textAlign = "center";
    ctx.fillText(header.axis[c], Math.max(half, x), axisTop + 6);
    free = x + half + 10;
  }
  if (!header.axis_name) return;
  ctx.textAlign = "left";
  ctx.fillText(header.axis_name, left, axisTop + 24);
}

function turnedLabel(state, ctx, column, colour, behind) {
  const { header, left, step, axisTop, height } = state;
  ctx.save();
  ctx.font = `12px ${state.theme.font}`;
  ctx.textBaseline = "middle";
  ctx.textAlign = "right";
  ctx.translate(left + (column + 0.5) * step, axisTop);
  ctx.rotate(-Math.PI / 2);
  const text = fit(ctx, header.axis[column], height - axisTop - 4);
  if (behind) {
    ctx.fillStyle = behind;
    ctx.fillRect(-ctx.measureText(text).width - 4, -8, ctx.measureText(text).width + 7, 16);
  }
  ctx.fillStyle = colour;
  ctx.fillText(text, 0, 0);
  ctx.restore();
}

// A frame around a column in every panel, and its label.
function mark(state, ctx, column, colour, faint) {
  const { header, theme, left, step, places } = state;
  ctx.strokeStyle = colour;
  ctx.globalAlpha = faint ? 0.55 : 1;
  ctx.lineWidth = faint ? 1 : 2;
  const wide = Math.max(step, 3);
  for (const { top, high } of places)
    ctx.strokeRect(left + column * step + (step - wide) / 2, top - 2, wide, high + 4);
  ctx.globalAlpha = 1;
  if (header.turned && !faint) turnedLabel(state, ctx, column, theme.background, colour);
}

// ---- reading ---------------------------------------------------------------------------------------

function columnAt(state, event) {
  const box = state.canvas.getBoundingClientRect();
  const column = Math.floor((event.clientX - box.left - state.left) / state.step);
  return column >= 0 && column < state.header.count ? column : -1;
}

function point(state, column) {
  if (state.active === column) return;
  state.active = column;
  refresh(state);
}

function choose(state, column) {
  const { picks } = state.header;
  if (!picks) {
    state.locked = state.locked === column ? -1 : column;
    refresh(state);
  } else if (column >= 0 && column < picks.length) state.trigger("pick", picks[column]);
}

function key(state, event) {
  const { count, marked } = state.header;
  const first = marked >= 0 ? marked : 0;
  const at = state.active >= 0 ? state.active : state.locked;
  const moves = { ArrowLeft: -1, ArrowRight: 1 };
  if (event.key === "Escape") {
    state.locked = state.active = -1;
    refresh(state);
  } else if (event.key === "Enter" || event.key === " ") choose(state, at);
  else if (event.key === "Home") point(state, 0);
  else if (event.key === "End") point(state, count - 1);
  else if (moves[event.key]) point(state, at < 0 ? first : Math.max(0, Math.min(count - 1, at + moves[event.key])));
  else return;
  event.preventDefault();
}

function refresh(state) {
  const { canvas, base, header, theme, tip, readout, dpr, left, step } = state;
  const ctx = canvas.getContext("2d");
  ctx.setTransform(1, 0, 0, 1, 0, 0);
  ctx.clearRect(0, 0, canvas.width, canvas.height);
  ctx.drawImage(base, 0, 0);
  const column = state.active >= 0 ? state.active : state.locked;
  tip.hidden = true;
  canvas.style.cursor = header.picks && column >= 0 && column < header.picks.length ? "pointer" : "crosshair";
  if (column < 0) {
    readout.textContent = header.hint;
    return;
  }
  ctx.scale(dpr, dpr);
  mark(state, ctx, column, theme.text);
  const partner = header.partner ? header.partner[column] : -1;
  if (partner >= 0) mark(state, ctx, partner, theme.text, true);
  const lines = [header.names[column]];
  if (header.notes && header.notes[column]) lines.push(header.notes[column]);
  header.series.forEach((series, row) => {
    const v = valueAt(state, row, column);
    if (!Number.isNaN(v)) lines.push(`${series.name} ${show(v)}`);
  });
  readout.textContent = lines.join(" · ") + (state.locked >= 0 && state.active < 0 ? " (locked)" : "");
  if (state.active < 0) return;
  tip.replaceChildren();
  const text = 1 + (header.notes && header.notes[column] ? 1 : 0);
  lines.forEach((line, i) => element("div", i >= text ? "number" : "", tip, line));
  placeTip(tip, state.host, left + (column + 0.5) * step, state.places[0].top);
}
