// The page's own part: DataTables (from itables) and Bokeh do the work, and lie in this file too.
const byId = (id) => document.getElementById(id);
const data = (id) => JSON.parse(byId(id).textContent);
const option = (value, text) => new Option(text, value);

// --- the leaderboard ---------------------------------------------------------------------------

async function library(id) {
  const url = URL.createObjectURL(new Blob([byId(id).textContent], { type: "text/javascript" }));
  try {
    return await import(url);
  } finally {
    URL.revokeObjectURL(url);
  }
}

function element(tag, text, attributes = {}) {
  const made = Object.assign(document.createElement(tag), attributes);
  made.textContent = text;
  return made;
}

async function leaderboard() {
  const { default: DataTable } = await library("datatables");
  DataTable.ext.errMode = "throw";
  const board = data("board-data");
  const form = byId("filters");
  const picked = (name) => form.elements[name].value;
  const statistics = ["mean", "median", "min", "max"];

  const choices = { dataset: board.datasets, cells: board.cells, experiment: board.experiments };
  for (const [name, values] of Object.entries(choices)) {
    const select = form.elements[name];
    select.add(option("", name === "dataset" ? "all data sets" : "all"));
    for (const value of values) select.add(option(value, value));
    select.selectedIndex = name === "experiment" ? 0 : 1;
    select.parentElement.hidden = values.length < 2;
  }
  const metric = form.elements.metric;
  metric.add(option("", "all metrics"));
  for (const { name, title } of board.metrics) metric.add(option(name, title));
  if (matchMedia("(max-width: 40rem)").matches) metric.selectedIndex = 1; // fits beside the names
  const special = {
    prior: (row) => row.prior,
    oracle: (row) => row.kind === "oracle",
    control: (row) => row.kind === "control",
    published: (row) => row.kind === "published",
  };
  for (const [name, is] of Object.entries(special)) {
    const box = form.elements[name];
    const count = board.rows.filter(is).length;
    box.parentElement.querySelector("output").textContent = `(${count})`;
    box.parentElement.hidden = count === 0;
  }

  const score = (row, name) => row.scores[name]?.[statistics.indexOf(picked("statistic"))];
  const number = ({ name, digits }) => ({
    display: (_, __, row) => {
      const value = score(row, name);
      if (value === undefined) return row.dnf ? link(row, "DNF") : "–";
      const sd = row.scores[name][4];
      const bound = row.bounds.includes(name) ? "≥ " : "";
      const some = picked("statistic") === "mean" && sd !== null;
      const spread = some ? ` ± ${sd ? sd.toFixed(digits) : 0}` : "";
      return link(row, bound + value.toFixed(digits) + spread);
    },
  });
  const link = (row, text) => {
    if (!row.href) return text;
    return element("a", text, { href: row.href, title: `runs of ${row.method}` }).outerHTML;
  };
  const missing = (better) => (better === "lower" ? Infinity : -Infinity); // last, best first
  const text = (key) => (_, type, row) =>
    type === "display" ? element("span", row[key]).innerHTML : row[key];
  const plain = (key, digits) => (_, type, row) =>
    type === "display"
      ? (row[key]?.toLocaleString("en", { maximumFractionDigits: digits }) ?? "")
      : (row[key] ?? -1);

  const head = (title, render, more = {}) => ({ title, render, data: null, ...more });
  const columns = [
    head("Method", (_, type, row) => {
      const name = row.method + (row.marks && `\u00a0${row.marks}`);
      const kind = { published: "published", control: "control" }[row.kind];
      if (type !== "display") return name;
      return element("span", name).innerHTML + (kind ? ` <span class="range">${kind}</span>` : "");
    }, { cellType: "th" }),
    head("Data set", text("dataset")),
    head("Cells", text("cells")),
    head("Experiment", text("experiment")),
    ...board.metrics.map((about) =>
      head(
        element("span", about.title).innerHTML,
        (value, type, row) =>
          type === "display"
            ? number(about).display(value, type, row)
            : (score(row, about.name) ?? missing(about.better)),
        {
          className: "number",
          type: "num",
          orderSequence: about.better === "lower" ? ["asc", "desc"] : ["desc", "asc"],
        },
      ),
    ),
    head("Seeds", text("n"), { className: "number" }),
    head("Seconds", plain("seconds", 1), { className: "number", type: "num" }),
    head("Peak MB", plain("memory", 0), { className: "number", type: "num" }),
  ];
  const firstMetric = 4;
  const table = new DataTable("#board", {
    data: board.rows,
    columns,
    createdRow: (tr, row) => {
      tr.className = row.kind;
      tr.cells[0].setAttribute("scope", "row");
    },
    order: [[firstMetric, board.metrics[0]?.better === "lower" ? "asc" : "desc"]],
    paging: false,
    autoWidth: false,
    deferRender: true,
    layout: { topStart: null, topEnd: null, bottomStart: "info", bottomEnd: null },
    language: { info: "_TOTAL_ rows shown", infoEmpty: "No row is shown", infoFiltered: "of _MAX_" },
  });
  table.search.fixed("rows", (_, row) => {
    if (Object.keys(choices).some((name) => picked(name) && row[name] !== picked(name))) return false;
    return Object.entries(special).every(([name, is]) => form.elements[name].checked || !is(row));
  });

  const scoped = () => byId("board").tHead.querySelectorAll("th").forEach((th) => (th.scope = "col"));
  function show({ target } = {}) {
    table.column(1).visible(!picked("dataset"), false);
    table.column(2).visible(!picked("cells") && board.cells.length > 1, false);
    table.column(3).visible(!picked("experiment") && board.experiments.length > 1, false);
    const published = form.elements.published.checked;
    board.metrics.forEach((about, i) => {
      const wanted = picked("metric") ? about.name === picked("metric") : published || !about.published;
      table.column(firstMetric + i).visible(wanted, false);
    });
    if (target?.name === "metric" && picked("metric")) {
      const i = board.metrics.findIndex(({ name }) => name === picked("metric"));
      table.order([firstMetric + i, board.metrics[i].better === "lower" ? "asc" : "desc"]);
    }
    if (target?.name === "statistic") table.rows().invalidate("data");
    const where = picked("dataset") || "all data sets";
    const spread = picked("statistic") === "mean" ? " ± standard deviation" : "";
    const said = `${element("strong", where).outerHTML}, ${picked("statistic")} over seeds${spread}.`;
    table.caption(`<div>${said}</div>`); // the div stays in sight while the table scrolls
    table.draw();
    scoped();
  }
  form.addEventListener("change", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  show();
}

// --- latent spaces, drawn when the viewer is opened --------------------------------------------

const decoded = (text, Kind) => {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Kind(bytes.buffer);
};

async function viewer() {
  const code = element("script", byId("bokeh").textContent);
  document.head.append(code);
  await Bokeh.embed.embed_item(data("plot-data"), "space");
  const find = (name) => Bokeh.documents.at(-1).get_model_by_name(name);
  const [plot, cells] = [find("plot"), find("cells")];
  const form = byId("view");
  const { dataset, space, colour } = form.elements;
  let shown = null;
  let lifted = null; // the group that is picked out

  function fill(select, entries) {
    const before = select.selectedOptions[0]?.text;
    select.replaceChildren(...entries.map(({ title }, i) => option(i, title)));
    const again = entries.findIndex(({ title }) => title === before);
    select.selectedIndex = Math.max(again, 0);
  }
  function coded(by) {
    return decoded(by.codes, by.width === 1 ? Uint8Array : Uint16Array);
  }
  function all() {
    const view = shown.spaces[space.value];
    const xy = decoded(view.xy, Int16Array);
    const side = (values) => [Math.min(...values), Math.max(...values)];
    const [x, y] = [side(xy.subarray(0, shown.cells)), side(xy.subarray(shown.cells))];
    const edge = 0.04 * Math.max(x[1] - x[0], y[1] - y[0], 1);
    for (const [range, [low, high]] of [[plot.x_range, x], [plot.y_range, y]]) {
      const [start, end] = [low - edge, high + edge];
      range.setv({ start, end, reset_start: start, reset_end: end });
    }
  }
  function draw() {
    const view = shown.spaces[space.value];
    const by = shown.colours[colour.value];
    const xy = decoded(view.xy, Int16Array);
    const [truth, codes] = [coded(shown.colours[0]), coded(by)];
    const picks = Array.from(codes);
    cells.data = {
      x: Float32Array.from(xy.subarray(0, shown.cells)),
      y: Float32Array.from(xy.subarray(shown.cells)),
      colour: picks.map((c) => (lifted === null || c === lifted ? by.colours[c] : "#E3E3E3")),
      alpha: picks.map((c) => (lifted === null ? 0.75 : c === lifted ? 1 : 0.35)),
      truth: Array.from(truth, (c) => shown.colours[0].names[c]),
      cluster: by === shown.colours[0] ? picks.map(() => "–") : picks.map((c) => by.names[c]),
    };
    plot.below[0].axis_label = `${view.axes} 1`;
    plot.left[0].axis_label = `${view.axes} 2`;
    const said = `${shown.title}: ${shown.cells.toLocaleString("en")} of ` +
      `${shown.of.toLocaleString("en")} cells in the latent space of ${view.title}, ` +
      `coloured by ${by.title}.`;
    byId("space-said").textContent = said;
    byId("space").setAttribute("aria-label", said);
    groups(by, picks);
  }
  function groups(by, picks) {
    const counts = by.names.map(() => 0);
    for (const c of picks) counts[c] += 1;
    byId("groups").replaceChildren(
      ...by.names.map((name, i) => {
        const button = element("button", `${name} (${counts[i].toLocaleString("en")})`, { type: "button" });
        button.setAttribute("aria-pressed", lifted === i);
        button.style.setProperty("--swatch", by.colours[i]);
        button.addEventListener("click", () => {
          lifted = lifted === i ? null : i;
          draw();
          byId("groups").children[i].focus();
        });
        return button;
      }),
    );
  }
  function open() {
    shown = data(`cells-${dataset.value}`);
    fill(space, shown.spaces);
    fill(colour, shown.colours);
    if (!shown.labelled && colour.selectedIndex === 0) colour.selectedIndex = 1;
    lifted = null;
    draw();
    all();
  }
  function zoom(factor, right = 0, up = 0) {
    for (const [range, move] of [[plot.x_range, right], [plot.y_range, up]]) {
      const [middle, half] = [(range.start + range.end) / 2, (range.end - range.start) / 2];
      const to = middle + move * half;
      range.setv({ start: to - half * factor, end: to + half * factor });
    }
  }
  dataset.addEventListener("change", open);
  space.addEventListener("change", () => { draw(); all(); });
  colour.addEventListener("change", () => { lifted = null; draw(); });
  form.elements.in.addEventListener("click", () => zoom(0.6));
  form.elements.out.addEventListener("click", () => zoom(1 / 0.6));
  form.elements.all.addEventListener("click", all);
  byId("space").addEventListener("keydown", (event) => {
    const keys = {
      ArrowLeft: () => zoom(1, -0.3), ArrowRight: () => zoom(1, 0.3),
      ArrowUp: () => zoom(1, 0, 0.3), ArrowDown: () => zoom(1, 0, -0.3),
      "+": () => zoom(0.6), "-": () => zoom(1 / 0.6), 0: all,
    };
    if (!keys[event.key] || event.ctrlKey || event.metaKey || event.target !== byId("space")) return;
    event.preventDefault();
    keys[event.key]();
  });
  open();
}

// --- the rest ----------------------------------------------------------------------------------

function unfold() { // a link into folded text opens it
  const target = byId(decodeURIComponent(location.hash.slice(1)));
  for (let part = target; part; part = part.parentElement) {
    if (part.tagName === "DETAILS") part.open = true;
  }
  target?.scrollIntoView();
  if (target?.tagName === "DETAILS") target.querySelector("summary").focus({ preventScroll: true });
}
addEventListener("hashchange", unfold);
document.addEventListener("click", (event) => { // the same link a second time
  const link = event.target.closest?.('a[href^="#"]');
  if (link && link.hash === location.hash) unfold();
});

addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details:not([open], .screen)")) {
    part.open = true;
    part.dataset.printed = "";
  }
});
addEventListener("afterprint", () => {
  for (const part of document.querySelectorAll("[data-printed]")) {
    part.open = false;
    delete part.dataset.printed;
  }
});
document.addEventListener("toggle", ({ target }) => {
  if (target.id === "viewer" && !window.Bokeh) viewer();
}, true);
addEventListener("DOMContentLoaded", () => location.hash && unfold());
leaderboard().then(() => {
  document.documentElement.dataset.ready = Math.round(performance.now()); // tests wait for it
});
