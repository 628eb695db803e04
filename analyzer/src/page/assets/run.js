// What was traced, where its memory is, and what the trace lacks.

function facts(title, rows) {
  const shown = rows.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return make("div", { class: "panel prose" }, make("h2", {}, title),
    make("dl", { class: "terms" }, shown.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)])));
}

function showRun(report) {
  const { process, requests, lost, reconciliation, time_line: line } = report;
  const counted = requests.count === null ? requests.source : `${countText(requests.count)}, counted by ${requests.source}`;
  const warmUp = line.warm_up_seconds === null ? null
    : durationText(line.warm_up_seconds) + (line.warm_up_requests === null ? "" : `, ${countedText(line.warm_up_requests, "request")}`);
  const lossWords = lost.anything
    ? [lost.events ? make("li", {}, `${countedText(lost.events, "event")} could not be recorded`) : null, ...lost.notes.map((note) => make("li", {}, note))].filter(Boolean)
    : [make("li", {}, "Nothing is missing: every event is in the trace.")];
  byId("run-columns").replaceChildren(
    make("div", {},
      facts("The run", [
        ["Command", make("code", {}, process.command.join(" "))], ["Executable", make("code", {}, process.executable)],
        ["Process id", String(process.pid)],
        ["Started", process.started ? new Date(process.started * 1000).toISOString().replace("T", " ").replace(/\.\d+Z/, " UTC") : null],
        ["Traced for", durationText(process.seconds)], ["Requests", counted], ["Warm-up", warmUp],
        ["Other processes", process.children.length ? `${countText(process.children.length)} have traces of their own: tftrace-analyze merge` : null],
      ]),
      facts("The trace", [["File", make("code", {}, process.trace)], ["Size", bytesText(process.trace_bytes)], ["Events", countText(process.events)],
        ["Sampled", process.sample_period === null ? null : `Bytes and blocks are estimated from 1 sample per ${periodText(process.sample_period)}; ± is one standard error`],
        ["Compacted", process.compacted],
        ...process.versions]),
      facts("Suppressions", suppressionRows(report.suppressions)),
      make("div", { class: `panel prose ${lost.anything ? "lacking" : ""}` }, make("h2", {}, "What is missing"), make("ul", {}, lossWords))),
    make("div", {}, whereMemoryIs(reconciliation), ...gpuPanels(report)));
}

/** What was left out of the verdict on purpose, and rules that left out nothing. */
function suppressionRows({ used, stale, built_in_version: version }) {
  const rows = used.map(({ rule, file, suspects }) =>
    [countedText(suspects, "suspect"), [make("code", {}, rule), ` (${file ?? `built-in list, version ${version}`})`]]);
  if (!rows.length) rows.push(["Used", "none"]);
  return [...rows, ...stale.map((rule) => ["Stale", make("code", {}, rule)])];
}

/** A sampling period as people set it, in powers of 1024. */
function periodText(bytes) {
  const unit = [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]].find(([, factor]) => bytes % factor === 0);
  return unit ? `${bytes / unit[1]} ${unit[0]}` : bytesText(bytes);
}

/** The owners of the process's memory, as bars. */
function whereMemoryIs(reconciliation) {
  const panel = make("div", { class: "panel prose" }, make("h2", {}, "Where the memory of the process is"));
  const { rss_anonymous: whole, explained, unexplained, not_resident: notResident, seconds } = reconciliation;
  const rest = unexplained ? [{ name: "unexplained", bytes: unexplained, bytes_error: 0 }] : [];
  const owners = [...reconciliation.owners, ...rest];
  if (!owners.length) {
    panel.append(make("p", { class: "nothing" }, "The kernel's own figure is not in the trace."));
    return panel;
  }
  if (whole !== null) {
    panel.append(make("p", {}, `The kernel counted ${bytesText(whole)} of anonymous memory`
      + (seconds === null ? "" : ` after ${durationText(seconds)}`) + (explained === null ? "." : `; ${shareText(explained)} of it is explained:`)));
  }
  const largest = Math.max(1, ...owners.map((owner) => owner.bytes));
  panel.append(make("table", { class: "owners" }, make("caption", { class: "unseen" }, "Owners of memory"), make("tbody", {}, owners.map((owner) =>
    make("tr", {}, make("th", { scope: "row" }, owner.name),
      make("td", { class: "bar-cell" }, make("i", { class: "bar-fill", style: `width: ${((owner.bytes / largest) * 100).toFixed(1)}%` })),
      make("td", { class: "number" }, estimatedBytes(owner.bytes, owner.bytes_error)))))));
  if (notResident) {
    panel.append(make("p", {}, `Beside that ${bytesText(notResident)} are live but take no memory: never touched, or swapped out.`));
  }
  return panel;
}
