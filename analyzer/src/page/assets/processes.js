// Several processes in one page: all of them together, and each by itself.

/** Which process is shown; `null`: all together. */
const scope = {
  process: null,
  together: null,

  begin(together) {
    this.together = together;
    byId("all-processes").addEventListener("click", () => this.show(null));
    this.fromAddress();
  },

  fromAddress() {
    const asked = permalink.get("process", "");
    this.draw(Object.hasOwn(this.together.reports, asked) ? Number(asked) : null);
  },

  /** Shows a process, or all; a suspect of it opens. */
  show(process, suspect = null) {
    drawer.close();
    permalink.set({ process, suspect });
    const left = this.process;
    this.draw(process);
    window.scrollTo(0, 0);
    if (process === null) document.querySelector(`#processes tr[data-process="${left}"]`)?.focus();
    else if (suspect === null) byId("all-processes").focus();
  },

  draw(process) {
    this.process = process;
    const isAll = process === null;
    byId("all-processes").hidden = isAll;
    byId("processes").hidden = !isAll;
    if (isAll) {
      showTogether(this.together);
      return;
    }
    const report = this.together.reports[process];
    showReport(report, report.left);
    const { name } = this.together.rows.find((row) => row.process === process) ?? { name: "" };
    byId("program").textContent = byId("program").title = `${name}: ${report.process.command.join(" ")}`;
    say(`${name}: ${report.sentence}`);
  },
};

/** The layers from the bottom to the top: those that leak are hatched, as suspects are. A process can end. */
function processLayers(layers) {
  const isLeak = (layer) => layer.verdict === "leak";
  const hatches = layers.filter(isLeak).slice(0, SUSPECT_LAYERS);
  const plain = layers.filter((layer) => !hatches.includes(layer));
  return [
    ...plain.map(({ name, bytes }, at) => ({ name, bytes, ends: true, colour: `domain-${DOMAINS[at % DOMAINS.length]}` })).reverse(),
    ...hatches.map(({ name, bytes }, at) => ({ name, bytes, ends: true, hatch: at })).reverse(),
  ];
}

function showTogether({ all, rows, reports, left }) {
  const count = rows.length + left.rows;
  const first = Object.values(reports)[0]?.process ?? { command: [], versions: [] };
  const report = { ...all, process: first, processes: count };
  byId("program").textContent = byId("program").title = `${countedText(count, "process")}: ${first.command.join(" ")}`;
  showBanner(report);
  showTimeLines(all.time_line, processLayers(all.time_line.layers), []);
  showSuspects(report, { suspects: left.suspects });
  showProcesses(rows, reports, left);
  showRuns(rows, reports);
}

const PROCESS_COLUMNS = [["Process", ""], ["Verdict", ""], ["Trace", ""], ["Requests", "number"], ["Growth", "number"], ["95 % interval", "number"],
  ["Live", "number"], ["Peak", "number"], ["Over time", "curve"]];

function processRow(row, report) {
  const growth = row.verdict === "leak" ? growthText(row.growth) : null;
  const line = report?.time_line;
  const live = line ? line.seconds.map((_, at) => line.domains.reduce((sum, { name, bytes }) => (isOnDevice(name) ? sum : sum + bytes[at]), 0)) : [];
  const opens = report ? opening(() => scope.show(row.process)) : {};
  return make("tr", { ...opens, "data-process": row.process },
    make("td", { class: "strong" }, row.name),
    make("td", {}, verdictLabel(row.verdict)),
    make("td", { class: "weak" }, row.trace),
    make("td", { class: "number" }, row.requests === null ? "–" : countText(row.requests)),
    make("td", { class: "number strong" }, growth ? `${growth.number} ${growth.unit}` : "–"),
    make("td", { class: "number weak" }, growth ? growth.interval : "–"),
    make("td", { class: "number" }, bytesText(row.live)),
    make("td", { class: "number" }, bytesText(row.peak)),
    make("td", { class: "curve" }, line ? sparkline(live, line) : make("span", { class: "weak" }, "–")));
}

function showProcesses(rows, reports, left) {
  const shown = rows.map((row) => processRow(row, reports[row.process]));
  byId("processes").replaceChildren(table("processes opens", "Each process by itself. Enter opens one.", PROCESS_COLUMNS, shown));
  const words = [
    left.rows ? `${countedText(left.rows, "process")} left out of this page` : null,
    left.reports ? `no report on ${countedText(left.reports, "process")} by ${left.reports === 1 ? "itself" : "themselves"}` : null,
  ].filter(Boolean);
  if (words.length) byId("processes").append(make("p", { class: "note" }, `${words.join("; ")}: --json has all.`));
}

/** In which processes a suspect is; a row leads to it there. */
function partsTable(suspect, { processes }) {
  const columns = [["Process", ""], ["Verdict", ""], ["Growth", "number"], ["95 % interval", "number"], ["Held", "number"]];
  const { rows, reports } = scope.together;
  const names = new Map(rows.map((row) => [row.process, row.name]));
  const shown = suspect.processes.map((part) => {
    const growth = growthText(part);
    const isThere = reports[part.process]?.suspects.some((other) => other.rank === part.rank);
    return make("tr", isThere ? opening(() => scope.show(part.process, part.rank)) : {},
      make("td", { class: "strong" }, names.get(part.process) ?? `pid ${part.pid}`),
      make("td", {}, verdictLabel(part.verdict)),
      make("td", { class: "number strong" }, growth ? `${growth.number} ${growth.unit}` : "–"),
      make("td", { class: "number weak" }, growth ? growth.interval : "–"),
      make("td", { class: "number" }, bytesText(part.held_bytes)));
  });
  return make("div", {}, make("h3", {}, `In ${countText(suspect.processes.length)} of ${countedText(processes, "process")}`),
    table("parts opens", "The processes that have it. Enter shows it in one.", columns, shown));
}

/** What was traced, and what is missing, of each. */
function showRuns(rows, reports) {
  const known = rows.filter((row) => reports[row.process]).map((row) => [row.name, reports[row.process]]);
  const lacking = known.filter(([, { lost }]) => lost.anything);
  const missing = lacking.length
    ? lacking.flatMap(([name, { lost }]) => [
      lost.events ? make("li", {}, `${name}: ${countedText(lost.events, "event")} could not be recorded`) : null,
      ...lost.notes.map((note) => make("li", {}, `${name}: ${note}`))].filter(Boolean))
    : [make("li", {}, "Nothing is missing: every event is in the traces.")];
  byId("run-columns").replaceChildren(
    make("div", {}, facts("The processes", known.map(([name, { process }]) => [name, make("code", {}, process.command.join(" "))]))),
    make("div", {},
      facts("The traces", known.map(([name, { process }]) => [name, make("code", {}, process.trace)])),
      make("div", { class: `panel prose ${lacking.length ? "lacking" : ""}` }, make("h2", {}, "What is missing"), make("ul", {}, missing))));
}
