"use strict";
// Tables that sort and filter (DataTables), plots (Observable Plot), and a cell's own panel.
// Data stands in window.potemkin as text, and becomes nodes of text: nothing is ever read as markup.
(() => {
  const data = window.potemkin ?? {};
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  document.documentElement.classList.add("scripted");

  const element = (name, attributes = {}, ...children) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };
  const shown = (value, digits = 2) => {
    if (value === null || value === undefined) return "–";
    const text = value.toFixed(digits);
    return (Number(text) === 0 ? text.replace("-", "") : text).replace("-", "−");
  };

  const svg = (name, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  const interval = (score, low, high) => {
    const picture = svg("svg", { class: "interval", viewBox: "0 0 100 16", preserveAspectRatio: "none", "aria-hidden": "true" });
    picture.append(svg("line", { class: "axis", x1: 0, x2: 100, y1: 8, y2: 8 }));
    if (low !== null && high !== null) {
      picture.append(svg("rect", { class: "span", x: 100 * low, width: Math.max(0.4, 100 * (high - low)), y: 5, height: 6 }));
    }
    if (score !== null) picture.append(svg("rect", { class: "point", x: Math.max(0, 100 * score - 0.7), width: 1.4, y: 2, height: 12 }));
    return picture;
  };

  // Filters: what the fields above a table ask for, as its own search.
  const filtersOf = (table) => document.querySelector(`.filters[data-for="${CSS.escape(table.id)}"]`);
  const tell = (filters, api, noun) => {
    const count = filters.querySelector(".count");
    const told = () => {
      const { recordsDisplay: now, recordsTotal: total } = api.page.info();
      count.textContent = now === total ? `${total.toLocaleString("en")} ${noun}` : `${now.toLocaleString("en")} of ${total.toLocaleString("en")} ${noun}`;
    };
    api.on("draw", told);
    told();
  };
  const fill = (select, values) => select.append(...values.map((value) => element("option", { value }, value.length > 60 ? `${value.slice(0, 59)}…` : value)));
  const find = (filters, api) => filters.querySelector(".find")?.addEventListener("input", (event) => api.search(event.target.value).draw());

  const plain = { paging: false, info: false, layout: { topStart: null, topEnd: null, bottomStart: null, bottomEnd: null }, autoWidth: false, order: [], orderMulti: false, language: { emptyTable: "There are no rows.", zeroRecords: "No row is like that." } };

  // A board: its rows are in the page.
  for (const table of all("table.board[id^='board-']:not(#board-tasks)")) {
    const filters = filtersOf(table);
    const api = new DataTable(table, plain);
    const checked = (name) => filters.querySelector(`.${name}`)?.checked ?? true;
    api.search.fixed("kinds", (_text, _values, index) => {
      const row = api.row(index).node();
      const division = filters.querySelector(".division")?.value ?? "";
      if (row.classList.contains("folded") && !checked("variants")) return false;
      if (row.classList.contains("control") && !checked("controls")) return false;
      return !division || row.dataset.division === division;
    });
    api.draw();
    for (const field of all(".controls, .variants, .division", filters)) field.addEventListener("change", () => api.draw());
    find(filters, api);
    tell(filters, api, "rows");
  }

  // Lists of methods and of tasks.
  for (const table of all("table.listing")) {
    const filters = filtersOf(table);
    const api = new DataTable(table, plain);
    for (const select of all("select[data-index]", filters)) {
      const column = api.column(Number(select.dataset.index));
      fill(select, [...new Set(column.nodes().toArray().map((cell) => cell.textContent.trim()))].sort());
      select.addEventListener("change", () => column.search.fixed("chosen", select.value ? (_text, _row, index) => api.cell(index, column.index()).node().textContent.trim() === select.value : null).draw());
    }
    find(filters, api);
    tell(filters, api, table.id === "list-methods" ? "methods" : "tasks");
  }

  // A table of data: rows are made when they are shown. Names are numbers into lists, each written once.
  const lookup = (source, name) => {
    const at = source.columns.indexOf(name);
    const names = source.names[name];
    return names ? (row) => names[row[at]] : (row) => row[at];
  };
  const tableOf = (table, source, columns, more = {}) => {
    const filters = filtersOf(table);
    const definition = columns.map(({ name, get, draw, className = "", number = false }) => {
      const value = get ?? lookup(source, name);
      return {
        className,
        searchable: false, // what is searched for is found among the names, each of which is looked at once
        type: number ? "num" : "string",
        data: null,
        defaultContent: "",
        render: (_data, kind, row) => (kind === "sort" && number ? (value(row) ?? -1) : kind === "display" ? "" : String(value(row) ?? "")),
        createdCell: (cell, _text, row) => cell.replaceChildren(draw ? draw(row) : String(value(row) ?? "–")),
      };
    });
    const api = new DataTable(table, {
      ...plain, data: source.rows, columns: definition, deferRender: true, paging: true, pageLength: 25, lengthChange: false,
      layout: { ...plain.layout, bottomStart: "paging" }, ...more,
    });
    const chosen = new Map();
    for (const select of all("select[data-column]", filters)) {
      const name = select.dataset.column;
      const value = lookup(source, name);
      fill(select, [...new Set(source.names[name] ?? source.rows.map((row) => String(value(row))))].filter((one) => one).sort((a, b) => a.localeCompare(b, "en", { numeric: true })));
      const [at, names] = [source.columns.indexOf(name), source.names[name]];
      select.addEventListener("change", () => {
        const wanted = names ? names.indexOf(select.value) : select.value;
        if (!select.value) chosen.delete(name);
        else chosen.set(name, (row) => (names ? row[at] === wanted : String(row[at]) === wanted));
        api.draw();
      });
    }
    api.search.fixed("chosen", (_text, row) => {
      for (const fits of chosen.values()) if (!fits(row)) return false;
      return true;
    });
    const lists = Object.entries(source.names).map(([name, names]) => [source.columns.indexOf(name), names.map((one) => one.toLowerCase())]);
    filters.querySelector(".find")?.addEventListener("input", (event) => {
      const wanted = event.target.value.trim().toLowerCase();
      const found = lists.map(([at, names]) => [at, new Set(names.flatMap((one, number) => (one.includes(wanted) ? [number] : [])))]);
      chosen.set("find", (row) => !wanted || found.some(([at, numbers]) => numbers.has(row[at])) || (row[0].includes?.(wanted) ?? false));
      api.draw();
    });
    tell(filters, api, more.noun ?? "rows");
    return { api, filters };
  };
  const link = (href, text) => element("a", { href }, text);

  const tasks = document.getElementById("board-tasks");
  if (tasks && data.tasks) {
    const source = data.tasks;
    const of = (name) => lookup(source, name);
    tableOf(tasks, source, [
      { name: "task", draw: (row) => link(source.links.task[row[source.columns.indexOf("task")]], of("task")(row)) },
      { name: "network" },
      { name: "explainer" },
      { name: "attack", draw: (row) => link(source.links.attack[row[source.columns.indexOf("attack")]], of("attack")(row)) },
      { name: "defense", draw: (row) => link(source.links.defense[row[source.columns.indexOf("defense")]], of("defense")(row)) },
      { name: "family" },
      { name: "mode" },
      { name: "division" },
      { name: "score", number: true, className: "num score", draw: (row) => shown(of("score")(row)) },
      {
        name: "low", number: true, className: "draw",
        draw: (row) => {
          const [score, low, high] = ["score", "low", "high"].map((name) => of(name)(row));
          const both = document.createDocumentFragment();
          both.append(interval(score, low, high), element("span", { class: "ends" }, low === null ? "" : `[${shown(low)}, ${shown(high)}]`));
          return both;
        },
      },
      { name: "cases", number: true, className: "num" },
    ]);
  }

  // Cells: the address names filters (#attack=...&mode=...) or one cell (#id).
  const cells = document.getElementById("list-cells");
  if (cells && data.cells) {
    const source = data.cells;
    const at = (name) => lookup(source, name);
    const panel = document.getElementById("cell");
    const copyable = (text) => {
      const button = element("button", { type: "button", class: "copy" }, "Copy");
      button.addEventListener("click", () => navigator.clipboard?.writeText(text));
      return element("div", { class: "command" }, element("pre", { tabindex: "0" }, element("code", {}, text)), button);
    };
    const quoted = (text) => (/^[A-Za-z0-9_@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
    const open = (row) => {
      const coordinates = ["task", "attack", "defense", "mode", "seed"].map((name) => String(at(name)(row)));
      const facts = source.facts.map(([title, name]) => [title, at(name)(row)]).filter(([, value]) => value !== null && value !== "");
      const list = element("dl", { class: "facts" });
      for (const [title, value] of facts) list.append(element("dt", {}, title), element("dd", {}, typeof value === "number" ? String(value) : element("span", {}, value)));
      panel.replaceChildren(
        element("h2", {}, coordinates.join(" × ")),
        list,
        element("h3", {}, "Run it again"),
        copyable(["potemkin reproduce", ...coordinates.map(quoted), "--suite", quoted(source.suite)].join(" ")),
        element("h3", {}, "What its id is made of, and what has changed"),
        copyable(`potemkin why ${at("cell")(row)} --suite ${quoted(source.suite)}`),
      );
      panel.hidden = false;
    };
    const { api, filters } = tableOf(cells, source, [
      { name: "cell", draw: (row) => link(`#${at("cell")(row)}`, at("cell")(row).slice(0, 12)) },
      ...["track", "task", "attack", "defense", "mode", "seed", "status"].map((name) => ({ name })),
      { name: "cases", number: true, className: "num" },
      { name: "manipulation", number: true, className: "num score", draw: (row) => shown(at("manipulation")(row)) },
    ], { noun: "cells" });
    const follow = () => {
      const text = location.hash.slice(1);
      if (text.includes("=")) {
        const wanted = new URLSearchParams(text.replaceAll("+", "%2B"));
        for (const select of all("select[data-column]", filters)) {
          select.value = wanted.get(select.dataset.column) ?? "";
          select.dispatchEvent(new Event("change"));
        }
        return;
      }
      const row = text && source.rows.find((one) => at("cell")(one) === text);
      if (row) {
        open(row);
        panel.scrollIntoView({ block: "start" });
      }
    };
    addEventListener("hashchange", follow);
    follow();
    api.draw();
  }

  // Plots: colours are the page's own, so that they follow its theme.
  const draw = (figure) => {
    const plot = data.plots?.[figure.dataset.plot];
    const canvas = figure.querySelector(".canvas");
    if (!plot) return;
    const width = Math.max(300, Math.min(620, canvas.clientWidth || 560));
    const front = plot.points.filter((point) => point.best).sort((a, b) => a.x - b.x || a.y - b.y);
    const named = plot.points.filter((point) => point.best || (!point.control && plot.points.length < 30) || point.floor);
    const spread = plot.points.map((point) => point.x);
    const log = plot.costs && Math.max(...spread) > 20 * Math.max(1, Math.min(...spread));
    const options = (labels) => ({
      width, height: Math.round(width * 0.68), marginLeft: 44, marginBottom: 44, marginRight: 24, marginTop: 24,
      style: { fontFamily: "var(--sans)", fontSize: "12px", background: "transparent", color: "var(--soft)" },
      x: { label: plot.xTitle, nice: true, grid: true, type: log ? "symlog" : "linear", ...(log ? { ticks: [0, 1, 10, 100, 1000, 10000, 100000].filter((tick) => tick <= Math.max(...spread) * 1.2), tickFormat: (tick) => tick.toLocaleString("en") } : {}) },
      y: { label: plot.yTitle, domain: [0, 1], grid: true },
      marks: [
        Plot.line(front, { x: "x", y: "y", curve: plot.costs ? "step-after" : "step-before", stroke: "var(--accent)", strokeOpacity: 0.6, strokeWidth: 1.5 }),
        Plot.dot(plot.points, { x: "x", y: "y", r: 4.5, fill: (point) => (point.control ? "var(--paper)" : point.best ? "var(--accent)" : "var(--soft)"), stroke: (point) => (point.best ? "var(--accent)" : "var(--soft)") }),
        ...labels.map(({ point, dx, dy, anchor }) => Plot.text([point], { x: "x", y: "y", text: () => short(point), dx, dy, textAnchor: anchor, fill: point.best ? "var(--ink)" : "var(--soft)", stroke: "var(--paper)", strokeWidth: 3 })),
        Plot.tip(plot.points, Plot.pointer({ x: "x", y: "y", title: (point) => `${point.name}\n${plot.xTitle}: ${shown(point.x, plot.costs ? 0 : 2)}\n${plot.yTitle}: ${shown(point.y)}`, fill: "var(--card)", stroke: "var(--line)" })),
      ],
    });
    const bare = Plot.plot(options([]));
    const made = Plot.plot(options(placed(named, plot.points, bare.scale("x"), bare.scale("y"), width)));
    for (const part of all("[aria-label]", made)) part.removeAttribute("aria-label"); // the canvas has the one that counts
    canvas.replaceChildren(made);
  };
  const short = (point) => (point.name.length > 28 ? `${point.name.slice(0, 27)}…` : point.name);
  // Names go where they cover no point and no other name; one that finds no place is in the table and the tip.
  const placed = (named, points, x, y, width) => {
    const taken = points.map((point) => box(x.apply(point.x) - 5, y.apply(point.y) - 5, 10, 10));
    const labels = [];
    for (const point of [...named].sort((a, b) => Number(b.best) - Number(a.best))) {
      const [left, top, wide] = [x.apply(point.x), y.apply(point.y), 6.6 * short(point).length];
      for (const [dx, dy, anchor] of [[9, 0, "start"], [-9, 0, "end"], [0, -13, "middle"], [0, 13, "middle"], [9, -11, "start"], [9, 11, "start"], [-9, -11, "end"], [-9, 11, "end"], [0, 24, "middle"], [0, -24, "middle"]]) {
        const from = left + dx - (anchor === "end" ? wide : anchor === "middle" ? wide / 2 : 0);
        const area = box(from, top + dy - 7, wide, 14);
        if (from < 30 || from + wide > width || taken.some((other) => cross(area, other))) continue;
        taken.push(area);
        labels.push({ point, dx, dy, anchor });
        break;
      }
    }
    return labels;
  };
  const box = (left, top, wide, high) => ({ left, top, right: left + wide, bottom: top + high });
  const cross = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
  const figures = all("figure.plot");
  const drawAll = () => figures.forEach(draw);
  if (figures.length && window.Plot) {
    drawAll();
    let waiting;
    addEventListener("resize", () => {
      clearTimeout(waiting);
      waiting = setTimeout(drawAll, 150);
    });
  }

  for (const box of all(".command")) {
    const button = box.querySelector(".copy");
    if (!button || !navigator.clipboard) continue;
    button.hidden = false;
    button.addEventListener("click", () => {
      navigator.clipboard.writeText(box.querySelector("code").textContent);
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy"), 1500);
    });
  }
})();
