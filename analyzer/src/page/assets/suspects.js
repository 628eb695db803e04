// The banner and the table of suspects: the first look.

function showBanner(report) {
  const { tone } = VERDICTS[report.verdict];
  byId("banner").className = `banner ${tone}`;
  byId("sentence").textContent = report.sentence;
  byId("action").textContent = report.action;
  byId("banner-verdict").replaceChildren(verdictLabel(report.verdict));
  const growth = growthText(report.growth);
  byId("banner-growth").replaceChildren(...(growth
    ? [make("span", { class: "figure-number" }, growth.number, make("span", { class: "figure-unit" }, ` ${growth.unit}`)),
      make("span", { class: "figure-words" }, `95 %: ${growth.interval}`)]
    : [make("span", { class: "figure-number" }, "–"), make("span", { class: "figure-words" }, "growth not measured")]));
  const { limit, seconds_to_limit: seconds } = report.growth;
  const words = limit === null ? ["–", "no memory limit known"]
    : seconds === null ? [bytesText(limit), "memory limit, not approached"]
    : [durationText(seconds), `until the memory limit of ${bytesText(limit)}`];
  byId("banner-limit").replaceChildren(make("span", { class: "figure-number" }, words[0]), make("span", { class: "figure-words" }, words[1]));
}

/** A curve as small as a word, over the same time as the large chart. */
function sparkline(held, line) {
  if (held.length < 2 || held.length !== line.seconds.length) return make("span", { class: "weak" }, "–");
  const width = 112, height = 26;
  const passed = line.requests.length === held.length ? line.requests : line.seconds;
  const top = Math.max(1, ...held), end = Math.max(passed.at(-1), Number.MIN_VALUE);
  const x = (at) => ((passed[at] / end) * width).toFixed(1);
  const y = (bytes) => (height - 1 - (bytes / top) * (height - 3)).toFixed(1);
  // Points that fall on the same place say nothing.
  const points = held.map((bytes, at) => `${x(at)} ${y(bytes)}`).filter((point, at, all) => point !== all[at - 1]);
  return make("svg", { class: "sparkline", width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" },
    make("path", { d: `M${points.join("L")}L${width} ${height}L${x(0)} ${height}Z`, class: "sparkline-area" }),
    make("path", { d: `M${points.join("L")}`, class: "sparkline-line" }));
}

const SUSPECT_COLUMNS = [["#", "rank"], ["Verdict", ""], ["Your line", ""], ["Op", ""], ["Growth", "number"], ["95 % interval", "number"], ["Held", "number"], ["Over time", "curve"]];

function suspectRow(suspect, { time_line: timeLine, processes }, open) {
  const growth = growthText(suspect);
  const line = suspect.your_line;
  return make("tr", { ...opening((row) => open(suspect, row)), "data-rank": suspect.rank, class: suspect.suppressed_by ? "suppressed" : "" },
    make("td", { class: "rank" }, String(suspect.rank)),
    make("td", {}, verdictLabel(suspect.verdict)),
    make("td", { class: "line" },
      make("span", { class: "function", title: suspect.name }, line?.function ?? suspect.name),
      make("span", { class: "place", title: line?.file },
        line ? shortLocation(line.file, line.line) : suspect.thread ? `thread ${suspect.thread}` : "no line of yours",
        suspect.suppressed_by ? make("span", { class: "tag" }, "suppressed") : null)),
    make("td", { class: "op", title: suspect.op }, opText(suspect.op) ?? make("span", { class: "weak" }, suspect.domain)),
    make("td", { class: "number strong" }, growth ? `${growth.number} ${growth.unit}` : "–"),
    make("td", { class: "number weak" }, growth ? growth.interval : "–"),
    make("td", { class: "number" }, estimatedBytes(suspect.held_bytes, suspect.held_bytes_error)),
    suspect.processes ? make("td", { class: "number" }, `${countText(suspect.processes.length)} of ${countText(processes)}`) : null,
    make("td", { class: "curve" }, sparkline(suspect.curve.held, timeLine)));
}

/** So many suspects of all processes leave room for the processes themselves. */
const FIRST_SUSPECTS = 5;

/** Hides rows until they are asked for. */
function hideFrom(first, rows, element) {
  for (const row of rows.slice(first)) row.hidden = true;
  const button = make("button", { type: "button", class: "more", onclick: () => {
    button.remove();
    for (const row of rows) row.hidden = false;
    rows[first].focus();
  } }, `${countedText(rows.length - first, "more suspect")}`);
  element.append(button);
}

function showSuspects(report, left) {
  const element = byId("suspects");
  if (!report.suspects.length) {
    element.replaceChildren(make("p", { class: "nothing" }, "No suspects: nothing was found that grows."));
    return;
  }
  const open = (suspect, row) => {
    for (const other of element.querySelectorAll("tbody tr")) other.setAttribute("aria-expanded", String(other === row));
    drawer.show(suspect, report, row);
    byId("drawer-close").focus();
  };
  const rows = report.suspects.map((suspect) => suspectRow(suspect, report, open));
  const columns = report.processes === undefined ? SUSPECT_COLUMNS
    : [...SUSPECT_COLUMNS.slice(0, -1), ["Processes", "number"], ...SUSPECT_COLUMNS.slice(-1)];
  element.replaceChildren(table("suspects opens", "Suspects, in the order of their growth. Enter opens a row.", columns, rows));
  const isShort = report.processes !== undefined && rows.length > FIRST_SUSPECTS + 1;
  if (isShort && !permalink.get("suspect")) hideFrom(FIRST_SUSPECTS, rows, element);
  if (left.suspects) element.append(make("p", { class: "note" }, `${countedText(left.suspects, "smaller suspect")} left out of this page; --json has all.`));
  const rank = Number(permalink.get("suspect", 0));
  const linked = report.suspects.find((suspect) => suspect.rank === rank);
  if (linked) open(linked, rows[report.suspects.indexOf(linked)]);
}
