// GPU memory: each device over time, and what held one when an allocation failed.

const deviceName = (number) => (number === null ? "a device" : `device ${number}`);

function gpuPanels(report) {
  for (const chart of gpuCharts) chart.end();
  gpuCharts = [];
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

/** Memory of all devices for the overview; `null`: there are none. */
function gpuLine(report) {
  const { gpu, time_line: line } = report;
  byId("gpu-full").hidden = !gpu?.out_of_memory;
  byId("gpu-full").onclick = () => {
    openTab("run");
    byId("out-of-memory").scrollIntoView({ block: "nearest" });
  };
  return gpu?.devices.length ? { layers: timeLineLayers(report, true), lines: [takenLine(gpu, line)] } : null;
}

/** The charts that are shown; another process's take their place. */
let gpuCharts = [];

/** What was taken from the driver, and what of it was in use. */
function devicePanel(device, line) {
  const panel = facts(`GPU memory, ${deviceName(device.number)}`, [
    ["Taken from the driver", `${bytesText(device.taken.at(-1) ?? 0)}, at most ${bytesText(device.peak_taken)}`],
    ["In use", `${bytesText(device.used.at(-1) ?? 0)}, at most ${bytesText(device.peak_used)}`],
  ]);
  panel.classList.add("gpu");
  if (line.seconds.length < 2) return panel;
  const isRequests = line.requests.length === line.seconds.length;
  const element = make("div", { class: "chart", role: "img",
    "aria-label": `${deviceName(device.number)} over time: taken (dashed) and in use (filled)` });
  panel.append(element);
  gpuCharts.push(chartIn(element, () => ({
    options: {
      ...chartBase,
      scales: { x: { time: false }, y: { range: (_, min, max) => [0, Math.max(1, max * 1.08)] } },
      axes: axes(isRequests),
      series: [{},
        { stroke: colour("domain-cuda"), width: 1.5, fill: colour("domain-cuda"), points: { show: false } },
        { stroke: colour("ink"), width: 1.5, dash: [6, 4], points: { show: false } }],
      hooks: { drawClear: [(chart) => shadeWarmUp(chart, isRequests ? line.warm_up_requests : line.warm_up_seconds)] },
    },
    data: [isRequests ? line.requests : line.seconds, device.used, device.taken],
  })));
  panel.append(make("p", { class: "weak" }, "Filled: in use. Dashed: taken from the driver, pools included."));
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
