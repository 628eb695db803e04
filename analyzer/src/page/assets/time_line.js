// Memory over time: what each domain holds, on top what each suspect holds, and the kernel's own figures as lines.

/** How many suspects have a layer of their own; more colours nobody can tell apart. */
const SUSPECT_LAYERS = 3;

/** Takes a suspect's memory out of its domain's. What is more than that is in others: the largest first, so that
    the top of the stack stays what is live. */
function takeOut(rest, suspect) {
  suspect.curve.held.forEach((held, at) => {
    const order = [...rest].sort((a, b) => (b.name === suspect.domain) - (a.name === suspect.domain) || b.bytes[at] - a.bytes[at]);
    let left = held;
    for (const series of order) {
      const part = Math.min(left, series.bytes[at]);
      series.bytes[at] -= part;
      left -= part;
    }
  });
}

/** The layers from the bottom to the top, of the host or of its devices. A suspect's memory is taken out of its domain's. */
function timeLineLayers(report, onDevice = false) {
  const { time_line: line, suspects } = report;
  const windows = line.seconds.length;
  const growing = suspects
    .filter((suspect) => isOnDevice(suspect.domain) === onDevice && !["steady", "warm-up"].includes(suspect.verdict) && suspect.curve.held.length === windows)
    .slice(0, SUSPECT_LAYERS);
  const order = (name) => (DOMAINS.includes(name) ? DOMAINS.indexOf(name) : DOMAINS.length);
  const domains = line.domains.filter((series) => isOnDevice(series.name) === onDevice).sort((a, b) => order(a.name) - order(b.name));
  const rest = domains.map((series) => ({ name: series.name, all: series.bytes, bytes: [...series.bytes] }));
  for (const suspect of growing) takeOut(rest, suspect);
  const layers = rest.filter((series) => series.all.some((bytes) => bytes > 0)).map(({ name, bytes }) => {
    const isPart = growing.some((suspect) => suspect.domain === name);
    return { name: isPart ? `other ${name}` : name, bytes, colour: domainVariable(name) };
  });
  growing.forEach((suspect, at) => {
    layers.splice(layers.length - at, 0, { name: `${suspect.rank} ${suspect.name}`, bytes: suspect.curve.held, hatch: at });
  });
  return layers;
}

/** The fill of a layer, as a colour and as the chart draws it: hatched where it grows. */
function layerFill({ colour: name, hatch }) {
  if (hatch === undefined) return { css: colour(name), fill: colour(name) };
  const base = colour(`suspect-${hatch + 1}`);
  const fill = hatched(base, colour("hatch"), [7, 7, 4][hatch], hatch !== 1);
  const turn = hatch === 1 ? 45 : 135;
  const css = `repeating-linear-gradient(${turn}deg, ${base} 0 3px, ${colour("hatch")} 3px 4px)`;
  return { css, fill };
}

/** The kernel's own figures, as lines. */
function kernelLines({ rss, rss_anonymous: anonymous, seconds }) {
  return [
    { name: "RSS", values: rss, stroke: "ink", dash: [] },
    { name: "RSS, anonymous", values: anonymous, stroke: "ink-weak", dash: [2, 3] },
  ].filter((kernel) => kernel.values.length === seconds.length && kernel.values.some((value) => value !== null));
}

/** What devices have taken from the driver, pools included, as a line. */
function takenLine({ devices }, { seconds }) {
  const taken = seconds.map((_, at) => devices.reduce((sum, device) => sum + (device.taken[at] ?? 0), 0));
  return { name: "taken from the driver", values: taken, stroke: "ink", dash: [6, 4] };
}

/** The charts that are shown, and what time is in them. */
const timeLines = { charts: [], isRequests: false };

