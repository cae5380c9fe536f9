// The workbench: two linked graphs, inspector, rewrite log, differences, problems. One module behind the live widget
// and the saved page; a host is anything with get/set/on/off/save_changes (anywidget's model, or the shim in html.py).
//
// Everything that is shown came from a model and is data: it enters the page through text nodes and setAttribute on
// harmless attributes only, never as markup. Nothing is asked of a network, nothing is put on `window`.

const SVG_NS = "http://www.w3.org/2000/svg";
const SIDES = ["left", "right"];
const BAND_HEIGHT = 1200; // px at zoom 1: the browser skips bands that are out of sight
const ROW_HEIGHT = 28;
const ROPES_MAX = 40;
const ZOOM_MIN = 0.15, ZOOM_MAX = 2.5, ZOOM_READABLE = 0.75;
const WIDE = 1180, NARROW = 900; // px: inspector beside the graphs, below them, or everything stacked
const CIVIDIS = [[0, 34, 78], [53, 69, 108], [102, 105, 112], [148, 142, 119], [200, 184, 102], [254, 232, 56]];
const KEYS = [
  ["Tab", "next part: TorchScript, NNAPI, tables"],
  ["↓ ↑", "along the data: first reader, first source"],
  ["← →", "neighbours at the same height"],
  ["Home End", "first, last node"],
  ["Enter Space", "pin the node and its partners, open the inspector"],
  ["m", "jump to the partner in the other graph, and back"],
  ["/", "search: words, layout:NHWC, kind:constant, rewrite:fusion, dtype:, scope:, err>0.1"],
  ["Enter ⇧Enter", "in the search field: next, previous match"],
  ["+ − 0", "zoom in, out, fit the width (also Ctrl with the wheel)"],
  ["Esc", "clear the selection"],
  ["?", "this list"],
];

let instances = 0; // only for ids that must be unique in a page

// ---------------------------------------------------------------------------------------------- small DOM tools

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== null && value !== false) element.setAttribute(name, value);
  }
  for (const child of children.flat(Infinity)) if (child !== null && child !== undefined && child !== false) element.append(child);
  return element;
}
const html = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG_NS, tag), attributes, children);
const refill = (element, ...children) => { element.replaceChildren(); return fill(element, {}, children); };
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const plural = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

function shown(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size < 1e-3 || size >= 1e6 ? value.toExponential(2) : String(Number(value.toPrecision(4)));
}
// For sorting and filtering: NaN and infinities travel as text and are the worst there is.
const weight = (value) => (typeof value === "number" ? value : value === "-∞" ? -Infinity : value === null ? null : Infinity);

function glyph(data, kind) {
  const shape = data.glyphs[kind];
  return svg("g", { class: `nl-glyph nl-k-${kind}` },
    svg("path", { d: shape.outline, class: "nl-glyph-ground" }), svg("path", { d: shape.mark, class: "nl-glyph-mark" }));
}
const icon = (data, kind) =>
  svg("svg", { class: "nl-icon", viewBox: "-1 -1 16 16", width: 16, height: 16, "aria-hidden": "true" }, glyph(data, kind));

// ------------------------------------------------------------------------------------------- what belongs to what

function indexed(data) {
  const count = { left: data.left.nodes.length, right: data.right.nodes.length };
  const lists = () => ({
    left: Array.from({ length: count.left }, () => []),
    right: Array.from({ length: count.right }, () => []),
  });
  const index = { partners: lists(), steps: lists(), rows: lists(), problems: lists(), sources: lists(), readers: lists(), edges: lists() };
  for (const [left, right] of data.links) {
    index.partners.left[left].push(right);
    index.partners.right[right].push(left);
  }
  for (const side of SIDES) {
    data.steps.forEach((step, at) => step[side].forEach((node) => index.steps[side][node].push(at)));
    data.problems.forEach((problem, at) => problem[side].forEach((node) => index.problems[side][node].push(at)));
    data.diff.forEach((row, at) => row[side] >= 0 && index.rows[side][row[side]].push(at));
    data[side].edges.forEach((edge, at) => {
      index.sources[side][edge.dst].push(edge.src);
      index.readers[side][edge.src].push(edge.dst);
      index.edges[side][edge.src].push(at);
      index.edges[side][edge.dst].push(at);
    });
  }
  const column = data.metrics.findIndex((metric) => metric.key === data.error_key);
  index.error = (side, node) => {
    let worst = null;
    for (const at of index.rows[side][node]) {
      const value = column < 0 ? null : weight(data.diff[at].values[column]);
      if (value !== null && (worst === null || value > worst)) worst = value;
    }
    return worst;
  };
  return index;
}

function matcher(query, index) {
  const tests = query.trim().toLowerCase().split(/\s+/).filter(Boolean).map((word) => {
    const limit = /^err(>=|<=|>|<)([0-9.e+-]+)$/.exec(word);
    if (limit && !Number.isNaN(Number(limit[2]))) {
      const bound = Number(limit[2]);
      const holds = { ">": (e) => e > bound, "<": (e) => e < bound, ">=": (e) => e >= bound, "<=": (e) => e <= bound }[limit[1]];
      return (node, side, at) => { const error = index.error(side, at); return error !== null && holds(error); };
    }
    const field = /^(layout|kind|rewrite|dtype|quant|scope|shape|op|id|state):(.*)$/.exec(word);
    if (!field) return (node) => node.hay.includes(word);
    const [, key, value] = field;
    if (key === "layout") return (node) => node.layout.toLowerCase() === value || (value.length > 1 && node.layout.toLowerCase().startsWith(value));
    if (key === "rewrite") return (node) => node.rewrites.some((kind) => kind.startsWith(value));
    if (key === "op") return (node) => ["operation", "torch"].includes(node.kind) && node.label.toLowerCase().includes(value);
    return (node) => String(node[key]).toLowerCase().includes(value);
  });
  return tests.length ? (node, side, at) => tests.every((test) => test(node, side, at)) : () => false;
}

// --------------------------------------------------------------------------------------------------- one graph

function accessibleName(data, node, partners) {
  const words = [data.kinds[node.kind], node.label, node.sublabel, node.layout && `layout ${node.layout}`, node.quant];
  if (node.rewrites.length) words.push(`rewritten: ${node.rewrites.map((kind) => data.glyphs[kind].title).join(", ")}`);
  if (node.state) words.push(node.state === "failed" ? "not converted" : "not reached");
  words.push(`${partners} linked`);
  return words.filter(Boolean).join(", ");
}

