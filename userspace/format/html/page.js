// SPDX-License-Identifier: Apache-2.0
//
// Draws the flame graph. The data block holds, for each event, a tree in preorder: `depth` and `frame` of each node, and
// for the nodes that samples end in (`leaf`) one row of `values` a column. Everything here is a walk over those arrays;
// boxes narrower than MIN_WIDTH are skipped with all that is in them, so the work depends on the screen, not the data.
"use strict";
(() => {
  const ROW = 20;          // height of a row of boxes, in CSS pixels
  const MIN_WIDTH = 0.3;   // narrower boxes are not drawn
  const MIN_TEXT = 26;     // narrower boxes carry no text
  const FONT = '12px system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif';
  const KINDS = ["process", "go", "runtime", "native", "kernel", "reason", "marker"];
  const KIND_WORDS = ["Process", "Go", "Go runtime", "Native", "Kernel", "Reason", "Marker"];
  const REASON = 5;

  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  const canvas = byId("canvas"), pane = byId("pane"), extent = byId("extent"), tooltip = byId("tooltip");
  const context = canvas.getContext("2d");

  // ---- data

  const frames = [];
  for (let i = 0; i < data.frames.length; i += 4) {
    frames.push({
      name: data.strings[data.frames[i]], kind: data.frames[i + 1],
      file: data.strings[data.frames[i + 2]], line: data.frames[i + 3], hash: 0, short: "",
    });
  }
  for (const frame of frames) {
    let hash = 2166136261;
    for (let i = 0; i < frame.name.length && i < 200; i++) hash = Math.imul(hash ^ frame.name.charCodeAt(i), 16777619);
    frame.hash = (hash >>> 8) % 1000 / 1000;
    frame.short = shortName(frame);
  }

  // A Go name without the directories of its import path, for boxes that have no room for all of it.
  function shortName(frame) {
    if (frame.kind !== 1 && frame.kind !== 2) return frame.name;
    const path = frame.name.search(/[\[({]/);
    const slash = frame.name.lastIndexOf("/", path < 0 ? undefined : path);
    return slash < 0 ? frame.name : frame.name.slice(slash + 1);
  }

  // Adds to an event: `end` (one past the last node below each), `parent`, `total` and `known` of each column.
  function index(event) {
    if (event.end) return;
    const n = event.depth.length, path = [];
    event.end = new Int32Array(n).fill(n);
    event.parent = new Int32Array(n).fill(-1);
    for (let i = 0; i < n; i++) {
      const depth = event.depth[i];
      for (let d = path.length - 1; d >= depth; d--) event.end[path[d]] = i;
      path.length = depth;
      if (depth > 0) event.parent[i] = path[depth - 1];
      path.push(i);
    }
    event.total = event.columns.map(() => new Float64Array(n));
    event.known = event.columns.map(() => new Uint8Array(n));
    event.columns.forEach((column, c) => {
      const total = event.total[c], known = event.known[c];
      event.leaf.forEach((node, i) => {
        if (event.values[c][i] === null) return;
        total[node] += event.values[c][i];
        known[node] = 1;
      });
      for (let i = n - 1; i > 0; i--) {
        total[event.parent[i]] += total[i];
        known[event.parent[i]] |= known[i];
      }
    });
    event.left = event.columns.map(() => null);
  }

  // Where each node begins, in the column's unit, counted from the left of the root.
  function leftEdges(event, column) {
    if (event.left[column]) return event.left[column];
    const n = event.depth.length, total = event.total[column];
    const left = new Float64Array(n), next = new Float64Array(n);
    for (let i = 1; i < n; i++) {
      const parent = event.parent[i];
      left[i] = next[i] = next[parent];
      next[parent] += total[i];
    }
    return event.left[column] = left;
  }

  function threeDigits(value) {
    return value < 9.995 ? value.toFixed(2) : value < 99.95 ? value.toFixed(1) : value.toFixed(0);
  }

  // The same words as ShowValue in value.h.
  function show(value, unit) {
    if (unit === "ns") {
      if (value < 1e3) return value + " ns";
      if (value < 999.5e3) return threeDigits(value / 1e3) + " \u00b5s";
      if (value < 999.5e6) return threeDigits(value / 1e6) + " ms";
      if (value < 120e9) return threeDigits(value / 1e9) + " s";
      const seconds = Math.floor(value / 1e9), minutes = Math.floor(seconds / 60);
      if (seconds < 7200) return minutes + " min " + seconds % 60 + " s";
      return Math.floor(minutes / 60) + " h " + minutes % 60 + " min";
    }
    if (unit === "bytes" && value >= 1024) {
      const power = value < 1048576 ? 1 : value < 1073741824 ? 2 : 3;
      return threeDigits(value / 1024 ** power) + [" KiB", " MiB", " GiB"][power - 1];
    }
    return value.toLocaleString("en-US") + (unit === "bytes" ? " B" : "");
  }

  function share(part, whole) {
    if (!(whole > 0) || !(part > 0)) return "0 %";
    const percent = 100 * part / whole;
    return percent < 0.1 ? "< 0.1 %" : percent.toFixed(1) + " %";
  }

  // ---- state

  const state = { event: 0, column: 0, zoom: 0, icicle: false, search: "", selected: -1, hover: -1 };
  let event = data.events[0];
  let matches = null;      // one byte a frame while something is searched for
  let palette = null;
  let scheduled = false;

  const weight = () => event.total[state.column];
  const frameOf = (node) => frames[event.frame[node]];

  // Rows below the zoomed node that hold a box wide enough to be drawn.
  function rowsNeeded() {
    const total = weight(), scale = canvas.clientWidth / total[state.zoom], end = event.end[state.zoom];
    let deepest = event.depth[state.zoom];
    for (let i = state.zoom; i < end;) {
      if (!(total[i] * scale >= MIN_WIDTH)) { i = event.end[i]; continue; }
      if (event.depth[i] > deepest) deepest = event.depth[i];
      i++;
    }
    return deepest + 1;
  }

  let rows = 1;
  function resize() {
    const width = pane.clientWidth;
    canvas.style.width = width + "px";
    canvas.style.height = "0";
    rows = rowsNeeded();
    extent.style.height = rows * ROW + "px";
    // A scroll bar that comes or goes changes the width.
    const narrower = pane.clientWidth;
    const height = Math.max(ROW, pane.clientHeight);
    const density = window.devicePixelRatio || 1;
    canvas.style.width = narrower + "px";
    canvas.style.height = height + "px";
    canvas.width = Math.round(narrower * density);
    canvas.height = Math.round(height * density);
    context.setTransform(density, 0, 0, density, 0, 0);
    schedule();
  }

  const rowTop = (depth) => (state.icicle ? depth : rows - 1 - depth) * ROW;

  function showRoot() {
    pane.scrollTop = state.icicle ? 0 : extent.offsetHeight;
  }

  // ---- colours

  function readPalette() {
    const style = getComputedStyle(document.documentElement);
    const value = (name) => style.getPropertyValue("--" + name).trim();
    palette = {
      kinds: KINDS.map((kind) => value(kind).split(/[\s%]+/).map(Number)),
      match: value("match"), ink: value("box-ink"), reasonInk: value("reason-ink"), matchInk: value("match-ink"),
      outline: value("outline"), soft: value("soft"),
    };
    for (const frame of frames) frame.colour = null;
  }

  function colourOf(frame) {
    if (frame.colour) return frame.colour;
    const [hue, saturation, lightness] = palette.kinds[frame.kind];
    const spread = frame.kind === 0 || frame.kind === REASON ? 0 : frame.hash - 0.5;
    return frame.colour =
      `hsl(${(hue + spread * 12).toFixed(1)} ${saturation}% ${(lightness + spread * 8).toFixed(1)}%)`;
  }

  // ---- drawing

  function schedule() {
    if (scheduled) return;
    scheduled = true;
    requestAnimationFrame(() => { scheduled = false; draw(); });
  }

  const widths = new Map();
  function textWidth(text) {
    let width = widths.get(text);
    if (width === undefined) {
      if (widths.size > 20000) widths.clear();
      widths.set(text, width = context.measureText(text).width);
    }
    return width;
  }

  // As much of the frame's name as has room, with an ellipsis where something is missing.
  function fitText(frame, room) {
    if (frame.name.length * 3 < room * 2 && textWidth(frame.name) <= room) return frame.name;
    if (frame.short.length * 3 < room * 2 && textWidth(frame.short) <= room) return frame.short;
    const text = frame.short;
    let low = 0, high = Math.min(text.length - 1, Math.ceil(room / 2));
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (context.measureText(text.slice(0, middle) + "\u2026").width <= room) low = middle; else high = middle - 1;
    }
    return low < 2 ? "" : text.slice(0, low) + "\u2026";
  }

  function drawBox(node, x, width, faded) {
    const frame = frameOf(node), y = rowTop(event.depth[node]) - pane.scrollTop;
    if (y + ROW < 0 || y > canvas.clientHeight) return;
    const matched = matches && matches[event.frame[node]];
    const gap = width > 3 ? 1 : 0;
    context.globalAlpha = faded ? 0.5 : matches && !matched ? 0.32 : 1;
    context.fillStyle = matched ? `hsl(${palette.match})` : colourOf(frame);
    context.fillRect(x, y, Math.max(width - gap, 0.3), ROW - 1);
    if (width >= MIN_TEXT) {
      const text = fitText(frame, width - 10);
      context.globalAlpha = faded ? 0.8 : matches && !matched ? 0.75 : 1;
      context.fillStyle = matched ? palette.matchInk : frame.kind === REASON && !(matches && !matched) ? palette.reasonInk : palette.ink;
      if (text) context.fillText(text, x + 4.5, y + ROW / 2);
    }
    context.globalAlpha = 1;
  }

  function draw() {
    const width = canvas.clientWidth, total = weight(), left = leftEdges(event, state.column);
    context.clearRect(0, 0, width, canvas.clientHeight);
    context.font = FONT;
    context.textBaseline = "middle";
    for (let node = event.parent[state.zoom]; node >= 0; node = event.parent[node]) drawBox(node, 0, width, true);
    const scale = width / total[state.zoom], origin = left[state.zoom], end = event.end[state.zoom];
    for (let i = state.zoom; i < end;) {
      const boxWidth = total[i] * scale;
      if (!(boxWidth >= MIN_WIDTH)) { i = event.end[i]; continue; }
      drawBox(i, (left[i] - origin) * scale, boxWidth, false);
      i++;
    }
    outline(state.hover, 1);
    if (document.activeElement === canvas) outline(state.selected, 2);
  }

  // The place of a node's box, or null when it is not in the picture.
  function boxOf(node) {
    if (node < 0) return null;
    const width = canvas.clientWidth, top = rowTop(event.depth[node]);
    if (node < state.zoom ? event.end[node] > state.zoom : node === state.zoom) return { x: 0, width, top };
    if (node < state.zoom || node >= event.end[state.zoom]) return null;
    const scale = width / weight()[state.zoom], left = leftEdges(event, state.column);
    return { x: (left[node] - left[state.zoom]) * scale, width: weight()[node] * scale, top };
  }

  function outline(node, thickness) {
    const box = boxOf(node);
    if (!box) return;
    context.strokeStyle = palette.outline;
    context.lineWidth = thickness;
    const half = thickness / 2;
    context.strokeRect(box.x + half, box.top - pane.scrollTop + half, Math.max(box.width - 1 - thickness, 1), ROW - 1 - thickness);
  }

  function nodeAt(x, y) {
    const row = Math.floor((y + pane.scrollTop) / ROW), depth = state.icicle ? row : rows - 1 - row;
    if (depth < 0 || depth >= rows) return -1;
    let node = state.zoom;
    while (event.depth[node] > depth) node = event.parent[node];
    if (event.depth[node] === depth) return node;
    const left = leftEdges(event, state.column), total = weight();
    const at = left[node] + x * total[node] / canvas.clientWidth;
    const least = MIN_WIDTH * total[node] / canvas.clientWidth;
    while (event.depth[node] < depth) {
      let child = node + 1;
      const end = event.end[node];
      while (child < end && !(at >= left[child] && at < left[child] + total[child])) child = event.end[child];
      if (child >= end || !(total[child] >= least)) return -1;
      node = child;
    }
    return node;
  }

  // ---- words about a node

  function placeOf(frame) {
    return frame.file ? frame.file + (frame.line ? ":" + frame.line : "") : "";
  }

  function element(tag, name, text) {
    const made = document.createElement(tag);
    if (name) made.className = name;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function valueText(node, column) {
    return event.known[column][node] ? show(event.total[column][node], event.columns[column][1]) : "not measured";
  }

  // Of the zoomed node while the pointer is on none.
  function showStatus(hovered) {
    const status = byId("status"), node = hovered < 0 ? state.zoom : hovered;
    const frame = frameOf(node);
    const values = event.columns.map((column, c) => column[0] + " " + valueText(node, c)).join(", ");
    status.textContent = frame.name.slice(0, 300) + " \u2014 " + values + " (" +
      share(weight()[node], weight()[0]) + " of all)";
  }

  function showTooltip(node, x, y) {
    if (node < 0) { tooltip.hidden = true; return; }
    const frame = frameOf(node), place = element("div", "place");
    place.append(element("i", "kind-" + frame.kind), KIND_WORDS[frame.kind]);
    if (placeOf(frame)) place.append(" \u00b7 " + placeOf(frame));
    const list = element("dl");
    event.columns.forEach((column, c) => {
      const known = event.known[c][node];
      list.append(element("dt", "", column[2]), element("dd", "", valueText(node, c)),
        element("dd", "", known ? share(event.total[c][node], event.total[c][0]) + " of all" : ""));
    });
    if (state.zoom !== 0 && node >= state.zoom) {
      list.append(element("dt", "", "of the zoomed box"), element("dd"), element("dd", "", share(weight()[node], weight()[state.zoom])));
    }
    tooltip.replaceChildren(element("div", "name", frame.name), place, list);
    tooltip.hidden = false;
    const box = tooltip.getBoundingClientRect();
    tooltip.style.left = Math.max(8, Math.min(x + 14, window.innerWidth - box.width - 12)) + "px";
    tooltip.style.top = (y + 20 + box.height > window.innerHeight ? Math.max(8, y - box.height - 14) : y + 20) + "px";
  }

  // ---- what a reader can do

  function zoomTo(node) {
    state.zoom = node >= 0 && node < event.depth.length && weight()[node] > 0 ? node : 0;
    state.hover = -1;
    byId("reset").disabled = state.zoom === 0;
    tooltip.hidden = true;
    const depth = event.depth[state.zoom];
    resize();
    if (state.zoom === 0) showRoot(); else reveal(depth);
    showStatus(-1);
    remember();
  }

  function reveal(depth) {
    const top = rowTop(depth);
    if (top < pane.scrollTop) pane.scrollTop = top;
    if (top + ROW > pane.scrollTop + pane.clientHeight) pane.scrollTop = top + ROW - pane.clientHeight;
  }

  function matcher(text) {
    const regex = /^\/(.+)\/(i?)$/.exec(text);
    if (regex) {
      try { const compiled = new RegExp(regex[1], "i"); return (name) => compiled.test(name); } catch (error) { /* as text */ }
    }
    const lower = text.toLowerCase();
    return (name) => name.toLowerCase().includes(lower);
  }

  function search(text) {
    state.search = text;
    byId("search").value = text;
    matches = null;
    if (text) {
      const test = matcher(text);
      matches = Uint8Array.from(frames, (frame) => test(frame.name) ? 1 : 0);
    }
    showMatched();
    schedule();
    remember();
  }

  // A box inside a matched box is not counted twice.
  function showMatched() {
    const output = byId("matched");
    if (!matches) { output.textContent = ""; return; }
    let sum = 0;
    for (let i = 0; i < event.depth.length;) {
      if (matches[event.frame[i]]) { sum += weight()[i]; i = event.end[i]; } else i++;
    }
    output.textContent = "matched " + share(sum, weight()[0]) + " \u00b7 " + show(sum, event.columns[state.column][1]);
  }

  function setView(icicle) {
    state.icicle = icicle;
    for (const button of byId("view").children) {
      button.setAttribute("aria-pressed", String((button.dataset.view === "icicle") === icicle));
    }
    resize();
    showRoot();
    remember();
  }

  function setTheme(theme) {
    if (theme) document.documentElement.dataset.theme = theme;
    readPalette();
    schedule();
  }

  const darkQuery = window.matchMedia("(prefers-color-scheme: dark)");
  function isDark() {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : darkQuery.matches;
  }

  function setColumn(column) {
    state.column = column;
    byId("column").value = String(column);
    byId("width-is").textContent = event.columns[column][2];
    if (!(weight()[state.zoom] > 0)) state.zoom = 0;
    showMatched();
    showStatus(-1);
    resize();
    remember();
  }

  function setEvent(number) {
    state.event = number;
    event = data.events[number];
    index(event);
    state.zoom = 0;
    state.selected = state.hover = -1;
    [...byId("tabs").children].forEach((tab, i) => {
      tab.setAttribute("aria-selected", String(i === number));
      tab.tabIndex = i === number ? 0 : -1;
    });
    for (const other of data.events) byId(other.section).hidden = other !== event;
    byId("column").replaceChildren(...event.columns.map((column, c) => {
      const option = element("option", "", "Width: " + column[2]);
      option.value = String(c);
      return option;
    }));
    byId("column").hidden = event.columns.length < 2;
    const present = new Set(event.frame.map((frame) => frames[frame].kind));
    byId("legend").replaceChildren(...[0, 1, 2, 3, 4, 6, REASON].filter((kind) => present.has(kind)).map((kind) => {
      const item = element("li");
      item.append(element("i", "kind-" + kind), kind === REASON ? "[Reason]" : KIND_WORDS[kind]);
      return item;
    }));
    byId("reset").disabled = true;
    setColumn(0);
    showRoot();
  }

  // The view is kept in the address, so that a link or a reload shows the same.
  let restoring = true;
  function remember() {
    if (restoring) return;
    const words = new URLSearchParams();
    if (state.event) words.set("event", event.name);
    if (state.column) words.set("width", event.columns[state.column][0]);
    if (state.zoom) words.set("zoom", String(state.zoom));
    if (state.icicle) words.set("view", "icicle");
    if (state.search) words.set("search", state.search);
    if (document.documentElement.dataset.theme) words.set("theme", document.documentElement.dataset.theme);
    try { history.replaceState(null, "", "#" + words); } catch (error) { /* a sandboxed frame */ }
  }

  function restore() {
    restoring = true;
    const words = new URLSearchParams(location.hash.slice(1));
    if (["light", "dark"].includes(words.get("theme"))) setTheme(words.get("theme"));
    setEvent(Math.max(0, data.events.findIndex((other) => other.name === words.get("event"))));
    setView(words.get("view") === "icicle");
    setColumn(Math.max(0, event.columns.findIndex((column) => column[0] === words.get("width"))));
    search(words.get("search") || "");
    const zoom = Number(words.get("zoom"));
    zoomTo(Number.isInteger(zoom) ? zoom : 0);
    restoring = false;
  }

  // The nearest box in the picture beside `node` in its row; `node` itself when there is none.
  function neighbour(node, step) {
    const depth = event.depth[node], visible = (i) => { const box = boxOf(i); return box && box.width >= MIN_WIDTH; };
    if (step > 0) {
      for (let i = event.end[node]; i < event.end[state.zoom];) {
        if (event.depth[i] === depth && visible(i)) return i;
        i = event.depth[i] >= depth || !visible(i) ? event.end[i] : i + 1;
      }
    } else {
      for (let i = node - 1; i > state.zoom; i--) if (event.depth[i] === depth && visible(i)) return i;
    }
    return node;
  }

  function widestChild(node) {
    if (node < state.zoom) {
      let child = state.zoom;
      while (event.parent[child] !== node) child = event.parent[child];
      return child;
    }
    let best = node, total = weight();
    for (let i = node + 1; i < event.end[node]; i = event.end[i]) {
      if (best === node || total[i] > total[best]) best = i;
    }
    return best;
  }

  function select(node) {
    state.selected = node;
    reveal(event.depth[node]);
    const box = boxOf(node), place = canvas.getBoundingClientRect();
    showStatus(node);
    if (box) showTooltip(node, place.left + Math.min(box.x + 8, place.width - 8), place.top + box.top - pane.scrollTop);
    schedule();
  }

  function moveSelection(key) {
    const node = state.selected >= 0 && boxOf(state.selected) ? state.selected : -1;
    if (node < 0) { select(state.zoom); return; }
    const outward = state.icicle ? "ArrowDown" : "ArrowUp";
    if (key === "ArrowLeft") select(neighbour(node, -1));
    else if (key === "ArrowRight") select(neighbour(node, 1));
    else if (key === outward) select(widestChild(node));
    else select(event.parent[node] >= 0 ? event.parent[node] : node);
  }

  function onCanvasKey(press) {
    if (press.ctrlKey || press.metaKey || press.altKey) return;
    if (press.key.startsWith("Arrow")) moveSelection(press.key);
    else if (press.key === "Enter" || press.key === " ") { if (state.selected >= 0) zoomTo(state.selected); }
    else if (press.key === "Home") { zoomTo(0); select(0); }
    else return;
    press.preventDefault();
  }

  function onKey(press) {
    if (press.ctrlKey || press.metaKey || press.altKey) return;
    const typing = document.activeElement === byId("search");
    if (press.key === "Escape") {
      if (typing || (state.search && state.zoom === 0)) { search(""); canvas.focus({ preventScroll: true }); }
      else zoomTo(0);
    } else if (typing || document.activeElement === byId("column")) {
      return;
    } else if (press.key === "/") {
      byId("search").focus();
      byId("search").select();
    } else if (press.key === "i" || press.key === "I") {
      setView(!state.icicle);
    } else if (press.key === "t" || press.key === "T") {
      byId("theme").click();
    } else {
      return;
    }
    press.preventDefault();
  }

  function onPointer(move) {
    const place = canvas.getBoundingClientRect();
    const node = nodeAt(move.clientX - place.left, move.clientY - place.top);
    canvas.style.cursor = node < 0 ? "default" : "pointer";
    if (node !== state.hover) { state.hover = node; showStatus(node); schedule(); }
    showTooltip(node, move.clientX, move.clientY);
  }

  function leave() {
    state.hover = -1;
    tooltip.hidden = true;
    showStatus(-1);
    schedule();
  }

  function makeTabs() {
    if (data.events.length < 2) return;
    const tabs = byId("tabs");
    tabs.hidden = false;
    data.events.forEach((other, i) => {
      index(other);
      const tab = element("button", "", other.name);
      tab.type = "button";
      tab.setAttribute("role", "tab");
      tab.append(element("small", "", show(other.total[0][0], other.columns[0][1])));
      tab.addEventListener("click", () => { setEvent(i); remember(); });
      tabs.append(tab);
    });
    tabs.addEventListener("keydown", (press) => {
      const step = press.key === "ArrowRight" ? 1 : press.key === "ArrowLeft" ? -1 : 0;
      if (!step) return;
      setEvent((state.event + step + data.events.length) % data.events.length);
      remember();
      tabs.children[state.event].focus();
    });
  }

  // With a script, a site in the table searches for itself.
  function linkSites() {
    for (const name of document.querySelectorAll(".site .name")) {
      const button = element("button", "", name.textContent);
      button.type = "button";
      button.title = "Find in the graph";
      button.addEventListener("click", () => {
        search(button.textContent);
        byId("graph").scrollIntoView({ block: "start" });
      });
      name.replaceChildren(button);
    }
  }

  data.events.forEach((other, i) => { other.section = "event-" + i; });
  data.events = data.events.filter((other) => other.columns.length > 0);
  if (data.events.length === 0) return;
  byId("graph").hidden = false;
  readPalette();
  makeTabs();
  linkSites();
  restore();

  canvas.addEventListener("pointermove", (move) => { if (move.pointerType !== "touch") onPointer(move); });
  canvas.addEventListener("pointerleave", leave);
  canvas.addEventListener("click", (press) => {
    const place = canvas.getBoundingClientRect();
    const node = nodeAt(press.clientX - place.left, press.clientY - place.top);
    if (node < 0) return;
    state.selected = node;
    zoomTo(node);
    showStatus(node);
  });
  canvas.addEventListener("keydown", onCanvasKey);
  canvas.addEventListener("focus", schedule);
  canvas.addEventListener("blur", leave);
  pane.addEventListener("scroll", () => { tooltip.hidden = true; schedule(); });
  document.addEventListener("keydown", onKey);
  byId("search").addEventListener("input", (change) => search(change.target.value));
  byId("reset").addEventListener("click", () => zoomTo(0));
  byId("column").addEventListener("change", (change) => setColumn(Number(change.target.value)));
  for (const button of byId("view").children) {
    button.addEventListener("click", () => setView(button.dataset.view === "icicle"));
  }
  byId("theme").addEventListener("click", () => { setTheme(isDark() ? "light" : "dark"); remember(); });
  darkQuery.addEventListener("change", () => setTheme(""));
  window.addEventListener("hashchange", restore);
  let lastWidth = window.innerWidth;
  window.addEventListener("resize", () => {
    resize();
    if (window.innerWidth !== lastWidth) showRoot();
    lastWidth = window.innerWidth;
  });
})();
