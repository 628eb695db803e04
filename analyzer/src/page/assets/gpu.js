// GPU memory: each device over time, and what held one when an allocation failed.

const deviceName = (number) => (number === null ? "a device" : `device ${number}`);

function gpuPanels(report) {
  const gpu = report.gpu;
  if (!gpu) return [];
  const panels = gpu.out_of_memory ? [outOfMemoryCard(gpu)] : [];
  for (const device of gpu.devices) panels.push(devicePanel(device, report.time_line));
  if (gpu.host.length) {
    panels.push(facts("Memory of the host that CUDA holds",
      gpu.host.map((host) => [host.kind, `${bytesText(host.bytes)}, at most ${bytesText(host.peak)}`])));
  }
  return panels;
}

/** What was taken from the driver, and what of it was in use. */
function devicePanel(device, line) {
  const panel = facts(`GPU memory, ${deviceName(device.number)}`, [
    ["Taken from the driver", `${bytesText(device.taken.at(-1) ?? 0)}, at most ${bytesText(device.peak_taken)}`],
    ["In use", `${bytesText(device.used.at(-1) ?? 0)}, at most ${bytesText(device.peak_used)}`],
  ]);
  panel.classList.add("gpu");
  if (line.seconds.length < 2) return panel;
  const width = 600;
  const height = 90;
  const most = Math.max(1, ...device.taken, ...device.used);
  const first = line.seconds[0];
  const span = Math.max(line.seconds.at(-1) - first, 1e-9);
  const path = (values) => values.map((bytes, at) =>
    `${at ? "L" : "M"}${(((line.seconds[at] - first) / span) * width).toFixed(1)} ${(height - (bytes / most) * height).toFixed(1)}`).join("");
  const drawn = (values, style) => make("path", { d: path(values), fill: "none", "vector-effect": "non-scaling-stroke", style });
  panel.append(make("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", style: "width: 100%; height: 6em",
    "aria-label": `${deviceName(device.number)} over time: taken (dashed) and in use (solid)` },
    drawn(device.taken, "stroke: var(--ink-weak); stroke-width: 2; stroke-dasharray: 4 3"),
    drawn(device.used, "stroke: var(--ink); stroke-width: 2")),
  make("p", {}, `0 to ${bytesText(most)}, ${durationText(first)} to ${durationText(line.seconds.at(-1))}: taken dashed, in use solid.`));
  return panel;
}

/** The line and the op, in words. */
function holderText(holder) {
  const line = holder.your_line;
  const place = line ? `${line.function} (${shortLocation(line.file, line.line)})` : null;
  return [place, holder.op].filter(Boolean).join(" · ") || "none of your lines";
}

function outOfMemoryCard(gpu) {
  const failed = gpu.out_of_memory;
  const largest = Math.max(1, ...failed.holders.map((holder) => holder.bytes));
  return make("div", { class: "panel prose lacking", id: "out-of-memory" },
    make("h2", {}, `Out of memory on ${deviceName(failed.device)}`),
    make("p", {}, `${bytesText(failed.asked)} were asked for after ${durationText(failed.seconds)} by ${holderText(failed)}, with `
      + `${bytesText(failed.used)} in use of ${bytesText(failed.taken)} taken from the driver`
      + (gpu.failures > 1 ? `; the last of ${countText(gpu.failures)} that failed.` : ".")),
    make("table", { class: "owners" }, make("caption", { class: "unseen" }, "What held the device"), make("tbody", {}, failed.holders.map((holder) =>
      make("tr", {}, make("th", { scope: "row" }, holderText(holder)),
        make("td", { class: "bar-cell" }, make("i", { class: "bar-fill", style: `width: ${((holder.bytes / largest) * 100).toFixed(1)}%` })),
        make("td", { class: "number" }, bytesText(holder.bytes)))))),
    make("details", {}, make("summary", {}, "Who asked"), stackList(failed)));
}