function drawNode(data, node, at, partners) {
  const parts = [svg("path", { d: node.outline, class: "nl-outline" })];
  const tall = (node.h - 12) / Math.max(node.glyphs.length, 1);
  node.glyphs.forEach((kind, n) => {
    parts.push(svg("rect", { class: `nl-stripe nl-k-${kind}`, x: 4, y: 6 + n * tall, width: 4, height: Math.max(tall - 1, 2), rx: 1.5 }));
    const chip = glyph(data, kind);
    chip.setAttribute("transform", `translate(${node.w - 6 - 18 * (node.glyphs.length - n)} 6)`);
    parts.push(chip);
  });
  for (const [text, style, y] of node.lines) parts.push(svg("text", { class: `nl-t-${style}`, x: 13, y }, text));
  if (node.tag) {
    const wide = node.tag.length * 5.5 + 8, y = node.lines[1][2] - 9.5;
    parts.push(svg("g", { class: `nl-tag${node.channels_last ? " is-last" : ""}`, transform: `translate(${node.w - wide - 9} ${y})` },
      svg("rect", { width: wide, height: 12.5, rx: 3 }), svg("text", { x: 4, y: 9.4 }, node.tag)));
  }
  if (node.state === "failed") parts.push(svg("path", { class: "nl-cross", d: `M${node.w - 5} -5l10 10m0 -10l-10 10` }));
  return svg("g", {
    class: `nl-node nl-${node.kind}${node.state ? ` nl-${node.state}` : ""}`, transform: `translate(${node.x} ${node.y})`,
    "data-node": at, role: "button", tabindex: -1, "aria-label": accessibleName(data, node, partners), "aria-pressed": "false",
  }, parts);
}

function routePath(route) {
  const [x, y] = route.slice(-2);
  const bend = route.at(-3) === y ? Math.sign(route.at(-4) - x) : 0; // a constant beside its reader comes from the side
  const head = bend ? [[6 * bend, -3.5], [6 * bend, 3.5]] : [[-3.5, -6], [3.5, -6]];
  const [a, b] = head.map(([dx, dy]) => `${x + dx} ${y + dy}`);
  return `M${route.slice(0, 2).join(" ")}C${route.slice(2).join(" ")}M${a}L${x} ${y}L${b}`;
}

// Bands end where no node is cut; an edge is drawn in every band it passes.
function bandsOf(pane) {
  const order = pane.nodes.map((_, at) => at).sort((a, b) => pane.nodes[a].y - pane.nodes[b].y);
  const bands = [];
  let top = 0, bottom = 0, members = [];
  for (const at of order) {
    const node = pane.nodes[at];
    if (members.length && node.y - top > BAND_HEIGHT && node.y > bottom + 4) {
      const end = (bottom + node.y) / 2;
      bands.push({ top, end, members });
      [top, members] = [end, []];
    }
    members.push(at);
    bottom = Math.max(bottom, node.y + node.h);
  }
  bands.push({ top, end: Math.max(pane.height, 1), members });
  return bands;
}

function createPane(data, index, side) {
  const pane = data[side];
  const nodes = new Array(pane.nodes.length), edges = pane.edges.map(() => []);
  const canvas = html("div", { class: "nl-canvas" });
  const bands = bandsOf(pane).map((band) => ({ ...band, svg: null, lines: svg("g", { class: "nl-edges" }), boxes: svg("g") }));
  pane.edges.forEach((edge, at) => {
    const ys = edge.route.filter((_, n) => n % 2 === 1);
    const low = Math.min(...ys), high = Math.max(...ys), d = routePath(edge.route);
    for (const band of bands) {
      if (low > band.end || high < band.top) continue;
      const line = svg("path", { class: "nl-edge", d });
      edges[at].push(line);
      band.lines.append(line);
    }
  });
  for (const band of bands) {
    for (const at of band.members) {
      nodes[at] = drawNode(data, pane.nodes[at], at, index.partners[side][at].length);
      band.boxes.append(nodes[at]);
    }
    band.svg = svg("svg", { class: "nl-band", viewBox: `0 ${band.top} ${Math.max(pane.width, 1)} ${band.end - band.top}` }, band.lines, band.boxes);
    canvas.append(band.svg);
  }
  // A rope comes from the side where nothing stands in its way, else from above.
  const outermost = pane.nodes.map(() => true);
  const order = pane.nodes.map((_, at) => at).sort((a, b) => pane.nodes[a].y - pane.nodes[b].y);
  order.forEach((at, n) => {
    for (let next = n + 1; next < order.length && pane.nodes[order[next]].y < pane.nodes[at].y + pane.nodes[at].h; next += 1) {
      const behind = pane.nodes[at].x < pane.nodes[order[next]].x ? order[next] : at;
      const before = behind === at ? order[next] : at;
      outermost[side === "left" ? before : behind] = false;
    }
  });
  if (nodes.length) nodes[0].setAttribute("tabindex", 0);
  const scroll = html("div", { class: "nl-scroll", role: "application", "aria-label": `${pane.title} graph, ${plural(nodes.length, "node")}` }, canvas);
  const heading = html("div", { class: "nl-pane-title" }, html("strong", {}, pane.title), html("span", {}, plural(nodes.length, "node")));
  const section = html("section", { class: "nl-pane", "data-side": side }, heading, scroll);
  const zoomTo = (zoom) => {
    canvas.style.width = `${pane.width * zoom}px`;
    canvas.style.height = `${pane.height * zoom}px`;
    for (const band of bands) {
      const tall = (band.end - band.top) * zoom + 1; // one px over the next band: no hairline through the edges
      band.svg.setAttribute("viewBox", `0 ${band.top} ${Math.max(pane.width, 1)} ${tall / zoom}`);
      band.svg.style.height = `${tall}px`;
      band.svg.style.containIntrinsicSize = `${pane.width * zoom}px ${tall}px`;
    }
  };
  return { side, pane, nodes, edges, canvas, scroll, section, zoomTo, outermost, current: 0 };
}

// ----------------------------------------------------------------------------------------------- virtual list

// Rows of one height, of which only the visible ones exist. `row(at)` gives cells; `choose(at)` is Enter or click.
function createList({ id, label, row, choose, template, width }) {
  let count = 0, active = -1, first = -1, last = -1;
  const rows = html("div", { class: "nl-rows" });
  if (width) rows.style.minWidth = width;
  const box = html("div", { class: "nl-list", tabindex: 0, role: "listbox", "aria-label": label, id }, rows);
  const paint = (force) => {
    const from = Math.max(0, Math.floor(box.scrollTop / ROW_HEIGHT) - 6);
    const to = Math.min(count, Math.ceil((box.scrollTop + (box.clientHeight || 600)) / ROW_HEIGHT) + 6);
    if (!force && from === first && to === last) return;
    [first, last] = [from, to];
    rows.style.height = `${count * ROW_HEIGHT}px`;
    rows.replaceChildren(...Array.from({ length: to - from }, (_, n) => {
      const at = from + n;
      const element = html("div", {
        class: `nl-row${at === active ? " is-active" : ""}`, role: "option", id: `${id}-${at}`, "aria-selected": String(at === active),
        "aria-posinset": at + 1, "aria-setsize": count, "data-at": at,
      }, row(at));
      element.style.transform = `translateY(${at * ROW_HEIGHT}px)`;
      if (template) element.style.gridTemplateColumns = template();
      return element;
    }));
    if (active >= 0) box.setAttribute("aria-activedescendant", `${id}-${active}`);
  };
  const activate = (at) => {
    active = clamp(at, 0, count - 1);
    const top = active * ROW_HEIGHT;
    if (top < box.scrollTop) box.scrollTop = top;
    else if (top + ROW_HEIGHT > box.scrollTop + box.clientHeight) box.scrollTop = top + ROW_HEIGHT - box.clientHeight;
    paint(true);
  };
  box.addEventListener("scroll", () => paint(false));
  box.addEventListener("click", (event) => {
    const hit = event.target.closest("[data-at]");
    if (hit) { activate(Number(hit.dataset.at)); choose(active); }
  });
  box.addEventListener("keydown", (event) => {
    const move = { ArrowDown: active + 1, ArrowUp: active - 1, Home: 0, End: count - 1, PageDown: active + 12, PageUp: active - 12 }[event.key];
    if (move !== undefined && count) { activate(move); choose(active); event.preventDefault(); }
    else if ((event.key === "Enter" || event.key === " ") && active >= 0) { choose(active); event.preventDefault(); }
  });
  return { box, paint: () => paint(true), reset: (length) => { count = length; active = -1; box.scrollTop = 0; box.removeAttribute("aria-activedescendant"); paint(true); } };
}

