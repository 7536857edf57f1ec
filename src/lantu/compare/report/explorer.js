// The part of the report that one can work in: a table, a scatter plot and parallel coordinates over the same runs.
// Everything is drawn from the JSON beside it. Text enters the page as text only, never as HTML.
"use strict";
(() => {
  const root = document.getElementById("explorer");
  const data = JSON.parse(document.getElementById("explorer-data").textContent);
  const columns = data.columns.map(decoded);
  const count = data.ids.length;
  const byName = new Map(columns.map((column) => [column.name, column]));
  const PAGE = 20, PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F"];
  const state = { text: "", brushes: new Map(), box: null, sort: data.score, down: data.higher.includes(data.score), page: 0,
    picked: [], x: data.x, y: data.score, colour: data.colour, logX: false, logY: false, hovered: -1 };
  let shown = [], isShown = new Uint8Array(count), colours = [];

  root.hidden = false;
  const find = (name) => root.querySelector(`[data-part="${name}"]`);
  const [scatter, parallel, tip] = ["scatter", "parallel", "tip"].map(find);

  // Columns

  function decoded(column) {
    if (!column.words) return { ...column, number: true };
    const values = column.codes.map((code) => (code < 0 ? null : column.words[code]));
    return { ...column, number: false, values, ranks: column.codes.map((code) => (code < 0 ? null : code)) };
  }
  const placed = (column, row) => (column.number ? column.values[row] : column.ranks[row]);
  const said = (column, row) => {
    const value = column.values[row];
    return value === null ? "" : column.number ? brief(value) : value;
  };
  function brief(value) {
    const size = Math.abs(value);
    if (size !== 0 && (size < 1e-3 || size >= 1e6)) return Number(value.toPrecision(3)).toExponential().replace("e+", "e");
    return String(Number(value.toPrecision(5)));
  }
  function extent(column, rows) {
    let low = Infinity, high = -Infinity;
    for (const row of rows) {
      const value = placed(column, row);
      if (value !== null) { low = Math.min(low, value); high = Math.max(high, value); }
    }
    return low <= high ? [low, high] : [0, 1];
  }
  function roomy(column, span) { // so that words, which lie side by side, do not touch the frame
    return column.number ? span : [span[0] - 0.5, span[1] + 0.5];
  }
  const everyRow = Array.from({ length: count }, (_, row) => row);

  // What is shown: words and conditions of the search, brushes on the parallel axes, a box in the scatter plot

  function conditions(text) {
    return text.trim().split(/\s+/).filter(Boolean).map((word) => {
      const [, name, sign, value] = word.match(/^([^<>=]+)(<=|>=|<|>|=)(.+)$/) || [];
      const column = name && columns.find((each) => each.name === name || each.name.endsWith("/" + name));
      if (!column) return (row) => columns.some((each) => !each.number && said(each, row).toLowerCase().includes(word.toLowerCase()))
        || data.ids[row].startsWith(word.toLowerCase());
      const wanted = Number(value);
      if (sign === "=") return (row) => (column.number ? column.values[row] === wanted : said(column, row) === value);
      const holds = { "<": (v) => v < wanted, ">": (v) => v > wanted, "<=": (v) => v <= wanted, ">=": (v) => v >= wanted }[sign];
      return (row) => column.number && column.values[row] !== null && holds(column.values[row]);
    });
  }
  function within(column, [low, high], row) {
    const value = placed(column, row);
    return value !== null && value >= low && value <= high;
  }
  function filter() {
    const tests = conditions(state.text);
    for (const [name, span] of state.brushes) tests.push((row) => within(byName.get(name), span, row));
    if (state.box) tests.push((row) => within(byName.get(state.x), state.box[0], row) && within(byName.get(state.y), state.box[1], row));
    shown = everyRow.filter((row) => tests.every((test) => test(row)));
    isShown.fill(0);
    for (const row of shown) isShown[row] = 1;
    const column = byName.get(state.sort), sign = state.down ? -1 : 1;
    shown.sort((a, b) => {
      const [one, other] = [column.values[a], column.values[b]];
      if (one === null || other === null) return (one === null) - (other === null);
      return sign * (column.number ? one - other : one < other ? -1 : one > other ? 1 : 0);
    });
    state.page = 0;
    draw();
  }

  // Colours

  function colourAll() {
    const column = byName.get(state.colour);
    if (!column.number) { colours = column.ranks.map((rank) => (rank === null ? PALETTE[6] : PALETTE[rank % 6])); return; }
    const [low, high] = extent(column, everyRow), log = low > 0 && high / low > 20;
    const at = (v) => (log ? Math.log(v / low) / Math.log(high / low) : (v - low) / (high - low || 1));
    colours = column.values.map((value) => (value === null ? PALETTE[6] : mixed(at(value))));
  }
  function mixed(share) { // dark blue to orange, also told apart without red and green
    const [a, b] = [[0, 90, 160], [240, 160, 30]];
    return `rgb(${a.map((from, at) => Math.round(from + share * (b[at] - from))).join(",")})`;
  }
  const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // Canvases

  function context(canvas) {
    const ratio = window.devicePixelRatio || 1, { clientWidth: width, clientHeight: height } = canvas;
    canvas.width = width * ratio; canvas.height = height * ratio;
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    pen.font = "12px system-ui, sans-serif";
    return [pen, width, height];
  }
  function scale([low, high], start, end, log) {
    if (log && low > 0) {
      const linear = scale([Math.log10(low), Math.log10(high)], start, end, false);
      return Object.assign((v) => linear(Math.log10(v)), { back: (p) => 10 ** linear.back(p), log: true });
    }
    const middle = high > low ? 0 : Math.abs(low) / 2 || 0.5, [from, to] = [low - middle, high + middle];
    const pixel = (v) => start + (v - from) / (to - from) * (end - start);
    return Object.assign(pixel, { back: (p) => from + (p - start) / (end - start) * (to - from), log: false });
  }
  function ticks([low, high], log, most) {
    if (log && low > 0) {
      const powers = [];
      for (let e = Math.ceil(Math.log10(low)); e <= Math.log10(high); e++) powers.push(10 ** e);
      if (powers.length > 1) return powers;
      return [low, high];
    }
    const raw = (high - low || 1) / most, size = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((m) => m * size).find((s) => s >= raw), found = [];
    for (let v = Math.ceil(low / step) * step; v <= high + step * 1e-9; v += step) found.push(v);
    return found;
  }
  let axes = {};
  function drawScatter() {
    const [pen, width, height] = context(scatter), [cx, cy] = [byName.get(state.x), byName.get(state.y)];
    const rows = find("zoom").checked ? shown : everyRow;
    const [ex, ey] = [roomy(cx, extent(cx, rows)), roomy(cy, extent(cy, rows))];
    const x = scale(ex, 62, width - 14, state.logX), y = scale(ey, height - 40, 12, state.logY);
    axes = { x, y };
    pen.strokeStyle = ink("--line"); pen.fillStyle = ink("--muted");
    pen.textAlign = "right"; pen.textBaseline = "middle";
    for (const [at, text] of named(cy, ey, y)) { line(pen, 62, at, width - 14, at); pen.fillText(text, 56, at); }
    pen.textAlign = "center"; pen.textBaseline = "top";
    for (const [at, text] of named(cx, ex, x)) pen.fillText(text, at, height - 34);
    pen.fillStyle = ink("--ink"); pen.fillText(state.x, (62 + width - 14) / 2, height - 16);
    pen.save(); pen.translate(10, height / 2 - 14); pen.rotate(-Math.PI / 2); pen.fillText(state.y, 0, -4); pen.restore();
    if (find("trend").value === "contour") drawContour(pen, x, y);
    const radius = count > 2000 ? 2 : 3.5;
    for (const pass of [0, 1]) for (const row of everyRow) if (isShown[row] === pass) dot(pen, row, x, y, radius, pass);
    for (const row of [...state.picked, state.hovered]) if (row >= 0) ring(pen, row, x, y);
    drawTrend(pen, x, y);
  }
  function drawTrend(pen, x, y) { // the best so far along the axis, or the median of neighbours
    const kind = find("trend").value;
    if (kind !== "best" && kind !== "median") return;
    const placedAt = shown.map((row) => spot(row, x, y)).filter(Boolean).sort((a, b) => a[0] - b[0]);
    const up = data.higher.includes(state.y), half = Math.max(2, Math.round(placedAt.length / 24));
    let best = up ? Infinity : -Infinity;
    const points = placedAt.map(([across, down], at) => {
      if (kind === "best") return [across, best = up ? Math.min(best, down) : Math.max(best, down)];
      const near = placedAt.slice(Math.max(0, at - half), at + half + 1).map((each) => each[1]).sort((a, b) => a - b);
      return [across, near[near.length >> 1]];
    });
    pen.strokeStyle = ink("--ink"); pen.lineWidth = 2; pen.beginPath();
    points.forEach(([across, down], at) => {
      if (at && kind === "best") pen.lineTo(across, points[at - 1][1]);
      if (at) pen.lineTo(across, down); else pen.moveTo(across, down);
    });
    pen.stroke(); pen.lineWidth = 1;
  }
  function drawContour(pen, x, y) { // the colour's value between the runs, weighted by 1 / distance² (Shepard 1968)
    const column = byName.get(state.colour);
    if (!column.number) return;
    const known = shown.slice(0, 400).map((row) => [spot(row, x, y), column.values[row]]).filter(([at, v]) => at && v !== null);
    const [low, high] = extent(column, everyRow), [left, right, top, bottom] = [62, scatter.clientWidth - 14, 12, scatter.clientHeight - 40];
    if (known.length < 4 || high <= low) return;
    const [wide, tall] = [(right - left) / 44, (bottom - top) / 28];
    pen.globalAlpha = 0.4;
    for (let a = 0; a < 44; a += 1) for (let b = 0; b < 28; b += 1) {
      let sum = 0, weights = 0;
      for (const [at, value] of known) {
        const weight = 1 / ((at[0] - left - (a + 0.5) * wide) ** 2 + (at[1] - top - (b + 0.5) * tall) ** 2 + 20);
        sum += weight * value; weights += weight;
      }
      pen.fillStyle = mixed(Math.round(8 * (sum / weights - low) / (high - low)) / 8); // eight steps: lines between them show
      const [from, to] = [Math.floor(left + a * wide), Math.floor(top + b * tall)]; // whole pixels: no seams between cells
      pen.fillRect(from, to, Math.floor(left + (a + 1) * wide) - from, Math.floor(top + (b + 1) * tall) - to);
    }
    pen.globalAlpha = 1;
  }
  function named(column, span, to) {
    const values = column.number ? ticks(span, to.log, 5) : column.words.map((_, code) => code).slice(0, 8);
    return values.map((value) => [to(value), column.number ? brief(value) : shortWord(column, value, 12)]);
  }
  function shortWord(column, code, most) { // without the folder or the module that all words have in common
    const words = column.words, first = words[0];
    if (column.start === undefined) {
      let same = 0;
      while (words.length > 1 && same < first.length && words.every((word) => word[same] === first[same])) same += 1;
      const head = words.some((word) => word.length > most) ? first.slice(0, same) : "";
      column.start = Math.max(head.lastIndexOf("/"), head.lastIndexOf(".")) + 1;
    }
    return cut((column.start ? "…" : "") + words[code].slice(column.start), most);
  }
  const cut = (text, most) => (text.length > most ? text.slice(0, most - 1) + "…" : text);
  function line(pen, a, b, c, d) { pen.beginPath(); pen.moveTo(a, b); pen.lineTo(c, d); pen.stroke(); }
  function spot(row, x, y) {
    const [a, b] = [placed(byName.get(state.x), row), placed(byName.get(state.y), row)];
    if (a === null || b === null || (x.log && a <= 0) || (y.log && b <= 0)) return null;
    const aside = ((row * 0.618034) % 1) - 0.5; // runs of one word lie side by side
    return [x(byName.get(state.x).number ? a : a + 0.5 * aside), y(byName.get(state.y).number ? b : b + 0.5 * aside)];
  }
  function dot(pen, row, x, y, radius, pass) {
    const at = spot(row, x, y);
    if (!at) return;
    pen.globalAlpha = pass ? 0.85 : 0.12; pen.fillStyle = colours[row];
    pen.beginPath(); pen.arc(at[0], at[1], radius, 0, 7); pen.fill(); pen.globalAlpha = 1;
  }
  function ring(pen, row, x, y) {
    const at = spot(row, x, y);
    if (!at) return;
    pen.strokeStyle = ink("--ink"); pen.lineWidth = 2;
    pen.beginPath(); pen.arc(at[0], at[1], 7, 0, 7); pen.stroke(); pen.lineWidth = 1;
  }
  let lanes = [];
  function drawParallel() {
    const [pen, width, height] = context(parallel), used = columns.filter((column) => column.axis);
    const [top, bottom] = [30, height - 22];
    lanes = used.map((column, at) => {
      const span = extent(column, everyRow), log = column.number && span[0] > 0 && span[1] / span[0] > 20;
      return { column, span, x: 46 + at * (width - 92) / Math.max(1, used.length - 1), to: scale(span, bottom, top, log) };
    });
    const step = Math.max(1, Math.floor(count / 3000)); // of those that are not chosen a sample shows the shape
    for (const pass of [0, 1]) for (const row of everyRow) {
      if (isShown[row] !== pass || (!pass && row % step)) continue;
      pen.globalAlpha = pass ? Math.max(0.06, Math.min(0.8, 90 / shown.length)) : 0.04; pen.strokeStyle = colours[row];
      polyline(pen, row);
    }
    pen.globalAlpha = 1;
    if (state.hovered >= 0) { pen.strokeStyle = ink("--ink"); pen.lineWidth = 2; polyline(pen, state.hovered); pen.lineWidth = 1; }
    pen.textAlign = "center";
    for (const { column, span, x, to } of lanes) {
      pen.strokeStyle = ink("--muted"); line(pen, x, top, x, bottom);
      pen.fillStyle = ink("--ink"); pen.textBaseline = "top"; pen.fillText(cut(column.name, Math.max(5, Math.floor((width - 92) / used.length / 6.5))), x, 2);
      pen.fillStyle = ink("--muted");
      const ends = column.number ? span.map((value) => brief(Number(value.toPrecision(3)))) : [0, column.words.length - 1].map((code) => shortWord(column, code, 14));
      pen.fillText(ends[1], x, 16); pen.fillText(ends[0], x, bottom + 6);
      const brush = state.brushes.get(column.name);
      if (brush) { pen.fillStyle = ink("--best"); pen.globalAlpha = 0.35; pen.fillRect(x - 7, to(brush[1]) - 3, 14, to(brush[0]) - to(brush[1]) + 6); pen.globalAlpha = 1; }
    }
  }
  function polyline(pen, row) {
    pen.beginPath();
    let begun = false;
    for (const { column, x, to } of lanes) {
      const value = placed(column, row);
      if (value === null || (to.log && value <= 0)) { begun = false; continue; }
      if (begun) pen.lineTo(x, to(value)); else pen.moveTo(x, to(value));
      begun = true;
    }
    pen.stroke();
  }

  // The table, and what differs between two runs

  function drawTable() {
    const head = find("head"), body = find("body"), pages = Math.max(1, Math.ceil(shown.length / PAGE));
    head.replaceChildren(element("th", "compare"), element("th", "run"), ...columns.filter((column) => column.table).map(heading));
    body.replaceChildren(...shown.slice(state.page * PAGE, (state.page + 1) * PAGE).map(tableRow));
    find("count").textContent = `${shown.length.toLocaleString("en")} of ${count.toLocaleString("en")} runs`;
    find("page").textContent = `${state.page + 1} of ${pages}`;
    find("previous").disabled = state.page === 0;
    find("next").disabled = state.page >= pages - 1;
  }
  function heading(column) {
    const cell = document.createElement("th"), button = element("button", column.name);
    cell.scope = "col";
    if (column.number) cell.className = "n";
    if (state.sort === column.name) {
      cell.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      button.append(state.down ? " ▾" : " ▴");
    }
    button.addEventListener("click", () => {
      state.down = state.sort === column.name ? !state.down : data.higher.includes(column.name);
      state.sort = column.name; filter();
    });
    cell.append(button);
    return cell;
  }
  function tableRow(row) {
    const line = document.createElement("tr"), box = document.createElement("input"), first = document.createElement("td");
    box.type = "checkbox"; box.checked = state.picked.includes(row);
    box.setAttribute("aria-label", `compare run ${data.ids[row].slice(0, 8)}`);
    box.addEventListener("change", () => {
      state.picked = box.checked ? [...state.picked, row].slice(-2) : state.picked.filter((each) => each !== row);
      draw();
    });
    first.append(box);
    const run = document.createElement("td"), copy = element("button", data.ids[row].slice(0, 8));
    copy.title = "copy the whole id";
    copy.addEventListener("click", () => copied(data.ids[row], copy));
    run.append(copy);
    if (data.link) {
      const link = element("a", "MLflow");
      link.href = data.link.replace("EXPERIMENT", data.experiments[row]).replace("RUN", data.ids[row]);
      run.append(" ", link);
    }
    line.append(first, run, ...columns.filter((column) => column.table).map((column) => {
      const cell = element("td", said(column, row));
      if (column.number) cell.className = "n";
      return cell;
    }));
    line.addEventListener("pointerenter", () => hover(row));
    return line;
  }
  function copied(text, button) {
    const done = () => { const before = button.textContent; button.textContent = "copied"; setTimeout(() => { button.textContent = before; }, 900); };
    if (navigator.clipboard) navigator.clipboard.writeText(text).then(done, () => window.prompt("run id", text));
    else window.prompt("run id", text);
  }
  const noteCommand = () => state.picked.map((row) => `lantu runs --note ${data.ids[row]} '${find("note").value.replaceAll("'", "'\\''")}'`).join("\n");
  function tellNote() { // a note goes to MLflow by a command: this page reaches no network
    find("noting").hidden = !state.picked.length;
    find("note-command").textContent = find("note").value ? noteCommand() : "";
    find("copy-note").disabled = !find("note").value;
  }
  function drawDifference() {
    tellNote();
    const place = find("difference"), [a, b] = state.picked;
    place.hidden = b === undefined;
    if (b === undefined) return;
    const { names, words, rows: settings, of, left_out: leftOut } = data.settings;
    const all = [...columns.map((column) => [column.name, said(column, a), said(column, b)]),
      ...names.map((name, at) => [name, ...[a, b].map((row) => words[settings[of[row]][at]] ?? "")])];
    const rows = all.filter(([, one, other]) => one !== other).map(([name, one, other]) => {
      const line = document.createElement("tr"), head = element("th", name);
      head.scope = "row";
      line.append(head, element("td", one || "–"), element("td", other || "–"));
      return line;
    });
    find("differing").replaceChildren(...rows);
    find("left-out").textContent = leftOut ? `${leftOut} further settings vary; they are left out of this page for its size.` : "";
    find("one").textContent = data.ids[a].slice(0, 8);
    find("other").textContent = data.ids[b].slice(0, 8);
  }
  function element(name, text) {
    const made = document.createElement(name);
    made.textContent = text;
    return made;
  }

  // Pointer and controls

  function hover(row) {
    if (row === state.hovered) return;
    state.hovered = row;
    drawScatter(); drawParallel();
  }
  function nearest(event) {
    const box = scatter.getBoundingClientRect(), [px, py] = [event.clientX - box.left, event.clientY - box.top];
    let best = -1, least = 144;
    for (const row of shown) {
      const at = spot(row, axes.x, axes.y), far = at ? (at[0] - px) ** 2 + (at[1] - py) ** 2 : Infinity;
      if (far < least) [best, least] = [row, far];
    }
    return best;
  }
  function dragging(canvas, moved, ended) {
    let start = null;
    canvas.addEventListener("pointerdown", (event) => { start = [event.offsetX, event.offsetY]; canvas.setPointerCapture(event.pointerId); });
    canvas.addEventListener("pointermove", (event) => moved(event, start));
    canvas.addEventListener("pointerup", (event) => { if (start) ended(event, start); start = null; });
  }
  dragging(scatter, (event, start) => {
    if (start) {
      drawScatter();
      const pen = scatter.getContext("2d");
      pen.strokeStyle = ink("--best"); pen.strokeRect(start[0], start[1], event.offsetX - start[0], event.offsetY - start[1]);
      return;
    }
    const row = nearest(event);
    hover(row);
    tip.hidden = row < 0;
    if (row < 0) return;
    tip.replaceChildren(element("b", data.ids[row].slice(0, 8)), ...columns.filter((c) => c.table || c.axis).map((c) => element("span", `${c.name}: ${said(c, row)}`)));
    tip.style.left = `${Math.min(event.offsetX + 14, scatter.clientWidth - 190)}px`;
    tip.style.top = `${event.offsetY + 14}px`;
  }, (event, start) => {
    const far = Math.abs(event.offsetX - start[0]) + Math.abs(event.offsetY - start[1]);
    const span = (to, a, b) => [to.back(a), to.back(b)].sort((one, other) => one - other);
    state.box = far < 6 ? null : [span(axes.x, start[0], event.offsetX), span(axes.y, start[1], event.offsetY)];
    filter();
  });
  scatter.addEventListener("pointerleave", () => { tip.hidden = true; hover(-1); });
  dragging(parallel, () => {}, (event, start) => {
    const lane = lanes.reduce((best, each) => (Math.abs(each.x - start[0]) < Math.abs(best.x - start[0]) ? each : best));
    if (Math.abs(lane.x - start[0]) > 40) return;
    if (Math.abs(event.offsetY - start[1]) < 4) state.brushes.delete(lane.column.name);
    else state.brushes.set(lane.column.name, [lane.to.back(start[1]), lane.to.back(event.offsetY)].sort((a, b) => a - b));
    filter();
  });
  function chooseScale(key) { // logarithmic where the values span magnitudes
    const column = byName.get(state[key]), [low, high] = extent(column, everyRow);
    const log = column.number && low > 0 && high / low > 20;
    state[key === "x" ? "logX" : "logY"] = find(`log-${key}`).checked = log;
  }
  chooseScale("x"); chooseScale("y");
  for (const [part, key, chosen] of [["x", "x", state.x], ["y", "y", state.y], ["colour", "colour", state.colour]]) {
    const select = find(part);
    select.append(...columns.map((column) => Object.assign(element("option", column.name), { value: column.name, selected: column.name === chosen })));
    select.addEventListener("change", () => { 
      state[key] = select.value; state.box = null;
      if (key === "colour") colourAll(); else chooseScale(key);
      filter();
    });
  }
  find("search").addEventListener("input", (event) => { state.text = event.target.value; filter(); });
  find("log-x").addEventListener("change", (event) => { state.logX = event.target.checked; draw(); });
  find("log-y").addEventListener("change", (event) => { state.logY = event.target.checked; draw(); });
  for (const part of ["zoom", "trend"]) find(part).addEventListener("change", draw);
  find("note").addEventListener("input", tellNote);
  find("copy-note").addEventListener("click", (event) => copied(noteCommand(), event.target));
  find("clear").addEventListener("click", () => { state.text = find("search").value = ""; state.brushes.clear(); state.box = null; state.picked = []; filter(); });
  find("previous").addEventListener("click", () => { state.page -= 1; drawTable(); });
  find("next").addEventListener("click", () => { state.page += 1; drawTable(); });
  function draw() { drawScatter(); drawParallel(); drawTable(); drawDifference(); }
  colourAll();
  filter();
  new ResizeObserver(() => { drawScatter(); drawParallel(); }).observe(root);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})();
