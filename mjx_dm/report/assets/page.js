// Hands the page's data to uPlot: which x, which lines, what they look like, and the keyboard.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const style = () => getComputedStyle(document.documentElement);
  const colour = (name) => style().getPropertyValue(`--${name}`).trim();
  const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
  const FONT = "12px system-ui, sans-serif";
  let over = "step";

  function number(value) {
    if (value === null || value === undefined) return "–";
    const size = Math.abs(value);
    if (size >= 1e4) return compact.format(value);
    if (size > 0 && size < 1e-3) return value.toExponential(1);
    return String(Number(value.toPrecision(4)));
  }

  function duration(seconds) {
    if (seconds < 60) return `${Number(seconds.toPrecision(3))} s`;
    const minutes = Math.floor(seconds / 60);
    const rest = Math.round(seconds % 60);
    if (minutes < 60) return rest ? `${minutes} min ${rest} s` : `${minutes} min`;
    return minutes % 60 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : `${minutes / 60} h`;
  }

  const at = (x) => (over !== "step" ? duration(x) : x >= 1000 ? compact.format(x) : number(x));
  const known = (line) => data.x[line.x][over].some((x) => x !== null);

  // One table a line: its x where that is known, then its middle, lower and upper edge.
  function table(spec) {
    const tables = spec.lines.map((line) => {
      const x = data.x[line.x][over];
      const kept = x.map((_, i) => i).filter((i) => x[i] !== null);
      return [x, ...line.y].map((row) => kept.map((i) => row[i]));
    });
    return uPlot.join(tables, spec.lines.map((line) => [1, ...line.y].map(() => 0)));
  }

  // The point of a line that is nearest to the cursor: lines have x values of their own.
  function nearest(plot, series, index) {
    const row = plot.data[series];
    for (let step = 0; step < row.length; step += 1) {
      if (row[index - step] != null) return index - step;
      if (row[index + step] != null) return index + step;
    }
    return index;
  }

  function series(spec) {
    const found = [{}];
    const bands = [];
    const first = [];
    spec.lines.forEach((line) => {
      const ink = () => colour(`line-${line.colour % 8}`);
      first.push(found.length);
      found.push({
        label: line.label, stroke: ink, width: 2, spanGaps: true,
        points: { show: line.y[0].length === 1 || (line.has_points && line.y[0].length <= 60),
                  size: 6, fill: ink },
      });
      if (line.y.length < 3) return;
      bands.push({ series: [found.length + 1, found.length], fill: () => `${ink()}2e` });
      const edge = { stroke: "transparent", width: 0, spanGaps: true, points: { show: false } };
      found.push({ ...edge }, { ...edge });
    });
    return { found, bands, first };
  }

  // Grid lines at powers of ten alone where the axis is logarithmic.
  function round(plot, all) {
    return plot.scales.y.distr === 3 ? all.map((x) => (Math.log10(x) % 1 ? null : x)) : all;
  }

  // A line that is level lies in the middle of its chart.
  function reach(plot, low, high) {
    if (low === null || low !== high) return uPlot.rangeNum(low, high, 0.1, true);
    const room = Math.abs(low) / 10 || 1;
    return [low - room, low + room];
  }

  function axis(values, extra) {
    return {
      stroke: () => colour("quiet"), font: FONT, values,
      grid: { stroke: () => colour("grid"), width: 1, filter: round },
      ticks: { stroke: () => colour("grid"), width: 1, size: 4, filter: round },
      ...extra,
    };
  }

  function draw(spec) {
    const host = document.getElementById(spec.id);
    const { found, bands, first } = series(spec);
    const size = () => ({ width: host.clientWidth, height: host.clientHeight });
    const written = (plot, all) => all.map((value) => (value === null ? "" : number(value)));
    const wide = (plot, all) => 18 + 7 * Math.max(3, ...(all || []).map((text) => text.length));
    const keys = legend(host, spec, (line, shown) => {
      const count = spec.lines[line].y.length;
      for (let i = 0; i < count; i += 1) plot.setSeries(first[line] + i, { show: shown });
    });
    const plot = new uPlot({
      ...size(), series: found, bands,
      legend: { show: false },
      padding: [10, 22, 0, 0],
      scales: { x: { time: false }, y: spec.log ? { distr: 3 } : { range: reach } },
      axes: [
        axis((_, all) => all.map(at), { space: over === "step" ? 60 : 80, size: 28 }),
        axis(written, { size: wide, space: 30 }),
      ],
      cursor: {
        y: false, sync: { key: "run", scales: ["x", null] }, dataIdx: nearest,
        points: { size: 7 },
      },
      hooks: { setCursor: [(self) => keys.read(self, first)] },
    }, table(spec), host);
    host.addEventListener("keydown", (event) => keyboard(event, plot));
    new ResizeObserver(() => plot.setSize(size())).observe(host);
    return { plot, spec };
  }

  // A button for each line, where there are several, and what the cursor is at, in the caption.
  function legend(host, spec, show) {
    const list = document.createElement("ul");
    const place = document.createElement("span");
    list.className = "keys";
    place.className = "at";
    host.previousElementSibling.append(place);
    if (spec.lines.length > 1) host.after(list);
    const outputs = spec.lines.map((line, i) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      const swatch = document.createElement("i");
      const output = document.createElement("output");
      button.type = "button";
      button.setAttribute("aria-pressed", "true");
      swatch.style.background = `var(--line-${line.colour % 8})`;
      button.append(swatch, line.label, output);
      button.addEventListener("click", () => {
        const shown = button.getAttribute("aria-pressed") !== "true";
        button.setAttribute("aria-pressed", String(shown));
        show(i, shown);
      });
      item.append(button);
      list.append(item);
      return output;
    });
    return {
      read(plot, first) {
        const index = plot.cursor.idx;
        const isOn = index !== null && index !== undefined && plot.cursor.left >= 0;
        outputs.forEach((output, i) => {
          const row = plot.data[first[i]];
          output.textContent = isOn ? number(row[nearest(plot, first[i], index)]) : "";
        });
        const only = outputs.length === 1 && isOn ? `${outputs[0].textContent} ` : "";
        place.textContent = isOn ? `${only}at ${at(plot.data[0][index])}` : "";
      },
    };
  }

  function keyboard(event, plot) {
    const x = plot.data[0];
    const { min, max } = plot.scales.x;
    const index = plot.cursor.idx ?? Math.round(x.length / 2);
    const middle = x[index] ?? (min + max) / 2;
    const go = (i) => {
      const to = Math.min(Math.max(i, 0), x.length - 1);
      plot.setCursor({ left: plot.valToPos(x[to], "x"), top: plot.bbox.height / 2 });
    };
    const zoom = (by) =>
      plot.setScale("x", { min: middle - (middle - min) * by, max: middle + (max - middle) * by });
    const does = {
      ArrowLeft: () => go(index - 1), ArrowRight: () => go(index + 1),
      Home: () => go(0), End: () => go(x.length - 1),
      "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2),
      0: () => plot.setData(plot.data, true),
    }[event.key];
    if (!does || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    does();
  }

  const drawn = data.charts.map(draw);
  const radios = [...document.querySelectorAll('input[name="over"]')];
  radios.forEach((radio) => {
    over = radio.value;
    radio.disabled = !data.charts.some((spec) => spec.lines.some(known));
    radio.addEventListener("change", () => {
      over = radio.value;
      drawn.forEach(({ plot, spec }) => plot.setData(table(spec), true));
    });
  });
  over = "step";
  // A reload keeps the radio button that was pressed.
  radios.filter((radio) => radio.checked && radio.value !== over)
    .forEach((radio) => radio.dispatchEvent(new Event("change")));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () =>
    drawn.forEach(({ plot }) => plot.redraw()));

  if (navigator.clipboard) {
    document.querySelectorAll(".command").forEach((box) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = "Copy";
      button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(box.querySelector("code").textContent);
        button.textContent = "Copied";
        setTimeout(() => { button.textContent = "Copy"; }, 2000);
      });
      box.append(button);
    });
  }
})();