// ------------------------------------------------------------------------------------- tensors, steps, tables

function pairsTable(rows, className = "nl-pairs") {
  const shownRows = rows.filter(([, value]) => value !== "" && value !== null && value !== undefined);
  if (!shownRows.length) return null;
  return html("table", { class: className }, html("tbody", {}, shownRows.map(([key, value]) =>
    html("tr", {}, html("th", { scope: "row" }, key), html("td", {}, value)))));
}

const axisClass = (axis) => `nl-axis${/^[NCHWOI]$/.test(axis) ? ` nl-axis-${axis}` : ""}`;

function tensor(part, role, { below = false } = {}) {
  const dims = part.shape.map((size, n) => html("span", { class: axisClass(part.axes[n] || "") },
    part.axes[n] ? html("i", {}, part.axes[n]) : null, html("b", {}, size)));
  const name = html("div", { class: "nl-tensor-name" }, html("em", {}, role), html("code", {}, part.name), html("span", {}, [part.dtype, part.quant].filter(Boolean).join(" · ")));
  const row = dims.length ? html("div", { class: "nl-dims", "aria-label": part.shape.map((size, n) => `${part.axes[n] || ""} ${size}`).join(", ") }, dims) : null;
  return html("div", { class: "nl-tensor" }, below ? [row, name] : [name, row]);
}
const sample = (part, role) => (part.sample.length
  ? html("div", { class: "nl-sample" }, html("em", {}, `first values ${role}`), part.sample.map((value) => html("code", {}, value)), html("span", {}, "…")) : null);

// Before above after; where axes only changed places, lines between the two rows say which went where.
function tensorPair(before, after) {
  const lines = crossing(before, after);
  return html("div", { class: "nl-pair" }, tensor(before, "before"), lines, tensor(after, "after", { below: lines !== null }),
    sample(before, "before"), sample(after, "after"));
}

// Lines from each axis to where it went; only where both sides name the same axes, each once.
function crossing(before, after) {
  const count = before.axes.length;
  const same = count > 1 && count === after.axes.length && new Set(before.axes).size === count
    && before.axes.every((axis) => after.axes.includes(axis));
  if (!same || before.axes.every((axis, n) => axis === after.axes[n])) return null;
  const cell = 64;
  return svg("svg", { class: "nl-crossing", width: count * cell, height: 34, viewBox: `0 0 ${count * cell} 34`, "aria-hidden": "true" },
    before.axes.map((axis, n) => {
      const from = (n + 0.5) * cell - 3, to = (after.axes.indexOf(axis) + 0.5) * cell - 3;
      return svg("path", { class: axisClass(axis), d: `M${from} 0C${from} 17 ${to} 17 ${to} 34` });
    }));
}

function stepCard(data, step, open = true) {
  const tensors = [];
  const pairs = Math.min(step.before.length, step.after.length);
  for (let n = 0; n < pairs; n += 1) {
    tensors.push(tensorPair(step.before[n], step.after[n]));
  }
  step.before.slice(pairs).forEach((part) => tensors.push(tensor(part, "before"), sample(part, "before")));
  step.after.slice(pairs).forEach((part) => tensors.push(tensor(part, "after"), sample(part, "after")));
  return html("details", { class: `nl-step nl-k-${step.kind}`, open: open ? "" : null, "data-step": step.id },
    html("summary", {}, icon(data, step.kind), html("strong", {}, step.title), html("code", {}, step.rule), html("span", { class: "nl-count" }, `#${step.id}`)),
    step.why && html("p", { class: "nl-why" }, step.why),
    step.formula && html("pre", { class: "nl-formula" }, step.formula),
    tensors,
    pairsTable(step.facts, "nl-pairs nl-facts"),
    step.effect && html("p", { class: "nl-effect" }, html("em", {}, "without it "), step.effect),
    step.source && html("p", { class: "nl-source" }, step.source));
}

function nodeCard(data, node, open) {
  const rows = [["kind", data.kinds[node.kind]], ["id", node.id], ["type", [node.dtype, node.shape].filter(Boolean).join(" ") || node.sublabel],
    ["layout", node.layout], ["quantization", node.quant], ["module", node.scope], ["source", node.source], ...node.attributes];
  return html("details", { class: "nl-card", open: open ? "" : null },
    html("summary", {}, html("strong", {}, node.label), node.rewrites.map((kind) => icon(data, kind)), html("span", { class: "nl-quiet" }, node.sublabel)),
    node.text && html("pre", { class: "nl-line" }, node.text), pairsTable(rows));
}

// --------------------------------------------------------------------------------------------------- the view

