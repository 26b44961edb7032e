// The page's own code; DataTables (from itables) and Bokeh, which do the work, are embedded too.
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

const bare = { topStart: null, topEnd: null, bottomStart: null, bottomEnd: null };

function overview(DataTable) {
  new DataTable("#overview", {
    paging: false, searching: false, autoWidth: false, titleRow: 1, order: [[0, "asc"]], layout: bare,
  });
}

function leaderboard(DataTable) {
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
      const spread = some ? `<span class="range">± ${sd ? sd.toFixed(digits) : 0}</span>` : "";
      return link(row, bound + value.toFixed(digits)) + spread;
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
        element("span", about.head, { title: about.title }).outerHTML,
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
    layout: { ...bare, bottomStart: "info" },
    language: { info: "_TOTAL_ rows shown", infoEmpty: "No rows shown", infoFiltered: "of _MAX_" },
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

// --- latent spaces: two views of the same cells --------------------------------------------------

const decoded = (text, Kind) => {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Kind(bytes.buffer);
};

async function viewer() {
  document.head.append(element("script", byId("bokeh").textContent));
  const { docs, items } = data("plot-data");
  await Bokeh.embed.embed_items(docs, items);
  const find = (name) => Bokeh.documents.at(-1).get_model_by_name(name);
  const cells = find("cells");
  const plots = { left: find("left"), right: find("right") };
  const { x_range, y_range } = plots.left; // the right one has the same
  const form = byId("view");
  const { dataset, space } = form.elements;
  let shown = null;
  let lifted = null; // side and number of the highlighted group

  function fill(select, entries, otherwise) {
    const before = select.selectedOptions[0]?.text;
    select.replaceChildren(...entries.map(({ title }, i) => option(i, title)));
    const again = entries.findIndex(({ title }) => title === before);
    select.selectedIndex = again < 0 ? Math.min(otherwise, entries.length - 1) : again;
  }
  const by = (side) => shown.colours[form.elements[side].value];
  function all() {
    const xy = decoded(shown.spaces[space.value].xy, Int16Array);
    const side = (values) => [Math.min(...values), Math.max(...values)];
    const [x, y] = [side(xy.subarray(0, shown.cells)), side(xy.subarray(shown.cells))];
    const edge = 0.04 * Math.max(x[1] - x[0], y[1] - y[0], 1);
    for (const [range, [low, high]] of [[x_range, x], [y_range, y]]) {
      const [start, end] = [low - edge, high + edge];
      range.setv({ start, end, reset_start: start, reset_end: end });
    }
  }
  function draw() {
    const view = shown.spaces[space.value];
    const xy = decoded(view.xy, Int16Array);
    const columns = {
      x: Float32Array.from(xy.subarray(0, shown.cells)),
      y: Float32Array.from(xy.subarray(shown.cells)),
    };
    const codes = {};
    for (const side of ["left", "right"]) {
      const { codes: packed, width, names, title } = by(side);
      codes[side] = Array.from(decoded(packed, width === 1 ? Uint8Array : Uint16Array));
      columns[side] = codes[side].map((c) => names[c]);
      plots[side].title.text = title;
      plots[side].below[0].axis_label = `${view.axes} 1`;
      plots[side].left[0].axis_label = `${view.axes} 2`;
      groups(side, codes[side]);
    }
    const picked = lifted && codes[lifted.side].map((c) => c === lifted.group);
    columns.alpha = codes.left.map((_, i) => (!picked ? 0.75 : picked[i] ? 1 : 0.35));
    for (const side of ["left", "right"]) {
      const colours = by(side).colours;
      columns[`${side}_colour`] = codes[side].map((c, i) => (!picked || picked[i] ? colours[c] : "#E3E3E3"));
    }
    cells.data = columns;
    const what = `${shown.title}: ${shown.cells.toLocaleString("en")} of ` +
      `${shown.of.toLocaleString("en")} cells in the latent space of ${view.title}`;
    for (const side of ["left", "right"]) {
      byId(`space-${side}`).setAttribute("aria-label", `${what}, coloured by ${by(side).title}.`);
    }
    byId("space-said").textContent = `${what}; left: ${by("left").title}, right: ${by("right").title}.`;
  }
  function groups(side, codes) {
    const { names, colours } = by(side);
    const counts = names.map(() => 0);
    for (const c of codes) counts[c] += 1;
    const place = byId(`groups-${side}`);
    place.replaceChildren(
      ...names.map((name, group) => {
        const button = element("button", `${name} (${counts[group].toLocaleString("en")})`, { type: "button" });
        const here = lifted?.side === side && lifted.group === group;
        button.setAttribute("aria-pressed", here);
        button.style.setProperty("--swatch", colours[group]);
        button.addEventListener("click", () => {
          lifted = here ? null : { side, group };
          draw();
          place.children[group].focus();
        });
        return button;
      }),
    );
  }
  function open() {
    shown = data(`cells-${dataset.value}`);
    fill(space, shown.spaces, 0);
    // by truth and by the space's own clusters; without a truth, by two methods' clusters
    const own = shown.colours.findIndex(({ method }) => method === shown.spaces[space.value].method);
    fill(form.elements.left, shown.colours, shown.labelled ? 0 : own < 0 ? 1 : own);
    fill(form.elements.right, shown.colours, shown.labelled && own > 0 ? own : own === 1 ? 2 : 1);
    lifted = null;
    draw();
    all();
  }
  function zoom(factor, right = 0, up = 0) {
    for (const [range, move] of [[x_range, right], [y_range, up]]) {
      const [middle, half] = [(range.start + range.end) / 2, (range.end - range.start) / 2];
      const to = middle + move * half;
      range.setv({ start: to - half * factor, end: to + half * factor });
    }
  }
  dataset.addEventListener("change", open);
  space.addEventListener("change", () => { draw(); all(); });
  for (const side of ["left", "right"]) {
    form.elements[side].addEventListener("change", () => { lifted = null; draw(); });
    byId(`space-${side}`).addEventListener("keydown", (event) => {
      const keys = {
        ArrowLeft: () => zoom(1, -0.3), ArrowRight: () => zoom(1, 0.3),
        ArrowUp: () => zoom(1, 0, 0.3), ArrowDown: () => zoom(1, 0, -0.3),
        "+": () => zoom(0.6), "-": () => zoom(1 / 0.6), 0: all,
      };
      if (!keys[event.key] || event.ctrlKey || event.metaKey || event.target !== event.currentTarget) return;
      event.preventDefault();
      keys[event.key]();
    });
  }
  form.elements.in.addEventListener("click", () => zoom(0.6));
  form.elements.out.addEventListener("click", () => zoom(1 / 0.6));
  form.elements.all.addEventListener("click", all);
  open();
  byId("spaces").dataset.ready = "";
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
  for (const part of document.querySelectorAll("details:not([open])")) {
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
addEventListener("DOMContentLoaded", () => location.hash && unfold());
const parsed = new Promise((done) => addEventListener("DOMContentLoaded", done));
async function start() { // a page has only what it needs: sortable tables, latent spaces, or both
  if (byId("datatables")) {
    const { default: DataTable } = await library("datatables");
    DataTable.ext.errMode = "throw";
    if (byId("overview")) overview(DataTable);
    if (byId("board-data")) leaderboard(DataTable);
  }
  document.documentElement.dataset.ready = Math.round(performance.now()); // tests wait for it
  await parsed; // the cells are at the end of the page
  if (byId("bokeh")) await viewer();
}
start();
