// All heads of a model as small pictures on one canvas: layers from left to right, heads downwards.
// With header.order ([[layer, head, reading], ...]) they stand in that order instead, one after the other.
// In: the payload of grid.py. Out: the trigger "pick", [layer, head], on a click or Enter.

export default function (component) {
  const state = stateOf(component.parentElement, create, draw);
  const { header, body } = decode(component.data);
  const theme = readTheme(state.host);
  const look = `${header.pictures} ${header.scale} ${theme.dark}`;
  Object.assign(state, { header, body, theme, selected: header.selected, trigger: component.setTriggerValue });
  if (look !== state.look) Object.assign(state, { look, atlas: paintAtlas(state) });
  if (!state.hasFocus) state.cursor = null;
  draw(state);
  return () => forget(component.parentElement);
}

function create(root) {
  const host = root.querySelector(".heads");
  const canvas = host.querySelector("canvas");
  const state = {
    host, canvas, tip: host.querySelector(".tip"), readout: host.querySelector(".readout"), width: 0,
  };
  canvas.onpointermove = (event) => hover(state, headAt(state, event));
  canvas.onpointerleave = () => hover(state, null);
  canvas.onclick = (event) => pick(state, headAt(state, event));
  canvas.onkeydown = (event) => key(state, event);
  canvas.onfocus = () => (state.hasFocus = true);
  canvas.onblur = () => {
    state.hasFocus = false;
    hover(state, null);
  };
  return state;
}

// ---- picture ---------------------------------------------------------------------------------------