function createView(model, el) {
  const data = model.get("payload");
  if (!data || !data.left) return { destroy() {} };
  for (const side of SIDES) for (const node of data[side].nodes) {
    node.hay = [node.id, node.label, node.sublabel, node.scope, node.text, node.quant].join("\n").toLowerCase();
  }
  const uid = `nl${(instances += 1)}`;
  const index = indexed(data);
  const stop = new AbortController();
  const listen = (target, type, handler, options = {}) => target.addEventListener(type, handler, { ...options, signal: stop.signal });
  const panes = { left: createPane(data, index, "left"), right: createPane(data, index, "right") };
  const state = { zoom: 1, offset: 0, selection: null, hover: null, tab: "", jump: 0, matches: [], match: -1, theme: "auto" };
  const lit = { hover: [], pin: [], match: [] }; // what carries a class now, so that clearing never walks the graph

  const light = (list, element, name) => { element.classList.add(name); lit[list].push([element, name]); };
  const unlight = (list) => { for (const [element, name] of lit[list]) element.classList.remove(name); lit[list].length = 0; };
  const other = (side) => (side === "left" ? "right" : "left");

  // ---- frame
  const status = html("div", { class: "nl-status", role: "status", "aria-live": "polite" });
  const search = html("input", { type: "search", class: "nl-search", placeholder: "Search: conv, layout:NHWC, err>0.1", "aria-label": "Search both graphs", spellcheck: "false" });
  const found = html("span", { class: "nl-found", "aria-live": "polite" });
  const button = (text, title, onclick, attributes = {}) => html("button", { type: "button", title, "aria-label": title, onclick, ...attributes }, text);
  const present = Object.keys(data.glyphs).filter((kind) => kind !== "operation" && SIDES.some((side) => data[side].nodes.some((node) => node.rewrites.includes(kind))));
  const toggles = present.map((kind) => html("button", { type: "button", class: `nl-toggle nl-k-${kind}`, "aria-pressed": "true", "data-overlay": kind,
    title: `show rewrites: ${data.glyphs[kind].title}`, onclick: (event) => toggle(event.currentTarget, kind) }, icon(data, kind), data.glyphs[kind].title));
  const errorToggle = data.diff.length ? html("button", { type: "button", class: "nl-toggle", "aria-pressed": "false", "data-overlay": "error",
    title: "show the difference to PyTorch on every compared node", onclick: (event) => toggle(event.currentTarget, "error") }, html("span", { class: "nl-delta", "aria-hidden": "true" }, "Δ"), "error") : null;
  const bar = html("header", { class: "nl-bar" },
    html("strong", { class: "nl-title", title: data.title }, data.title),
    html("div", { class: "nl-searchbox" }, search, found),
    html("div", { class: "nl-toggles", role: "group", "aria-label": "Overlays" }, toggles, errorToggle),
    html("div", { class: "nl-buttons" }, button("−", "Zoom out", () => zoomBy(1 / 1.2)), button("+", "Zoom in", () => zoomBy(1.2)), button("Fit", "Fit the width", () => fit()),
      button("◐", "Theme: as the page, light, dark", () => cycleTheme()), button("?", "Keys and help", () => toggleHelp())));
  const splitter = html("div", { class: "nl-split", role: "separator", tabindex: 0, "aria-orientation": "vertical", "aria-label": "Width of the graphs", "aria-valuemin": 15, "aria-valuemax": 85, "aria-valuenow": Math.round(clamp((100 * data.left.width) / (data.left.width + data.right.width), 30, 70)) });
  const ropes = svg("svg", { class: "nl-ropes", "aria-hidden": "true" });
  const graphs = html("div", { class: "nl-graphs" }, panes.left.section, splitter, panes.right.section, ropes);
  const panelSplit = html("div", { class: "nl-split nl-panel-split", role: "separator", tabindex: 0, "aria-orientation": "horizontal", "aria-label": "Size of the tables", "aria-valuemin": 15, "aria-valuemax": 75, "aria-valuenow": 34 });
  const inspector = html("div", { class: "nl-inspector" });
  const tabs = [["inspector", "Inspector", null], ["log", "Rewrite log", data.steps.length], ["diff", "Differences", data.diff.length], ["problems", "Problems", data.problems.length]]
    .map(([name, title, count]) => ({
      name,
      tab: html("button", { type: "button", role: "tab", id: `${uid}-tab-${name}`, "aria-controls": `${uid}-${name}`, "data-tab": name, onclick: () => openTab(name) }, title, count === null ? null : html("span", { class: "nl-count" }, count)),
      panel: html("div", { class: `nl-tabpanel nl-tab-${name}`, role: "tabpanel", id: `${uid}-${name}`, "aria-labelledby": `${uid}-tab-${name}` }),
    }));
  const panelOf = (name) => tabs.find((tab) => tab.name === name).panel;
  const tablist = html("div", { class: "nl-tabs", role: "tablist" }, tabs.map((tab) => tab.tab));
  const panel = html("aside", { class: "nl-panel", "aria-label": "Details" }, tablist, tabs.map((tab) => tab.panel));
  const body = html("div", { class: "nl-body" }, graphs, panelSplit, panel);
  const help = html("div", { class: "nl-help", role: "dialog", "aria-label": "Keys", hidden: "" },
    html("div", { class: "nl-help-card" }, html("h2", {}, "Keys"), pairsTable(KEYS), button("Close", "Close", () => toggleHelp(false))));
  const root = html("div", { class: "nl-root", "data-lm-suppress-shortcuts": "true" }, bar, body, html("footer", { class: "nl-foot" }, status, html("span", { class: "nl-hint" }, "? for keys")), help);
  panelOf("inspector").append(inspector);

  // ---- where things are on the screen
  const geometry = (side, at) => {
    const { scroll, canvas, pane } = panes[side], node = pane.nodes[at];
    return { left: canvas.offsetLeft + node.x * state.zoom - scroll.scrollLeft, top: canvas.offsetTop + node.y * state.zoom - scroll.scrollTop,
      width: node.w * state.zoom, height: node.h * state.zoom };
  };
  const visible = (side, at) => {
    const { scroll } = panes[side], box = geometry(side, at);
    return box.top >= 4 && box.top + box.height <= scroll.clientHeight - 4 && box.left + box.width > 20 && box.left < scroll.clientWidth - 20;
  };
  const scrollTo = (side, at) => {
    const { scroll, canvas, pane } = panes[side], node = pane.nodes[at];
    scroll.scrollTop = canvas.offsetTop + (node.y + node.h / 2) * state.zoom - scroll.clientHeight / 2;
    scroll.scrollLeft = canvas.offsetLeft + (node.x + node.w / 2) * state.zoom - scroll.clientWidth / 2;
  };
  // Both panes scroll together; `offset` is how far the right one is ahead, in px.
  let leading = null;
  const follow = (side) => {
    drawRopes();
    if (leading !== null && leading !== side) return;
    leading = side;
    const twin = panes[other(side)].scroll;
    twin.scrollTop = panes[side].scroll.scrollTop + (side === "left" ? state.offset : -state.offset);
    requestAnimationFrame(() => { leading = null; });
  };
  const reveal = (side, at, partners) => {
    const twin = other(side);
    const best = nearest(side, at, partners);
    leading = side;
    if (!visible(side, at)) scrollTo(side, at);
    state.offset = 0;
    if (best >= 0) {
      const ahead = (panes[twin].pane.nodes[best].y - panes[side].pane.nodes[at].y) * state.zoom;
      if (Math.abs(ahead) > panes[twin].scroll.clientHeight * 0.4) state.offset = side === "left" ? ahead : -ahead;
    }
    panes[twin].scroll.scrollTop = panes[side].scroll.scrollTop + (side === "left" ? state.offset : -state.offset);
    if (best >= 0 && !visible(twin, best)) {
      const box = geometry(twin, best), { scroll } = panes[twin];
      if (box.left < 0 || box.left + box.width > scroll.clientWidth) scroll.scrollLeft += box.left + box.width / 2 - scroll.clientWidth / 2;
      if (box.top < 0 || box.top + box.height > scroll.clientHeight) {
        scroll.scrollTop += box.top + box.height / 2 - scroll.clientHeight / 2;
        state.offset = panes.right.scroll.scrollTop - panes.left.scroll.scrollTop;
      }
    }
    requestAnimationFrame(() => { leading = null; drawRopes(); });
  };
  // The partner to look at first: an operation rather than a value or a weight, and the one at the nearest height.
  const nearest = (side, at, partners) => {
    const nodes = data[other(side)].nodes, y = data[side].nodes[at].y;
    const rank = (n) => (["operation", "torch"].includes(nodes[n].kind) ? 0 : nodes[n].kind === "constant" ? 2e6 : 1e6) + Math.abs(nodes[n].y - y);
    return partners.reduce((best, n) => (best < 0 || rank(n) < rank(best) ? n : best), -1);
  };

  // ---- ropes between linked nodes
  let ropesDue = false;
  const drawRopes = () => {
    if (ropesDue) return;
    ropesDue = true;
    requestAnimationFrame(() => {
      ropesDue = false;
      const lines = [];
      const shownPairs = new Set();
      // A constant beside an operation that is linked too needs no rope of its own: it is lit, and one rope tells it.
      const asked = (side, at) => [state.hover, state.origin].some((one) => one && one.side === side && one.at === at);
      const told = (side, at, from) => !asked(side, at) && data[side].nodes[at].kind === "constant" && index.readers[side][at].some((n) => index.partners[other(side)][from].includes(n));
      const rope = (left, right, strong) => {
        const key = `${left} ${right}`;
        if (told("right", right, left) || told("left", left, right)) return;
        if (lines.length >= ROPES_MAX || shownPairs.has(key)) return;
        shownPairs.add(key);
        const ends = [["left", left], ["right", right]].map(([side, at]) => {
          const box = geometry(side, at), { scroll, section } = panes[side];
          const outer = panes[side].outermost[at];
          const x = outer ? (side === "left" ? box.left + box.width : box.left) : box.left + box.width / 2;
          const y = outer ? box.top + box.height / 2 : box.top;
          const inside = y >= 0 && y <= scroll.clientHeight;
          return { outer, x: section.offsetLeft + clamp(x, 0, scroll.clientWidth), y: section.offsetTop + scroll.offsetTop + clamp(y, 0, scroll.clientHeight), inside };
        });
        const middle = (ends[0].x + ends[1].x) / 2;
        const [from, to] = ends.map((end) => (end.outer ? `${middle} ${end.y}` : `${end.x} ${end.y - 34}`));
        lines.push(svg("path", { class: `nl-rope${strong ? " is-strong" : ""}${ends.every((end) => end.inside) ? "" : " is-away"}`,
          d: `M${ends[0].x} ${ends[0].y}C${from} ${to} ${ends[1].x} ${ends[1].y}` }));
        for (const end of ends) lines.push(svg("circle", { class: "nl-rope-end", cx: end.x, cy: end.y, r: end.inside ? 3 : 2 }));
      };
      if (root.dataset.shape !== "narrow") {
        if (state.hover) for (const at of index.partners[state.hover.side][state.hover.at]) state.hover.side === "left" ? rope(state.hover.at, at, true) : rope(at, state.hover.at, true);
        if (state.selection) for (const left of state.selection.left) for (const right of index.partners.left[left]) if (state.selection.right.includes(right)) rope(left, right, false);
      }
      ropes.replaceChildren(...lines);
    });
  };

  // ---- hover and selection
  const describe = (side, at) => {
    const node = data[side].nodes[at], count = index.partners[side][at].length;
    const name = node.label === node.id ? node.label : `${node.label} ${node.id}`;
    return `${name} → ${plural(count, `${data[other(side)].title} item`)}`;
  };
  const hover = (side, at) => {
    if (state.hover && state.hover.side === side && state.hover.at === at) return;
    unlight("hover");
    state.hover = at === null ? null : { side, at };
    if (at !== null) {
      light("hover", panes[side].nodes[at], "is-hover");
      for (const partner of index.partners[side][at]) light("hover", panes[other(side)].nodes[partner], "is-linked");
      for (const edge of index.edges[side][at]) for (const line of panes[side].edges[edge]) light("hover", line, "is-near");
      status.textContent = describe(side, at);
    } else if (state.selection) status.textContent = state.selection.said;
    drawRopes();
  };
  const mark = (left, right, said) => {
    unlight("pin");
    for (const element of root.querySelectorAll('[aria-pressed="true"].nl-node')) element.setAttribute("aria-pressed", "false");
    state.selection = left.length || right.length ? { left, right, said } : null;
    for (const [side, list] of [["left", left], ["right", right]]) for (const at of list) light("pin", panes[side].nodes[at], "is-partner");
    root.classList.toggle("has-pin", state.selection !== null);
    status.textContent = said;
    drawRopes();
  };
  const select = (side, at, { scroll = true, tab = "inspector", tell = true } = {}) => {
    const partners = index.partners[side][at];
    const lists = side === "left" ? [[at], partners] : [partners, [at]];
    mark(...lists, describe(side, at));
    light("pin", panes[side].nodes[at], "is-pinned");
    panes[side].nodes[at].setAttribute("aria-pressed", "true");
    setCurrent(side, at);
    state.jump = 0;
    state.origin = { side, at };
    if (scroll) reveal(side, at, partners);
    inspect(side, at);
    if (tab) openTab(tab);
    if (tell) { model.set("selected", { side, id: data[side].nodes[at].id }); model.save_changes(); }
  };
  const clear = () => {
    mark([], [], "");
    hover(null, null);
    state.origin = null;
    unlight("match");
    search.value = "";
    found.textContent = "";
    [state.matches, state.match] = [[], -1];
    overview();
    model.set("selected", null);
    model.save_changes();
  };
  const setCurrent = (side, at) => {
    const pane = panes[side];
    if (!pane.nodes.length) return;
    pane.nodes[pane.current].setAttribute("tabindex", -1);
    pane.current = at;
    pane.nodes[at].setAttribute("tabindex", 0);
  };
  const focusNode = (side, at) => {
    setCurrent(side, at);
    panes[side].nodes[at].focus({ preventScroll: true });
    if (!visible(side, at)) scrollTo(side, at);
  };

  // ---- inspector
  const legend = () => html("div", { class: "nl-legend" }, present.map((kind) => html("span", {}, icon(data, kind), data.glyphs[kind].title)));
  const overview = () => {
    refill(inspector, html("div", { class: "nl-columns" },
      html("div", {}, html("h3", {}, "Summary"), pairsTable(data.summary) || html("p", { class: "nl-quiet" }, "Nothing to say yet."), legend()),
      html("div", {}, html("h3", {}, "How to read this"), html("p", {}, `Left is what PyTorch says, right what NNAPI is told. Linked nodes stand at the same height. Point at a node to see its partners; click it to read which rewrites made it so, and why.`),
        html("p", { class: "nl-quiet" }, "Rounded boxes are operations, stadiums values, cut corners constants. A notch on top is an input, a point below an output."))));
  };
  const inspect = (side, at) => {
    const partners = index.partners[side][at];
    const bySide = side === "left" ? { left: [at], right: partners } : { left: partners, right: [at] };
    const column = (which) => html("div", { class: "nl-col", "data-side": which }, html("h3", {}, data[which].title),
      bySide[which].length ? bySide[which].map((n, place) => nodeCard(data, data[which].nodes[n], place < 3))
        : html("p", { class: "nl-quiet" }, `No ${data[which].title} node: it left no trace there.`));
    const steps = [...new Set([...index.steps[side][at], ...partners.flatMap((n) => index.steps[other(side)][n])])];
    const own = new Set(index.steps[side][at]);
    const plain = (n) => Number(data.steps[n].kind === "operation"); // what was taken over as it is comes last
    steps.sort((a, b) => plain(a) - plain(b) || Number(own.has(b)) - Number(own.has(a)) || a - b);
    const rows = [...new Set([...index.rows[side][at], ...partners.flatMap((n) => index.rows[other(side)][n])])];
    const problems = [...new Set([...index.problems[side][at], ...partners.flatMap((n) => index.problems[other(side)][n])])];
    refill(inspector,
      html("div", { class: "nl-head" }, html("strong", {}, describe(side, at))),
      problems.length ? problems.map((n) => problemCard(data.problems[n])) : null,
      html("h3", {}, steps.length ? `Rewrites (${steps.length})` : "No rewrite: taken over one to one"),
      steps.map((n, place) => stepCard(data, data.steps[n], place < 4)),
      rows.length ? [html("h3", {}, "Difference to PyTorch"), rows.map((n) => differenceCard(data.diff[n]))] : "",
      html("div", { class: "nl-columns" }, column("left"), column("right")));
    panelOf("inspector").scrollTop = 0;
  };
  const differenceCard = (row) => html("div", { class: "nl-card" }, row.verdict && html("p", { class: "nl-verdict" }, row.verdict),
    pairsTable(data.metrics.map((metric, n) => [metric.title, row.values[n] === null ? "" : `${shown(row.values[n])}${metric.unit ? ` ${metric.unit}` : ""}`])));

  // ---- rewrite log
  const rules = new Map();
  for (const step of data.steps) rules.set(step.rule, { title: step.title, kind: step.kind, count: (rules.get(step.rule)?.count || 0) + 1 });
  let logRows = data.steps.map((_, at) => at);
  const names = (side, list) => list.slice(0, 2).map((at) => data[side].nodes[at].label).join(", ") + (list.length > 2 ? ` +${list.length - 2}` : "");
  const logDetail = html("div", { class: "nl-detail" }, html("p", { class: "nl-quiet" }, "Choose a rewrite to see why it was made, and what it did."));
  const log = createList({
    id: `${uid}-loglist`, label: "Rewrites in order",
    row: (n) => { const step = data.steps[logRows[n]]; return [icon(data, step.kind), html("span", { class: "nl-count" }, `#${step.id}`), html("span", { class: "nl-grow" }, step.title), html("span", { class: "nl-quiet" }, `${names("left", step.left) || "–"} → ${names("right", step.right) || "–"}`)]; },
    choose: (n) => chooseStep(logRows[n]),
  });
  const chooseStep = (at) => {
    const step = data.steps[at];
    state.origin = null;
    mark(step.left, step.right, `rewrite #${step.id}, ${step.title}: ${plural(step.left.length, `${data.left.title} item`)} → ${plural(step.right.length, `${data.right.title} item`)}`);
    if (step.right.length) reveal("right", step.right[0], step.left);
    else if (step.left.length) reveal("left", step.left[0], []);
    logDetail.replaceChildren(stepCard(data, step));
  };
  const ruleFilter = html("select", { "aria-label": "Show rewrites of one rule", onchange: () => filterLog() }, html("option", { value: "" }, `all ${data.steps.length} rewrites`),
    [...rules].map(([rule, { title, count }]) => html("option", { value: rule }, `${title} (${count})`)));
  const filterLog = () => {
    logRows = data.steps.map((_, at) => at).filter((at) => !ruleFilter.value || data.steps[at].rule === ruleFilter.value);
    log.reset(logRows.length);
  };
  panelOf("log").append(html("div", { class: "nl-tools" }, ruleFilter), html("div", { class: "nl-two" }, log.box, logDetail));

  // ---- differences
  const used = data.metrics.map((_, n) => n).filter((n) => data.diff.some((row) => row.values[n] !== null));
  const errorColumn = data.metrics.findIndex((metric) => metric.key === data.error_key);
  let diffRows = data.diff.map((_, at) => at), sort = { column: null, worst: true };
  const sizes = data.diff.map((row) => weight(row.values[errorColumn] ?? null)).filter((value) => value > 0 && Number.isFinite(value));
  const range = sizes.length ? [Math.log10(Math.min(...sizes)), Math.log10(Math.max(...sizes))] : [0, 1];
  const severity = (value) => (value === null || value <= 0 ? 0 : value === Infinity ? 1 : range[1] - range[0] < 1e-9 ? 0.5 : clamp((Math.log10(value) - range[0]) / (range[1] - range[0]), 0, 1));
  const diffTemplate = () => `minmax(130px, 1.2fr) ${used.map(() => "minmax(76px, 0.7fr)").join(" ")} minmax(150px, 1.8fr)`;
  const diffWidth = `${130 + 76 * used.length + 150 + 8 * (used.length + 1) + 24}px`; // what those columns need
  const diff = createList({
    id: `${uid}-difflist`, label: "Compared values", template: diffTemplate, width: diffWidth,
    row: (n) => {
      const row = data.diff[diffRows[n]];
      return [html("span", { title: row.detail }, row.label), used.map((column) => {
        const cell = html("span", { class: "nl-number" }, shown(row.values[column]));
        if (column === errorColumn) { cell.classList.add("nl-meter"); cell.style.setProperty("--nl-share", `${Math.round(4 + 96 * severity(weight(row.values[column])))}%`); }
        return cell;
      }), html("span", { class: "nl-verdict-cell", title: row.verdict }, row.verdict)];
    },
    choose: (n) => {
      const row = data.diff[diffRows[n]];
      if (row.right >= 0) select("right", row.right, { tab: null });
      else if (row.left >= 0) select("left", row.left, { tab: null });
    },
  });
  const headers = [];
  const sortBy = (column) => {
    sort = { column, worst: sort.column === column ? !sort.worst : true };
    const key = (at) => (column === "label" ? data.diff[at].label : column === "verdict" ? data.diff[at].verdict : weight(data.diff[at].values[column]));
    const textual = typeof column === "string";
    const down = textual ? !sort.worst : (data.metrics[column].worse === "low") !== sort.worst;
    diffRows = data.diff.map((_, at) => at).sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === null || y === null) return Number(x === null) - Number(y === null) || a - b;
      const order = textual ? x.localeCompare(y) : x < y ? -1 : x > y ? 1 : 0;
      return (down ? -order : order) || a - b;
    });
    for (const header of headers) {
      if (header.column === column) header.cell.setAttribute("aria-sort", down ? "descending" : "ascending");
      else header.cell.removeAttribute("aria-sort");
    }
    diff.reset(diffRows.length);
    status.textContent = `sorted by ${textual ? column : data.metrics[column].title}`;
  };
  const header = (column, title, explanation) => {
    const cell = html("span", { role: "columnheader", class: typeof column === "number" ? "nl-number" : "" }, html("button", { type: "button", title: explanation, "data-column": typeof column === "number" ? data.metrics[column].key : column, onclick: () => sortBy(column) }, title));
    headers.push({ column, cell });
    return cell;
  };
  if (data.diff.length) {
    const head = html("div", { class: "nl-row nl-headrow" }, header("label", "value", "sort by name"), used.map((n) => header(n, data.metrics[n].title, [data.metrics[n].help, data.metrics[n].unit && `in ${data.metrics[n].unit}`].filter(Boolean).join("; "))), header("verdict", "verdict", "sort by verdict"));
    head.style.gridTemplateColumns = diffTemplate();
    head.style.minWidth = diffWidth;
    diff.box.addEventListener("scroll", () => { head.style.transform = `translateX(${-diff.box.scrollLeft}px)`; });
    panelOf("diff").append(head, diff.box);
  } else panelOf("diff").append(html("p", { class: "nl-quiet nl-pad" }, "Nothing was compared. lowered.diff(inputs) runs both sides and fills this table."));

  // ---- problems
  const problemCard = (problem) => html("div", { class: "nl-problem" }, html("div", {}, html("strong", { class: "nl-problem-kind" }, problem.kind), " ", html("code", {}, problem.where), problem.rule && html("span", { class: "nl-quiet" }, ` ${problem.rule}`)),
    html("p", {}, problem.message), problem.fix && html("p", { class: "nl-fix" }, html("em", {}, "what to do "), problem.fix), problem.source && html("p", { class: "nl-source" }, problem.source));
  const problemList = data.problems.map((problem) => {
    const side = problem.left.length ? "left" : "right";
    const target = problem[side][0];
    return html("button", { type: "button", class: "nl-problem-button", onclick: () => target !== undefined && select(side, target, { tab: null }) }, problemCard(problem));
  });
  panelOf("problems").append(html("div", { class: "nl-pad" }, problemList.length ? problemList : html("p", { class: "nl-quiet" }, "No problems: everything was converted.")));

  const openTab = (name) => {
    state.tab = name;
    for (const tab of tabs) {
      tab.tab.setAttribute("aria-selected", String(tab.name === name));
      tab.tab.setAttribute("tabindex", tab.name === name ? 0 : -1);
      tab.panel.hidden = tab.name !== name;
    }
    if (name === "log") log.paint();
    if (name === "diff") diff.paint();
  };
  listen(tablist, "keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const at = (tabs.findIndex((tab) => tab.name === state.tab) + step + tabs.length) % tabs.length;
    openTab(tabs[at].name);
    tabs[at].tab.focus();
  });

  // ---- overlays
  const toggle = (element, kind) => {
    const on = element.getAttribute("aria-pressed") !== "true";
    element.setAttribute("aria-pressed", String(on));
    if (kind === "error") { if (on) drawErrors(); root.classList.toggle("nl-errors", on); } else root.classList.toggle(`nl-off-${kind}`, !on);
    status.textContent = `${kind} overlay ${on ? "on" : "off"}`;
  };
  let errorsDrawn = false;
  const drawErrors = () => {
    if (errorsDrawn) return;
    errorsDrawn = true;
    for (const side of SIDES) panes[side].nodes.forEach((element, at) => {
      const error = index.error(side, at);
      if (error === null) return;
      const node = data[side].nodes[at], text = `Δ ${error === Infinity ? "∞" : shown(error)}`, wide = text.length * 5.6 + 10;
      const place = severity(error) * (CIVIDIS.length - 1), low = Math.min(Math.floor(place), CIVIDIS.length - 2);
      const rgb = CIVIDIS[low].map((channel, n) => Math.round(channel + (CIVIDIS[low + 1][n] - channel) * (place - low)));
      element.append(svg("g", { class: "nl-badge", transform: `translate(${node.w - wide - 8} ${node.h - 7})` },
        svg("rect", { width: wide, height: 14, rx: 7, fill: `rgb(${rgb.join(",")})` }), svg("text", { x: 5, y: 10.3, fill: 0.2126 * rgb[0] + 0.7152 * rgb[1] + 0.0722 * rgb[2] > 118 ? "#000" : "#fff" }, text)));
    });
  };

  // ---- zoom
  const setZoom = (zoom, anchor = null) => {
    const next = clamp(zoom, ZOOM_MIN, ZOOM_MAX), ratio = next / state.zoom;
    const keep = SIDES.map((side) => {
      const { scroll } = panes[side];
      const [x, y] = [anchor && anchor.side === side ? anchor.x : scroll.clientWidth / 2, anchor ? anchor.y : scroll.clientHeight / 2];
      return { scroll, left: (scroll.scrollLeft + x) * ratio - x, top: (scroll.scrollTop + y) * ratio - y };
    });
    state.zoom = next;
    state.offset *= ratio;
    leading = "zoom";
    for (const side of SIDES) panes[side].zoomTo(next);
    for (const { scroll, left, top } of keep) { scroll.scrollLeft = left; scroll.scrollTop = top; }
    requestAnimationFrame(() => { leading = null; drawRopes(); });
  };
  const zoomBy = (factor, anchor) => setZoom(state.zoom * factor, anchor);
  const fit = () => {
    const ratios = SIDES.filter((side) => data[side].nodes.length).map((side) => panes[side].scroll.clientWidth / data[side].width);
    setZoom(clamp(Math.min(...ratios, 1.15), ZOOM_READABLE, 1.15));
    state.offset = 0;
    for (const side of SIDES) {
      const { scroll, pane } = panes[side];
      const main = state.selection?.[side][0] ?? 0;
      if (pane.nodes[main]) scroll.scrollLeft = (pane.nodes[main].x + pane.nodes[main].w / 2) * state.zoom - scroll.clientWidth / 2;
    }
    panes.right.scroll.scrollTop = panes.left.scroll.scrollTop;
    drawRopes();
  };

  // ---- pointer
  for (const side of SIDES) {
    const { canvas, scroll, nodes } = panes[side];
    const hit = (event) => { const element = event.target.closest?.("[data-node]"); return element ? Number(element.dataset.node) : null; };
    listen(canvas, "pointerover", (event) => hover(side, hit(event)));
    listen(canvas, "pointerleave", () => hover(null, null));
    listen(canvas, "focusin", (event) => { const at = hit(event); if (at !== null) { setCurrent(side, at); hover(side, at); } });
    listen(canvas, "focusout", () => hover(null, null));
    listen(scroll, "scroll", () => follow(side), { passive: true });
    listen(scroll, "wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      const box = scroll.getBoundingClientRect();
      zoomBy(Math.exp(-event.deltaY * 0.002), { side, x: event.clientX - box.left, y: event.clientY - box.top });
    }, { passive: false });
    let drag = null;
    listen(scroll, "pointerdown", (event) => {
      if (event.button !== 0 || event.pointerType === "touch" || hit(event) !== null) return;
      drag = { x: event.clientX, y: event.clientY, left: scroll.scrollLeft, top: scroll.scrollTop };
      scroll.setPointerCapture(event.pointerId);
    });
    listen(scroll, "pointermove", (event) => {
      if (!drag) return;
      scroll.scrollLeft = drag.left - (event.clientX - drag.x);
      scroll.scrollTop = drag.top - (event.clientY - drag.y);
    });
    for (const type of ["pointerup", "pointercancel"]) listen(scroll, type, () => { drag = null; });
    listen(canvas, "click", (event) => {
      const at = hit(event);
      if (at !== null) { nodes[at].focus({ preventScroll: true }); select(side, at); }
    });
    listen(scroll, "keydown", (event) => { if (!event.ctrlKey && !event.metaKey && !event.altKey && walk(side, event.key)) event.preventDefault(); });
  }

  // ---- keyboard
  const walk = (side, key) => {
    const pane = panes[side], at = pane.current, nodes = data[side].nodes;
    if (!nodes.length) return false;
    const prefer = (list) => list.find((n) => !["constant", "scalar"].includes(nodes[n].kind)) ?? list[0];
    const level = (direction) => {
      const mine = nodes[at], centre = mine.x + mine.w / 2;
      let best, gap = Infinity;
      nodes.forEach((node, n) => {
        const away = (node.x + node.w / 2 - centre) * direction;
        if (n !== at && away > 0 && away < gap && node.y < mine.y + mine.h && mine.y < node.y + node.h) [best, gap] = [n, away];
      });
      return best;
    };
    if (key === "Enter" || key === " ") { select(side, at); return true; }
    const target = { ArrowDown: () => prefer(index.readers[side][at]), ArrowUp: () => prefer(index.sources[side][at]), ArrowLeft: () => level(-1), ArrowRight: () => level(1), Home: () => 0, End: () => nodes.length - 1 }[key];
    if (!target) return false;
    const next = target();
    if (next !== undefined) focusNode(side, next);
    else status.textContent = { ArrowDown: "nothing reads this", ArrowUp: "nothing feeds this" }[key] || "no neighbour at this height";
    return true;
  };
  const toPartner = () => {
    const focused = SIDES.map((side) => ({ side, at: panes[side].nodes.indexOf(document.activeElement) })).find(({ at }) => at >= 0)
      || SIDES.map((side) => ({ side, at: panes[side].nodes.indexOf(el.getRootNode().activeElement) })).find(({ at }) => at >= 0) || state.origin;
    if (!focused) return;
    const partners = index.partners[focused.side][focused.at];
    if (!partners.length) { status.textContent = "no partner on the other side"; return; }
    const best = nearest(focused.side, focused.at, partners);
    focusNode(other(focused.side), best);
  };
  const toggleHelp = (open = help.hidden) => {
    help.hidden = !open;
    if (open) help.querySelector("button").focus();
    else search.focus();
  };
  listen(root, "keydown", (event) => {
    const typing = event.target.closest?.("input, select, textarea");
    if (event.key === "Escape") { if (!help.hidden) toggleHelp(false); else clear(); return; }
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const action = { "?": () => toggleHelp(), "/": () => search.focus(), m: toPartner, "+": () => zoomBy(1.2), "=": () => zoomBy(1.2), "-": () => zoomBy(1 / 1.2), 0: fit }[event.key];
    if (action) { action(); event.preventDefault(); }
  });

  // ---- search
  const runSearch = () => {
    unlight("match");
    const test = matcher(search.value, index);
    state.matches = SIDES.flatMap((side) => data[side].nodes.map((node, at) => ({ side, at, y: node.y })).filter(({ at }) => test(data[side].nodes[at], side, at)));
    state.matches.sort((a, b) => a.y - b.y || (a.side < b.side ? -1 : a.side > b.side ? 1 : a.at - b.at));
    state.match = -1;
    for (const { side, at } of state.matches) light("match", panes[side].nodes[at], "is-match");
    found.textContent = search.value.trim() ? plural(state.matches.length, "match").replace("matchs", "matches") : "";
  };
  const cycle = (step) => {
    if (!state.matches.length) return;
    state.match = (state.match + step + (state.match < 0 && step < 0 ? 1 : 0) + state.matches.length) % state.matches.length;
    const { side, at } = state.matches[state.match];
    select(side, at);
    found.textContent = `${state.match + 1} of ${state.matches.length}`;
  };
  listen(search, "input", runSearch);
  listen(search, "keydown", (event) => { if (event.key === "Enter") { cycle(event.shiftKey ? -1 : 1); event.preventDefault(); } });

  // ---- splitters
  const draggable = (element, apply) => {
    let value = Number(element.getAttribute("aria-valuenow"));
    const set = (next) => { value = clamp(next, Number(element.getAttribute("aria-valuemin")), Number(element.getAttribute("aria-valuemax"))); element.setAttribute("aria-valuenow", Math.round(value)); apply(value); drawRopes(); };
    set(value);
    let active = false;
    listen(element, "pointerdown", (event) => { active = true; element.setPointerCapture(event.pointerId); event.preventDefault(); });
    listen(element, "pointermove", (event) => { if (active) set(element.classList.contains("nl-panel-split") ? panelShare(event) : graphShare(event)); });
    for (const type of ["pointerup", "pointercancel"]) listen(element, type, () => { active = false; });
    listen(element, "keydown", (event) => {
      const step = { ArrowLeft: -3, ArrowUp: 3, ArrowRight: 3, ArrowDown: -3 }[event.key];
      if (step) { set(value + (element === panelSplit && root.dataset.shape === "wide" && event.key.match(/Left|Right/) ? -step : step)); event.preventDefault(); }
    });
  };
  const graphShare = (event) => { const box = graphs.getBoundingClientRect(); return root.dataset.shape === "narrow" ? (100 * (event.clientY - box.top)) / box.height : (100 * (event.clientX - box.left)) / box.width; };
  const panelShare = (event) => { const box = body.getBoundingClientRect(); return root.dataset.shape === "wide" ? (100 * (box.right - event.clientX)) / box.width : (100 * (box.bottom - event.clientY)) / box.height; };
  draggable(splitter, (value) => { root.style.setProperty("--nl-share-left", `${value}fr`); root.style.setProperty("--nl-share-right", `${100 - value}fr`); });
  draggable(panelSplit, (value) => { root.style.setProperty("--nl-share-panel", `${value}fr`); root.style.setProperty("--nl-share-graphs", `${100 - value}fr`); });

  // ---- theme: the user's choice, else the host's, else the system's
  const systemDark = matchMedia("(prefers-color-scheme: dark)");
  const applyTheme = () => {
    const jupyter = document.body.dataset.jpThemeLight, classes = document.body.classList;
    const dark = state.theme !== "auto" ? state.theme === "dark" : jupyter !== undefined ? jupyter === "false"
      : classes.contains("vscode-dark") || (!classes.contains("vscode-light") && systemDark.matches);
    root.dataset.theme = dark ? "dark" : "light";
    root.dataset.themeFrom = state.theme === "auto" ? "host" : "user";
  };
  const cycleTheme = () => {
    state.theme = { auto: root.dataset.theme === "dark" ? "light" : "dark", light: "dark", dark: "light" }[state.theme];
    applyTheme();
    status.textContent = `theme: ${root.dataset.theme}`;
  };
  listen(systemDark, "change", applyTheme);
  const themeWatch = new MutationObserver(applyTheme);
  themeWatch.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "class"] });
  applyTheme();

  // ---- size
  let sized = false;
  const measure = () => {
    const width = root.clientWidth;
    if (!width) return;
    root.dataset.shape = width >= WIDE ? "wide" : width >= NARROW ? "middle" : "narrow";
    panelSplit.setAttribute("aria-orientation", width >= WIDE ? "vertical" : "horizontal");
    if (!sized) { sized = true; fit(); }
    log.paint();
    diff.paint();
    drawRopes();
  };
  const sizeWatch = new ResizeObserver(measure);

  overview();
  log.reset(logRows.length);
  diff.reset(diffRows.length);
  openTab(data.problems.some((problem) => !["note", "warning"].includes(problem.kind)) ? "problems" : "inspector");
  el.replaceChildren(root);
  sizeWatch.observe(root);
  measure();

  const onSelected = () => {
    const wanted = model.get("selected");
    if (!wanted) return;
    const at = data[wanted.side]?.nodes.findIndex((node) => node.id === wanted.id) ?? -1;
    if (at >= 0 && !(state.origin?.side === wanted.side && state.origin?.at === at)) select(wanted.side, at, { tell: false });
  };
  model.on("change:selected", onSelected);
  onSelected();
  return {
    destroy() {
      model.off("change:selected", onSelected);
      stop.abort();
      themeWatch.disconnect();
      sizeWatch.disconnect();
      root.remove();
    },
  };
}

function render({ model, el }) {
  let view = createView(model, el);
  const redraw = () => { view.destroy(); view = createView(model, el); };
  model.on("change:payload", redraw);
  return () => { model.off("change:payload", redraw); view.destroy(); };
}

export default { render };
