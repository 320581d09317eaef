// Stands between a page of ours and BertViz's own script, which follows it: unpacks the numbers, and answers the few
// calls that script makes to RequireJS and jQuery. No token text ever becomes markup here.

// {shape, lower, bytes} -> nested arrays; bytes are float32 in base64, of a lower triangle where `lower` says so.
function unpack({ shape, lower, bytes }) {
  const flat = new Float32Array(Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0)).buffer);
  let at = 0;
  const build = ([size, ...rest], index) => {
    if (rest.length) return Array.from({ length: size }, (_, i) => build(rest, i));
    const row = new Array(size).fill(0);
    const kept = lower ? index + 1 : size;
    for (let i = 0; i < kept; i++) row[i] = flat[at++];
    return row;
  };
  return build(shape, 0);
}

function jQueryStandIn(what) {
  const found =
    typeof what !== "string" ? [what]
    : what.startsWith("<") ? [document.createElement(what.match(/\w+/)[0])]
    : [...document.querySelectorAll(what)];
  const each = (act) => (found.forEach(act), self);
  const self = {
    found,
    empty: () => each((e) => e.replaceChildren()),
    append: (other) => each((e) => e.append(...other.found)),
    val: (value) => each((e) => (e.value = value)),
    text: (value) => each((e) => (e.textContent = value)),
    attr: (name, value) => each((e) => e.setAttribute(name, value)),
    on: (kind, act) => each((e) => e.addEventListener(kind, act)),
    change: () => each((e) => e.dispatchEvent(new Event("change"))),
  };
  return self;
}

window.bertviz_params = JSON.parse(document.getElementById("data").textContent);
for (const part of Object.values(window.bertviz_params.attention))
  for (const name of ["attn", "queries", "keys", "allowed"]) if (part[name]) part[name] = unpack(part[name]);
window.bertviz_params.display_mode = document.documentElement.dataset.theme;
window.require = { config() {} };
window.requirejs = (_names, run) => run(jQueryStandIn, window.d3);