// Every head's cells once, side by side: heads downwards, layers across; drawn scaled from here.
function paintAtlas({ header, body, theme }) {
  const { side, heads, scale } = header;
  const most = Math.max(...heads);
  const colours = table(theme.sequential);
  const lookup = new Uint32Array(256);
  for (let u = 0; u < 256; u++) {
    const weight = ((u - 1) / 254) ** 2;
    const [r, g, b] = u === 0 ? rgb(theme.masked) : colours[level(SCALES[scale].at(weight))];
    lookup[u] = (255 << 24) | (b << 16) | (g << 8) | r;
  }
  const canvas = document.createElement("canvas");
  canvas.width = heads.length * side;
  canvas.height = most * side;
  const image = new ImageData(canvas.width, canvas.height);
  const pixels = new Uint32Array(image.data.buffer);
  let at = 0;
  heads.forEach((count, layer) => {
    for (let head = 0; head < count; head++)
      for (let y = 0; y < side; y++)
        for (let x = 0; x < side; x++)
          pixels[(head * side + y) * canvas.width + layer * side + x] = lookup[body[at++]];
  });
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

// Query heads that share a key/value head stand together, with a gap to the next group.
const groupOf = (header, layer, head) => Math.floor(head / (header.heads[layer] / header.groups[layer]));

function layout(state) {
  const { host, header } = state;
  const { heads, groups, order } = header;
  if (order) {
    const width = (state.width = host.clientWidth), size = 46, label = 15;
    const columns = Math.max(1, Math.floor(width / size)), rows = Math.ceil(order.length / columns);
    const rank = new Map(order.map(([layer, head], i) => [`${layer} ${head}`, i]));
    Object.assign(state, {
      rank, size, gap: 6, left: 0, top: label, split: 0, columns, bandHeight: size + label, most: 1,
      shared: false, alike: false, height: rows * (size + label) + 4,
    });
    return;
  }
  const layers = heads.length, most = Math.max(...heads);
  const width = (state.width = host.clientWidth);
  const shared = heads.some((count, i) => groups[i] < count);
  const alike = heads.every((count, i) => count === heads[0] && groups[i] === groups[0]);
  const left = shared && alike ? 58 : 30, top = 20, gap = 2, split = shared && alike ? 7 : 0;
  const smallest = 24;
  const perBand = Math.max(1, Math.min(layers, Math.floor((width - left) / smallest)));
  const bands = Math.ceil(layers / perBand);
  const columns = Math.ceil(layers / bands); // bands of equal length look calmer than a short last one
  const size = Math.max(smallest, Math.min(64, Math.floor((width - left) / columns), Math.floor(420 / most)));
  const bandHeight = top + most * size + (alike ? (groups[0] - 1) * split : 0) + 12;
  Object.assign(state, { shared, alike, left, top, gap, split, columns, size, bandHeight, most });
  state.height = bands * bandHeight;
}

function place(state, layer, head) {
  if (state.header.order) {
    const at = state.rank.get(`${layer} ${head}`);
    return [(at % state.columns) * state.size, Math.floor(at / state.columns) * state.bandHeight + state.top];
  }
  const { header, alike, left, top, split, columns, size, bandHeight } = state;
  const band = Math.floor(layer / columns);
  const below = alike ? groupOf(header, layer, head) * split : 0;
  return [left + (layer % columns) * size, band * bandHeight + top + head * size + below];
}

function draw(state) {
  if (!onScreen(state)) return;
  const { canvas, header, theme, atlas } = state;
  layout(state);
  const { left, top, gap, size, width, height, columns, bandHeight, shared, alike } = state;
  const dpr = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * dpr);
  canvas.height = Math.round(height * dpr);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const ctx = canvas.getContext("2d");
  ctx.scale(dpr, dpr);
  ctx.font = `11px ${theme.font}`;
  ctx.textBaseline = "middle";
  ctx.fillStyle = theme.text;
  const { heads, groups, side } = header;
  ctx.imageSmoothingEnabled = side > (size - gap) * dpr;
  ctx.imageSmoothingQuality = "high";
  if (header.order) {
    ctx.textAlign = "center";
    for (const [layer, head] of header.order) {
      const [px, py] = place(state, layer, head);
      ctx.fillText(`${layer}.${head}`, px + (size - gap) / 2, py - 8);
      ctx.drawImage(atlas, layer * side, head * side, side, side, px, py, size - gap, size - gap);
    }
    finish(state, ctx);
    return;
  }
  heads.forEach((count, layer) => {
    const [x, first] = place(state, layer, 0);
    const step = size < 20 ? 2 : 1;
    ctx.textAlign = "center";
    if (layer % step === 0) ctx.fillText(`${layer}`, x + (size - gap) / 2, first - 9);
    for (let head = 0; head < count; head++) {
      const [px, py] = place(state, layer, head);
      ctx.drawImage(atlas, layer * side, head * side, side, side, px, py, size - gap, size - gap);
      if (!alike && head && groupOf(header, layer, head) !== groupOf(header, layer, head - 1))
        ctx.fillRect(px, py - gap, size - gap, 1); // groups differ by layer: a line instead of a gap
    }
  });
  for (let band = 0; band * columns < heads.length; band++) {
    const first = band * columns, y = band * bandHeight;
    ctx.textAlign = "right";
    ctx.fillText("layer", left - 6, y + top - 9);
    for (let head = 0; head < heads[first]; head++)
      ctx.fillText(`${head}`, left - 6, place(state, first, head)[1] + (size - gap) / 2);
    if (shared && alike)
      for (let group = 0; group < groups[0]; group++) {
        const share = heads[0] / groups[0];
        const from = place(state, first, group * share)[1], to = place(state, first, (group + 1) * share - 1)[1];
        ctx.strokeStyle = theme.border;
        ctx.lineWidth = 2;
        ctx.beginPath();
        ctx.moveTo(left - 22, from + 1);
        ctx.lineTo(left - 26, from + 1);
        ctx.lineTo(left - 26, to + size - gap - 1);
        ctx.lineTo(left - 22, to + size - gap - 1);
        ctx.stroke();
        ctx.save();
        ctx.translate(left - 38, (from + to + size - gap) / 2);
        ctx.rotate(-Math.PI / 2);
        ctx.textAlign = "center";
        ctx.fillText(share * size > 46 ? `key/val ${group}` : `kv ${group}`, 0, 0);
        ctx.restore();
      }
  }
  finish(state, ctx);
}

// Rings around the selected head and the one pointed at, and what tests and screen readers look for.
function finish(state, ctx) {
  const { canvas, header, theme, size, columns, bandHeight } = state;
  ring(state, ctx, state.selected, theme.accent, 3);
  if (state.cursor) ring(state, ctx, state.cursor, theme.text, 1.5);
  const [sx, sy] = header.order ? [0, state.top] : place(state, 0, 0);
  Object.assign(canvas.dataset, {
    x: sx, y: sy, size, columns, bandHeight, split: state.alike ? state.split : 0,
    selected: state.selected.join(), painted: header.pictures, order: header.ordered_by || "layers",
  });
  canvas.setAttribute("aria-label", header.label);
  if (!state.cursor) state.readout.textContent = describe(state, state.selected, "Selected: ");
}