/** Shows the host's memory as layers and lines, and beside it that of GPUs, if there are any. */
function showTimeLines(line, layers, lines, gpu = null) {
  for (const chart of timeLines.charts) chart.end();
  const hasRequests = line.seconds.length > 1 && line.requests.length === line.seconds.length;
  timeLines.isRequests = hasRequests;
  byId("time-line-axis").replaceChildren();
  if (hasRequests) {
    choice(byId("time-line-axis"), [["requests", "Requests"], ["time", "Time"]], "requests", (value) => {
      timeLines.isRequests = value === "requests";
      for (const chart of timeLines.charts) chart.draw();
    });
  }
  byId("gpu-panel").hidden = gpu === null;
  timeLines.charts = [
    timeLine("time-line", line, layers, lines),
    gpu ? timeLine("gpu-line", { ...line, limit: null }, gpu.layers, gpu.lines) : null,
  ].filter(Boolean);
}

/** Draws layers from the bottom to the top, and lines over them. */
function timeLine(id, line, layers, lines) {
  const element = byId(id);
  const legend = byId(`${id}-legend`);
  element.classList.remove("empty");
  element.replaceChildren();
  if (line.seconds.length < 2) {
    nothingToDraw(element, "The trace has no time line: it is too short to be cut into windows.");
    legend.replaceChildren();
    return null;
  }
  const sums = layers.map(() => []);
  line.seconds.forEach((_, at) => {
    let sum = 0;
    layers.forEach((layer, index) => sums[index].push((sum += layer.bytes[at] ?? 0)));
  });
  const values = new Map();
  const entry = (name, css, kind) => {
    const value = make("span", { class: "legend-value" });
    values.set(name, value);
    return make("span", { class: "legend-entry" }, make("i", { class: `swatch ${kind}`, style: css }), make("span", { class: "legend-name" }, name), value);
  };
  const showValues = (at) => {
    for (const layer of layers) values.get(layer.name).textContent = layer.ends && !layer.bytes[at] ? "–" : bytesText(layer.bytes[at]);
    for (const kernel of lines) values.get(kernel.name).textContent = bytesText(kernel.values[at]);
  };
  const drawLegend = () => {
    legend.replaceChildren(
      ...[...layers].reverse().map((layer) => entry(layer.name, `background: ${layerFill(layer).css}`, "area")),
      ...lines.map((kernel) => entry(kernel.name, `border-top: 2px ${kernel.dash.length ? (kernel.dash[0] > 4 ? "dashed" : "dotted") : "solid"} var(--${kernel.stroke})`, "line")));
    showValues(line.seconds.length - 1);
  };

  const build = () => {
    drawLegend();
    const { isRequests } = timeLines;
    const x = isRequests ? line.requests : line.seconds;
    // From the top layer down: each lower one covers the foot of those above it.
    const areas = layers.map((layer, index) => ({ layer, values: sums[index] })).reverse();
    const fills = areas.map(({ layer }) => layerFill(layer).fill);
    const largest = Math.max(1, ...(sums.at(-1) ?? []), ...lines.flatMap((kernel) => kernel.values.filter((v) => v !== null)));
    const top = line.limit && line.limit < largest * 2 ? Math.max(largest, line.limit) : largest;
    const options = {
      ...chartBase,
      // What is said of a limit above the chart needs room above the lines.
      scales: { x: { time: false }, y: { range: [0, top * (line.limit > top ? 1.2 : 1.06)] } },
      axes: axes(isRequests),
      series: [{},
        ...areas.map((_, index) => ({ stroke: colour("paper"), width: 1, fill: () => fills[index], points: { show: false } })),
        ...lines.map((kernel) => ({ stroke: colour(kernel.stroke), width: 2, dash: kernel.dash, spanGaps: true, points: { show: false } }))],
      hooks: {
        drawClear: [(chart) => shadeWarmUp(chart, isRequests ? line.warm_up_requests : line.warm_up_seconds)],
        draw: [(chart) => line.limit && drawLevel(chart, line.limit, `memory limit ${bytesText(line.limit)}`)],
        setCursor: [(chart) => showValues(chart.cursor.idx ?? line.seconds.length - 1)],
      },
    };
    return { options, data: [x, ...areas.map((area) => area.values), ...lines.map((kernel) => kernel.values)] };
  };
  const words = [...layers].reverse().map((layer) => `${layer.name}: ${bytesText(layer.bytes.at(-1))}`);
  element.setAttribute("aria-label", `Memory at the end: ${words.join(", ")}`);
  return chartIn(element, build);
}
