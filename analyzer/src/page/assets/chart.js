// What all charts have in common: axes in plain units, colours of the theme, hatching, shading of warm-up.

/** A hatched fill: what is told by colour is told by direction too. */
function hatched(background, line, step, rising) {
  const size = step * (window.devicePixelRatio || 1);
  const tile = document.createElement("canvas");
  tile.width = tile.height = size;
  const draw = tile.getContext("2d");
  draw.fillStyle = background;
  draw.fillRect(0, 0, size, size);
  draw.strokeStyle = line;
  draw.lineWidth = size / 5;
  for (const shift of [-size, 0, size]) {
    draw.beginPath();
    draw.moveTo(shift, rising ? size : 0);
    draw.lineTo(shift + size, rising ? 0 : size);
    draw.stroke();
  }
  return tile.getContext("2d").createPattern(tile, "repeat");
}

/** Steps of an axis in bytes: 1, 2 or 5 of a power of ten. */
const BYTE_STEPS = [];
for (let power = 1; power < 1e16; power *= 10) BYTE_STEPS.push(power, 2 * power, 5 * power);

function bytesTick(bytes) {
  if (bytes === 0) return "0";
  const [name, factor] = unitOf(bytes);
  return `${+(bytes / factor).toFixed(2)} ${name}`;
}

/** Times along one axis, all in the unit of the last. */
function timeTicks(seconds) {
  const last = seconds.at(-1) ?? 0;
  const [name, length] = last < 300 ? ["s", 1] : last < 10800 ? ["min", 60] : last < 259200 ? ["h", 3600] : ["d", 86400];
  return seconds.map((at) => (at === 0 ? "0" : `${+(at / length).toFixed(2)} ${name}`));
}

function axes(isRequests) {
  const stroke = colour("ink-weak");
  const grid = { stroke: colour("grid"), width: 1 };
  const ticks = { show: false };
  const font = "11px system-ui, sans-serif";
  return [
    { stroke, grid: { show: false }, ticks: { stroke: colour("grid"), size: 4, width: 1 }, font, size: 26, space: 70, gap: 2,
      values: (_, values) => (isRequests ? values.map(countText) : timeTicks(values)),
      incrs: isRequests ? BYTE_STEPS : [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600,
        7200, 14400, 28800, 86400, 172800, 604800] },
    { stroke, grid, ticks, font, size: 62, space: 34, gap: 6, incrs: BYTE_STEPS,
      values: (_, values) => values.map(bytesTick) },
  ];
}

/** Shades what is left of `end`, and says what it is. */
function shadeWarmUp(chart, end) {
  if (end === null || end === undefined) return;
  const { ctx, bbox } = chart;
  const to = Math.min(chart.valToPos(end, "x", true), bbox.left + bbox.width);
  const width = to - bbox.left;
  if (width <= 1) return;
  const ratio = window.devicePixelRatio || 1;
  ctx.save();
  ctx.fillStyle = colour("shade");
  ctx.fillRect(bbox.left, bbox.top, width, bbox.height);
  ctx.strokeStyle = colour("ink-faint");
  ctx.setLineDash([3 * ratio, 3 * ratio]);
  ctx.beginPath();
  ctx.moveTo(to, bbox.top);
  ctx.lineTo(to, bbox.top + bbox.height);
  ctx.stroke();
  ctx.fillStyle = colour("ink-weak");
  ctx.font = `${11 * ratio}px system-ui, sans-serif`;
  if (width > 60 * ratio) ctx.fillText("warm-up", bbox.left + 6 * ratio, bbox.top + 30 * ratio);
  ctx.restore();
}

/** A dashed line across the chart, with words at its right end. */
function drawLevel(chart, value, words) {
  const { ctx, bbox } = chart;
  const ratio = window.devicePixelRatio || 1;
  const inside = value <= chart.scales.y.max;
  const y = inside ? chart.valToPos(value, "y", true) : bbox.top + 1;
  ctx.save();
  ctx.strokeStyle = ctx.fillStyle = colour("limit");
  ctx.lineWidth = 1.5 * ratio;
  ctx.font = `600 ${11 * ratio}px system-ui, sans-serif`;
  ctx.textAlign = "right";
  if (inside) {
    ctx.setLineDash([8 * ratio, 4 * ratio]);
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
  }
  const text = inside ? words : `${words} ↑ above the chart`;
  const at = [bbox.left + bbox.width - 6 * ratio, y + (inside && y - bbox.top > 20 * ratio ? -5 : 14) * ratio];
  // On a layer the words need a ground of their own.
  ctx.strokeStyle = colour("paper");
  ctx.lineWidth = 3 * ratio;
  ctx.setLineDash([]);
  ctx.strokeText(text, ...at);
  ctx.fillText(text, ...at);
  ctx.restore();
}

/** A chart that fills its element and is drawn again when the size or the theme changes. */
function chartIn(element, build) {
  let chart = null;
  const size = () => ({ width: element.clientWidth, height: element.clientHeight });
  const draw = () => {
    chart?.destroy();
    chart = null;
    const { width, height } = size();
    if (width < 50 || height < 50) return;
    const { options, data } = build();
    chart = new uPlot({ ...options, width, height }, data, element);
  };
  const resized = onceAFrame(() => {
    const { width, height } = size();
    if (!chart) draw();
    else if (width >= 50 && (width !== chart.width || height !== chart.height)) chart.setSize({ width, height });
  });
  const observer = new ResizeObserver(resized);
  observer.observe(element);
  document.addEventListener("theme", draw);
  draw();
  return {
    draw,
    end() {
      observer.disconnect();
      document.removeEventListener("theme", draw);
      chart?.destroy();
    },
  };
}

/** The options that every chart has. */
const chartBase = {
  legend: { show: false },
  padding: [8, 26, 0, 0],
  cursor: { y: false, points: { size: 6 }, drag: { x: true, y: false } },
};

/** Something in place of a chart that has no data. */
function nothingToDraw(element, words) {
  element.classList.add("empty");
  element.replaceChildren(make("p", { class: "nothing" }, words));
}