function ring(state, ctx, [layer, head], colour, width) {
  if (layer >= state.header.heads.length || head >= state.header.heads[layer]) return;
  if (state.header.order && !state.rank.has(`${layer} ${head}`)) return; // not among those shown
  const [x, y] = place(state, layer, head);
  const wide = state.size - state.gap;
  ctx.strokeStyle = state.theme.background;
  ctx.lineWidth = width + 2;
  ctx.strokeRect(x - 0.5, y - 0.5, wide + 1, wide + 1);
  ctx.strokeStyle = colour;
  ctx.lineWidth = width;
  ctx.strokeRect(x - 0.5, y - 0.5, wide + 1, wide + 1);
}

// ---- choosing --------------------------------------------------------------------------------------

function headAt(state, event) {
  const box = state.canvas.getBoundingClientRect();
  const x = event.clientX - box.left, y = event.clientY - box.top;
  if (state.header.order) {
    const column = Math.floor(x / state.size);
    const found = state.header.order[Math.floor(y / state.bandHeight) * state.columns + column];
    return column < state.columns && found ? [found[0], found[1]] : null;
  }
  const band = Math.floor(y / state.bandHeight), column = Math.floor((x - state.left) / state.size);
  const layer = band * state.columns + column;
  if (column < 0 || column >= state.columns || !(layer < state.header.heads.length)) return null;
  for (let head = 0; head < state.header.heads[layer]; head++) {
    const top = place(state, layer, head)[1];
    if (y >= top && y < top + state.size) return [layer, head];
  }
  return null;
}

function describe({ header, rank }, [layer, head], before) {
  const ranked = header.order && header.order[rank.get(`${layer} ${head}`)];
  const reading = ranked ? ` · ${ranked[2]}` : "";
  const share = header.heads[layer] / header.groups[layer];
  const group = groupOf(header, layer, head);
  const with_ = share > 1 ? ` · shares key/value head ${group} with ${share - 1} other${share > 2 ? "s" : ""}` : "";
  return `${before}layer ${layer}, head ${head}${reading}${with_}${header.notes[layer]}`;
}

function hover(state, at) {
  const { tip, header, cursor } = state;
  if (at === cursor || (at && cursor && at[0] === cursor[0] && at[1] === cursor[1])) return;
  state.cursor = at;
  state.canvas.style.cursor = at ? "pointer" : "default";
  draw(state);
  tip.hidden = true;
  if (!at) return;
  const [layer, head] = at;
  tip.replaceChildren();
  element("div", "number", tip, `layer ${layer}, head ${head}`);
  const zoom = element("canvas", "", tip); // the same picture, large enough to recognise
  zoom.width = zoom.height = 112;
  const ctx = zoom.getContext("2d");
  ctx.imageSmoothingEnabled = false;
  const { side } = header;
  ctx.drawImage(state.atlas, layer * side, head * side, side, side, 0, 0, 112, 112);
  const [x, y] = place(state, layer, head);
  placeTip(tip, state.host, x + state.size / 2, y);
  state.readout.textContent = describe(state, at, "");
}

function pick(state, at) {
  if (!at) return;
  state.selected = at; // at once; Python answers a little later
  draw(state);
  state.trigger("pick", at);
}

function key(state, event) {
  const moves = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };
  const { heads } = state.header;
  const [layer, head] = state.cursor || state.selected;
  if (event.key === "Enter" || event.key === " ") pick(state, [layer, head]);
  else if (moves[event.key] && state.header.order) {
    const [across, down] = moves[event.key], { order } = state.header;
    const to = (state.rank.get(`${layer} ${head}`) ?? 0) + across + down * state.columns;
    hover(state, order[Math.max(0, Math.min(order.length - 1, to))].slice(0, 2));
  } else if (moves[event.key]) {
    const to = Math.max(0, Math.min(heads.length - 1, layer + moves[event.key][0]));
    hover(state, [to, Math.max(0, Math.min(heads[to] - 1, head + moves[event.key][1]))]);
  } else if (event.key === "Escape") hover(state, null);
  else return;
  event.preventDefault();
}
