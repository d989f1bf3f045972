// Draws the charts of a report from the numbers in #chart-data; see experiments/charts.py for their form.
"use strict";
(() => {
  const find = (id) => document.getElementById(id);
  const data = JSON.parse(find("chart-data").textContent);
  const [curvesChart, seedsChart] = [find("curves"), find("seeds")];
  const hidden = new Set(); // indices of arms
  let metric = data.metrics[0];
  let readCurves = () => {};
  let [cursor, mark] = [null, null]; // where the readouts stand: a value of the axis, the index of a seed or bar

  const add = (parent, name, attributes = {}, text = "") => {
    const svg = parent.namespaceURI === curvesChart.namespaceURI;
    const node = svg ? document.createElementNS(parent.namespaceURI, name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.textContent = text;
    return parent.appendChild(node);
  };
  const colour = (arm) => { // the same in all charts, unless there are more arms than colours
    const order = data.arms.length > 7 ? metric.curves.findIndex((curve) => curve.arm === arm) : arm;
    return `c${order % 7} d${Math.floor(order / 7) % 4}`;
  };
  const named = (arm) => data.arms[arm] || "all seeds";
  const number = (value) => (value === null ? "n/a" : String(Number(value.toPrecision(4))));
  const count = (value) => {
    for (const [unit, letter] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]])
      if (Math.abs(value) >= unit) return `${Number((value / unit).toPrecision(3))}${letter}`;
    return number(value);
  };

  // A scale places values between two pixels; its ticks are round numbers.
  const scale = (low, high, from, to, logarithmic = false) => {
    if (low === high) [low, high] = logarithmic ? [low / 2, high * 2] : [low - (Math.abs(low) / 10 || 1), high + (Math.abs(high) / 10 || 1)];
    const at = logarithmic ? Math.log10 : (value) => value;
    const place = (value) => from + ((to - from) * (at(value) - at(low))) / (at(high) - at(low));
    const rough = (high - low) / Math.max(2, Math.min(6, Math.abs(to - from) / (from > to ? 45 : 70)));
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
    place.ticks = [];
    if (logarithmic && high / low >= 5) {
      for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++)
        for (const factor of high / low < 1000 ? [1, 2, 5] : [1]) {
          const tick = Number(`${factor}e${power}`);
          if (low <= tick && tick <= high) place.ticks.push(tick);
        }
    } else for (let k = Math.ceil(low / step); k <= high / step + 1e-9; k++) place.ticks.push(Number((k * step).toPrecision(10)));
    place.back = (pixel) => low + ((high - low) * (pixel - from)) / (to - from); // of a linear scale
    return place;
  };

  const begin = (chart, height) => {
    chart.replaceChildren();
    const width = Math.max(240, chart.clientWidth);
    chart.setAttribute("viewBox", `0 0 ${width} ${height}`);
    chart.style.height = `${height}px`;
    return width;
  };
  const horizontalAxis = (chart, x, top, bottom, label) => {
    for (const tick of x.ticks) {
      add(chart, "line", { class: "grid", x1: x(tick), x2: x(tick), y1: top, y2: bottom });
      add(chart, "text", { x: x(tick), y: bottom + 16, "text-anchor": "middle" }, count(tick));
    }
    add(chart, "text", { x: (x(x.ticks[0]) + x(x.ticks.at(-1))) / 2, y: bottom + 34, "text-anchor": "middle" }, label);
  };
  const stretches = (values) => { // [first, end) of what is not missing
    const out = [];
    values.forEach((value, index) => {
      if (value === null) return;
      if (out.length && out.at(-1)[1] === index) out.at(-1)[1] = index + 1;
      else out.push([index, index + 1]);
    });
    return out;
  };

  const drawCurves = () => {
    const height = 320, left = 58, right = 14, top = 26, bottom = height - 42;
    const width = begin(curvesChart, height);
    const shown = metric.curves.filter((curve) => !hidden.has(curve.arm));
    const seen = (keys) => shown.flatMap((curve) => keys.flatMap((key) => curve[key])).filter((value) => value !== null);
    const positive = seen(["centre"]).length > 0 && seen(["centre"]).every((value) => value > 0);
    find("log-label").hidden = !positive;
    const logarithmic = positive && find("log").checked;
    const values = seen(["centre", "low", "high"]).filter((value) => !logarithmic || value > 0);
    readCurves = () => {};
    if (!values.length) return void add(curvesChart, "text", { x: left, y: 60 }, "Nothing to show.");
    const places = seen(["x"]), longest = Math.max(...shown.map((curve) => curve.x.length));
    const x = scale(longest > 1 ? Math.min(0, ...places) : Math.min(...places), Math.max(...places), left, width - right);
    const [floor, ceiling] = [Math.min(...values), Math.max(...values)];
    const y = scale(floor, ceiling, bottom, top + 8, logarithmic);
    for (const tick of y.ticks) {
      add(curvesChart, "line", { class: "grid", x1: left, x2: width - right, y1: y(tick), y2: y(tick) });
      add(curvesChart, "text", { x: left - 8, y: y(tick) + 4, "text-anchor": "end" }, count(tick));
    }
    horizontalAxis(curvesChart, x, top + 8, bottom, metric.axis[0].toUpperCase() + metric.axis.slice(1));
    add(curvesChart, "text", { x: 0, y: 14 }, metric.label);
    const height_of = (value) => y(logarithmic ? Math.max(value, floor) : value);
    for (const curve of shown) {
      const point = (key) => (index) => `${x(curve.x[index]).toFixed(1)},${height_of(curve[key][index]).toFixed(1)}`;
      for (const [first, end] of stretches(curve.low.map((low, index) => (curve.high[index] === null ? null : low)))) {
        const indices = Array.from({ length: end - first }, (_, offset) => first + offset);
        const outline = [...indices.map(point("low")), ...indices.reverse().map(point("high"))];
        add(curvesChart, "polygon", { class: `band ${colour(curve.arm)}`, points: outline.join(" ") });
        if (end - first === 1) add(curvesChart, "polyline", { class: `line ${colour(curve.arm)}`, points: outline.join(" ") });
      }
      for (const [first, end] of stretches(curve.centre)) {
        const indices = Array.from({ length: end - first }, (_, offset) => first + offset);
        add(curvesChart, "polyline", { class: `line ${colour(curve.arm)}`, points: indices.map(point("centre")).join(" ") });
        const alone = { class: `dot ${colour(curve.arm)}`, cx: x(curve.x[first]), cy: height_of(curve.centre[first]), r: 4 };
        if (end - first === 1) add(curvesChart, "circle", alone);
      }
    }
    const overlay = add(curvesChart, "g");
    readCurves = () => {
      overlay.replaceChildren();
      if (cursor !== null) add(overlay, "line", { class: "cursor", x1: x(cursor), x2: x(cursor), y1: top, y2: bottom });
      for (const curve of shown) {
        const known = curve.centre.flatMap((value, index) => (value === null ? [] : [index]));
        const nearest = (best, index) => (Math.abs(curve.x[index] - cursor) < Math.abs(curve.x[best] - cursor) ? index : best);
        const index = cursor === null ? known.at(-1) : known.reduce(nearest, known[0]);
        if (index === undefined) { find(`value-${curve.arm}`).textContent = "n/a"; continue; }
        const [centre, low, high] = ["centre", "low", "high"].map((key) => curve[key][index]);
        const interval = low === null ? "" : ` [${number(low)}, ${number(high)}]`;
        find(`value-${curve.arm}`).textContent = number(centre) + interval;
        const there = { class: `dot ${colour(curve.arm)}`, cx: x(curve.x[index]), cy: height_of(centre), r: 4 };
        if (cursor !== null) add(overlay, "circle", there);
      }
      find("place").textContent = cursor === null ? "At the end:" : `After ${count(cursor)} ${cursor === 1 && metric.axis === "updates" ? "update" : metric.axis}:`;
    };
    curvesChart.onpointermove = curvesChart.onpointerdown = (event) => {
      const pixel = ((event.clientX - curvesChart.getBoundingClientRect().left) * width) / curvesChart.clientWidth;
      cursor = Math.round(Math.min(Math.max(...places), Math.max(Math.min(...places), x.back(pixel))));
      readCurves();
    };
    curvesChart.onpointerleave = () => { cursor = null; readCurves(); };
    curvesChart.onkeydown = (event) => {
      const direction = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!direction) return;
      event.preventDefault();
      const grid = [...new Set(places)].sort((a, b) => a - b);
      const now = cursor === null ? grid.length - 1 : grid.findIndex((place) => place >= cursor);
      cursor = grid[Math.min(grid.length - 1, Math.max(0, now + direction))];
      readCurves();
    };
    readCurves();
  };

  const drawLegend = () => {
    const legend = find("legend");
    legend.replaceChildren();
    for (const curve of metric.curves) {
      const row = add(legend, "li"), label = add(row, "label"), box = add(label, "input", { type: "checkbox" });
      box.checked = !hidden.has(curve.arm);
      box.onchange = () => { box.checked ? hidden.delete(curve.arm) : hidden.add(curve.arm); draw(); };
      add(label, "span", { class: `swatch ${colour(curve.arm)}` });
      add(label, "span", {}, named(curve.arm));
      add(row, "output", { id: `value-${curve.arm}` });
      add(row, "small", { class: "soft" }, curve.seeds);
    }
  };

  const drawSeeds = () => {
    const shown = metric.seeds.filter((entry) => !hidden.has(entry.arm));
    find("seed-section").hidden = !shown.length;
    if (!shown.length) return;
    const row = 76, left = 14, right = 14, bottom = shown.length * row + 8;
    const width = begin(seedsChart, bottom + 42);
    const values = shown.flatMap((entry) => [...(entry.dots || []).map((dot) => dot[1]), ...(entry.bars || []).flatMap((bar) => [bar[0], bar[1]])]);
    const x = scale(Math.min(...values), Math.max(...values), left, width - right);
    horizontalAxis(seedsChart, x, 4, bottom, metric.label);
    const marks = []; // what can be pointed at: place, node, text
    shown.forEach((entry, index) => {
      const base = (index + 1) * row - 16, kind = colour(entry.arm), name = named(entry.arm);
      add(seedsChart, "text", { class: "name", x: 0, y: base - 40 }, name);
      (entry.dots || []).forEach(([seed, value], order) => {
        const height = base - 8 - 26 * ((order * 0.6180339887) % 1);
        const node = add(seedsChart, "circle", { class: `dot seed ${kind}`, cx: x(value), cy: height, r: entry.dots.length > 100 ? 3 : 4 });
        marks.push({ x: x(value), y: height, node, text: `${name}, seed ${seed}: ${number(value)}` });
      });
      const tallest = Math.max(...(entry.bars || [[0, 0, 1]]).map((bar) => bar[2]));
      for (const [from, to, many, some] of entry.bars || []) {
        const height = Math.max(1, (34 * many) / tallest), place = { x: x(from), width: Math.max(1, x(to) - x(from) - 1) };
        const node = add(seedsChart, "rect", { class: `dot seed ${kind}`, ...place, y: base - height, height });
        const seeds = `${some.join(", ")}${many > some.length ? ", ..." : ""}`;
        const text = `${name}, ${number(from)} to ${number(to)}: ${many} seed${many === 1 ? "" : "s"} (${seeds})`;
        marks.push({ x: (x(from) + x(to)) / 2, y: base - 17, node, text });
      }
      if (entry.low !== null) add(seedsChart, "line", { class: "interval", x1: x(entry.low), x2: x(entry.high), y1: base + 7, y2: base + 7 });
      const [c, half] = [x(entry.centre), 5];
      add(seedsChart, "polygon", { class: "diamond", points: `${c - half},${base + 7} ${c},${base + 2} ${c + half},${base + 7} ${c},${base + 12}` });
    });
    const show = () => {
      marks.forEach(({ node }, index) => node.classList.toggle("chosen", index === mark));
      find("seed-readout").textContent = mark === null ? "Point at a mark to read which seeds it stands for." : marks[mark].text;
    };
    seedsChart.onpointermove = seedsChart.onpointerdown = (event) => {
      const box = seedsChart.getBoundingClientRect();
      const [px, py] = [((event.clientX - box.left) * width) / box.width, event.clientY - box.top];
      const far = ({ x, y }) => (x - px) ** 2 + (y - py) ** 2;
      mark = marks.reduce((best, candidate, index) => (far(candidate) < far(marks[best]) ? index : best), 0);
      show();
    };
    seedsChart.onkeydown = (event) => {
      const direction = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!direction) return;
      event.preventDefault();
      mark = mark === null ? 0 : (mark + direction + marks.length) % marks.length;
      show();
    };
    const extremes = find("extremes");
    extremes.replaceChildren();
    for (const entry of shown) if (entry.extremes) add(extremes, "p", {}, `${named(entry.arm)}: ${entry.extremes}`);
    mark = null;
    show();
  };

  const draw = () => { drawCurves(); drawSeeds(); };
  const choose = () => { metric = data.metrics[find("metric").selectedIndex]; cursor = null; drawLegend(); draw(); };
  for (const { name } of data.metrics) add(find("metric"), "option", {}, name);
  find("metric").onchange = choose;
  find("log").onchange = draw;
  let width = 0; // drawn again when the width changes; the height changes with what is drawn
  new ResizeObserver(() => { if (curvesChart.clientWidth !== width) { width = curvesChart.clientWidth; draw(); } }).observe(curvesChart);
  choose();
})();
