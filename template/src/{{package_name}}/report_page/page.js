"use strict";

// Draws the charts, sorts tables and shows the samples behind a cell of the confusion matrix.
// Texts of the run reach the page as `textContent` only.
(() => {
  const root = document.documentElement;
  root.classList.add("scripted");
  const data = JSON.parse(document.getElementById("page-data").textContent);
  const PALETTE = 8;

  function element(name, text, kind) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  }

  // --- Charts ---------------------------------------------------------------------------------

  // An SVG takes the style sheet's colours by name, and so follows it.
  const colour = (name) => `var(--${name})`;

  function theme() {
    const axis = {
      domainColor: colour("line"),
      gridColor: colour("line"),
      gridOpacity: 0.6,
      labelColor: colour("quiet"),
      labelFontSize: 12,
      labelOverlap: true,
      tickColor: colour("line"),
      tickCount: 5,
      titleColor: colour("quiet"),
      titleFontSize: 12,
      titleFontWeight: "normal",
      titlePadding: 8,
    };
    const names = [...Array(PALETTE).keys()].map((place) => colour(`s${place}`));
    return {
      aria: false, // the element around it says what a chart shows
      background: "transparent",
      font: getComputedStyle(document.body).fontFamily,
      view: { stroke: "transparent" },
      axis,
      axisX: { grid: false },
      range: { category: names },
      bar: { color: names[0] },
    };
  }

  // Exponential mean of everything before, of which `share` is kept at each point.
  function smoothed(values, share) {
    let mean = 0;
    let weight = 0;
    return values.map((value) => {
      mean = share * mean + (1 - share) * value;
      weight = share * weight + (1 - share);
      return mean / weight;
    });
  }

  function rowsOf(chart, share) {
    return chart.series.flatMap((series, place) => {
      const values = place === 0 && share > 0 ? smoothed(series.y, share) : series.y;
      return series.x.map((x, index) => ({
        x,
        y: values[index],
        series: series.name,
        look: series.look,
      }));
    });
  }

  function extent(chart) {
    const places = chart.series.flatMap((series) => series.x);
    return places.reduce(
      ([low, high], x) => [Math.min(low, x), Math.max(high, x)],
      [Infinity, -Infinity],
    );
  }

  async function draw(figure) {
    const chart = data.charts[figure.dataset.chart];
    const { view } = await vegaEmbed(figure.querySelector(".plot > div"), chart.spec, {
      actions: false,
      ast: true,
      config: theme(),
      logLevel: 1, // errors alone: it warns of charts whose series are all hidden
      mode: "vega-lite",
      renderer: "svg",
      tooltip: { theme: matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light" },
      patch: (spec) => {
        spec.data.find((source) => source.name === "rows").values = rowsOf(chart, 0);
        return spec;
      },
    });
    return { chart, view };
  }

  function zoom(drawn, range) {
    const [low, high] = extent(drawn.chart);
    const inside = range && [Math.max(low, range[0]), Math.min(high, range[1])];
    const isAll = !inside || (inside[0] <= low && inside[1] >= high);
    drawn.view.signal("zoomed", isAll ? null : inside).run();
  }

  function zoomBy(drawn, factor) {
    const [from, to] = drawn.view.signal("zoomed") || extent(drawn.chart);
    const middle = (from + to) / 2;
    const half = ((to - from) / 2) * factor;
    zoom(drawn, [middle - half, middle + half]);
  }

  function listen(figure, drawn) {
    const { view } = drawn;
    const boxes = [...figure.querySelectorAll("[data-series]")];
    for (const box of boxes) {
      box.addEventListener("change", () => {
        const hidden = boxes.filter((one) => !one.checked).map((one) => Number(one.dataset.series));
        view.signal("hidden", hidden.map((place) => drawn.chart.series[place].name)).run();
      });
    }
    const slider = figure.querySelector("[data-smooth]");
    slider?.addEventListener("input", () => {
      view.data("rows", rowsOf(drawn.chart, Number(slider.value) / 100)).run();
    });
    const ways = {
      in: () => zoomBy(drawn, 0.5),
      out: () => zoomBy(drawn, 2),
      reset: () => zoom(drawn, null),
    };
    for (const button of figure.querySelectorAll("[data-zoom]")) {
      button.addEventListener("click", ways[button.dataset.zoom]);
    }
    if (figure.querySelector("[data-zoom]")) zoomByHand(figure, drawn);
  }

  // A range that is drawn becomes what is shown; with Ctrl, the wheel zooms, too.
  function zoomByHand(figure, drawn) {
    const plot = figure.querySelector(".plot");
    let range = null;
    drawn.view.addSignalListener("brush", (_, brushed) => {
      range = brushed && brushed.x ? brushed.x : null;
    });
    window.addEventListener("pointerup", () => {
      if (!range || range[0] === range[1]) return;
      const chosen = range;
      range = null;
      drawn.view.signal("brush_x", []);
      zoom(drawn, chosen);
    });
    plot.addEventListener(
      "wheel",
      (event) => {
        if (!event.ctrlKey && !event.metaKey) return;
        event.preventDefault();
        zoomBy(drawn, event.deltaY < 0 ? 0.8 : 1.25);
      },
      { passive: false },
    );
  }

  // --- Tables ---------------------------------------------------------------------------------

  function sortBy(header, column) {
    const isAscending = header.getAttribute("aria-sort") === "descending";
    const table = header.closest("table");
    for (const other of table.tHead.rows[0].cells) {
      if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
    }
    header.setAttribute("aria-sort", isAscending ? "ascending" : "descending");
    const body = table.tBodies[0];
    const compare = (one, other) => {
      const [a, b] = [one.cells[column], other.cells[column]];
      const order =
        "value" in a.dataset && "value" in b.dataset
          ? Number(a.dataset.value) - Number(b.dataset.value)
          : a.textContent.localeCompare(b.textContent, undefined, { numeric: true });
      return isAscending ? order : -order;
    };
    body.append(...[...body.rows].sort(compare));
  }

  for (const button of document.querySelectorAll(".sort")) {
    const header = button.closest("th");
    button.addEventListener("click", () => sortBy(header, header.cellIndex));
  }

  // --- Confusion ------------------------------------------------------------------------------

  const percent = (share) => `${(100 * share).toFixed(1)}%`;

  function sampleItem(sample) {
    const { names, pictures, excerpts, sounds } = data.confusion;
    const [place, truth, answer, runnerUp, probability, second, index] = sample;
    const item = element("li");
    const picture = pictures[index];
    if (picture) {
      const image = element("img");
      image.src = picture;
      image.alt = "";
      item.append(image);
    }
    if (sounds[index]) {
      const player = element("audio");
      player.controls = true;
      player.preload = "none";
      player.src = sounds[index];
      player.setAttribute("aria-label", place);
      item.append(player);
    }
    const body = element("div", undefined, picture ? "body" : "body no-picture");
    body.append(
      element("p", place, "file"),
      element("p", `truth: ${names[truth]}`),
      element("p", `answer: ${names[answer]} (${percent(probability)})`),
    );
    if (runnerUp !== null) {
      body.append(element("p", `runner-up: ${names[runnerUp]} (${percent(second)})`));
    }
    if (excerpts[index]) body.append(element("p", excerpts[index], "excerpt"));
    item.append(body);
    return item;
  }

  function showCell(truth, answer) {
    const { names, cells, counts } = data.confusion;
    const key = `${truth},${answer}`;
    const kept = cells[key] || [];
    const count = counts[key] || 0;
    const panel = document.getElementById("chosen-cell");
    const part = kept.length < count ? `${kept.length} of ${count} are kept in this page` : `${count}`;
    const what =
      truth === answer
        ? `${names[truth]}, answered rightly: ${part}`
        : `${names[truth]}, taken for ${names[answer]}: ${part}`;
    const list = element("ul", undefined, "samples");
    list.tabIndex = 0; // it scrolls
    list.setAttribute("aria-label", what);
    list.append(...kept.map(sampleItem));
    panel.replaceChildren(element("h4", what), list);
    for (const pressed of document.querySelectorAll(".confusion [aria-pressed='true']")) {
      pressed.setAttribute("aria-pressed", "false");
    }
    document.querySelector(`.confusion [data-cell="${key}"]`)?.setAttribute("aria-pressed", "true");
  }

  function showAs(kind) {
    for (const button of document.querySelectorAll(".confusion [data-count]")) {
      button.textContent = kind === "shares" ? button.dataset.share : button.dataset.count;
    }
    for (const button of document.querySelectorAll("[data-show]")) {
      button.setAttribute("aria-pressed", String(button.dataset.show === kind));
    }
  }

  for (const button of document.querySelectorAll("[data-show]")) {
    button.addEventListener("click", () => showAs(button.dataset.show));
  }
  const cellOf = (button) => button.dataset.cell.split(",").map(Number);
  for (const button of document.querySelectorAll("[data-cell]")) {
    button.addEventListener("click", () => {
      showCell(...cellOf(button));
      if (button.classList.contains("cell")) {
        document.getElementById("chosen-cell").scrollIntoView({ block: "nearest" });
      }
    });
  }

  // The matrix is one stop of the Tab key. Left and right go through its cells in reading order, up
  // and down stay in a column; cells without samples are passed over.
  function moveByArrows(matrix) {
    const cells = [...matrix.querySelectorAll("[data-cell]")];
    const columnOf = (button) => button.closest("td").cellIndex;
    const enter = (button) => {
      for (const one of cells) one.tabIndex = one === button ? 0 : -1;
    };
    const inColumn = (from, step) => {
      const column = columnOf(from);
      let place = cells.indexOf(from) + step;
      while (cells[place] && columnOf(cells[place]) !== column) place += step;
      return cells[place];
    };
    const ways = {
      ArrowLeft: (from) => cells[cells.indexOf(from) - 1],
      ArrowRight: (from) => cells[cells.indexOf(from) + 1],
      ArrowUp: (from) => inColumn(from, -1),
      ArrowDown: (from) => inColumn(from, 1),
      Home: () => cells[0],
      End: () => cells[cells.length - 1],
    };
    matrix.addEventListener("keydown", (event) => {
      const isPlain = !event.ctrlKey && !event.metaKey && !event.altKey && !event.shiftKey;
      if (!isPlain || !cells.includes(event.target) || !(event.key in ways)) return;
      event.preventDefault();
      ways[event.key](event.target)?.focus();
    });
    matrix.addEventListener("focusin", (event) => {
      if (cells.includes(event.target)) enter(event.target);
    });
    enter(cells[0]);
  }

  // Many classes: a picture with a pixel for each cell. Its most confused pairs are a table, too.
  function heatmap(canvas) {
    const { names, counts } = data.confusion;
    const size = names.length;
    const told = document.getElementById("pointed-cell");
    const totals = Array(size).fill(0);
    const cells = Object.entries(counts).map(([key, count]) => {
      const [truth, answer] = key.split(",").map(Number);
      totals[truth] += count;
      return { truth, answer, count };
    });
    canvas.width = canvas.height = size;
    const context = canvas.getContext("2d");
    const paint = () => {
      const [red, green, blue] = getComputedStyle(root)
        .getPropertyValue("--heat")
        .trim()
        .split(/\s+/);
      context.clearRect(0, 0, size, size);
      for (const { truth, answer, count } of cells) {
        // rare confusions are what one looks for
        const share = 0.15 + 0.85 * Math.sqrt(count / totals[truth]);
        context.fillStyle = `rgba(${red}, ${green}, ${blue}, ${share})`;
        context.fillRect(answer, truth, 1, 1);
      }
    };
    const cellAt = (event) => {
      const box = canvas.getBoundingClientRect();
      const at = (offset, length) =>
        Math.max(0, Math.min(size - 1, Math.floor((offset / length) * size)));
      return [
        at(event.clientY - box.top, box.height),
        at(event.clientX - box.left, box.width),
      ];
    };
    canvas.addEventListener("pointermove", (event) => {
      const [truth, answer] = cellAt(event);
      const count = counts[`${truth},${answer}`] || 0;
      told.textContent = `${names[truth]}, taken for ${names[answer]}: ${count}`;
    });
    canvas.addEventListener("click", (event) => showCell(...cellAt(event)));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
    paint();
  }

  // --- All of it ------------------------------------------------------------------------------

  async function start() {
    const first = document.querySelector(".cell[data-cell]");
    if (first) showCell(...cellOf(first));
    const matrix = document.querySelector("table.confusion");
    if (matrix) moveByArrows(matrix);
    const canvas = document.querySelector(".heatmap canvas");
    if (canvas) heatmap(canvas);
    for (const figure of document.querySelectorAll("[data-chart]")) {
      listen(figure, await draw(figure));
    }
    root.dataset.drawn = "";
  }

  start();
})();
