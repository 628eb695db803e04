// The banner and the table of suspects: the first look.

function showBanner(report) {
  const { tone } = VERDICTS[report.verdict];
  byId("banner").classList.add(tone);
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

/** A growth curve as small as a word, over the same time as the large chart. */
function sparkline(suspect, line) {
  const held = suspect.curve.held;
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

function suspectRow(suspect, timeLine, open) {
  const growth = growthText(suspect);
  const line = suspect.your_line;
  const row = make("tr", { tabindex: "0", "aria-expanded": "false", "data-rank": suspect.rank, class: suspect.suppressed_by ? "suppressed" : "",
    onclick: () => open(suspect, row),
    onkeydown: (event) => {
      if (event.key === "Enter" || event.key === " ") open(suspect, row);
      else if (event.key === "ArrowDown") row.nextElementSibling?.focus();
      else if (event.key === "ArrowUp") row.previousElementSibling?.focus();
      else return;
      event.preventDefault();
    } },
    make("td", { class: "rank" }, String(suspect.rank)),
    make("td", {}, verdictLabel(suspect.verdict)),
    make("td", { class: "line" },
      make("span", { class: "function", title: suspect.name }, line?.function ?? suspect.name),
      make("span", { class: "place", title: line?.file },
        line ? shortLocation(line.file, line.line) : suspect.thread ? `thread ${suspect.thread}` : "no line of yours",
        suspect.suppressed_by ? make("span", { class: "tag" }, "suppressed") : null)),
    make("td", { class: "op", title: suspect.op }, suspect.op ?? make("span", { class: "weak" }, suspect.domain)),
    make("td", { class: "number strong" }, growth ? `${growth.number} ${growth.unit}` : "–"),
    make("td", { class: "number weak" }, growth ? growth.interval : "–"),
    make("td", { class: "number" }, estimatedBytes(suspect.held_bytes, suspect.held_bytes_error)),
    make("td", { class: "curve" }, sparkline(suspect, timeLine)));
  return row;
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
  const rows = report.suspects.map((suspect) => suspectRow(suspect, report.time_line, open));
  element.replaceChildren(make("table", { class: "suspects" },
    make("caption", { class: "unseen" }, "Suspects, in the order of their growth. Enter opens a row."),
    make("thead", {}, make("tr", {}, SUSPECT_COLUMNS.map(([name, kind]) => make("th", { scope: "col", class: kind }, name)))),
    make("tbody", {}, rows)));
  if (left.suspects) element.append(make("p", { class: "note" }, `${countedText(left.suspects, "smaller suspect")} left out of this page; --json has all.`));
  const rank = Number(permalink.get("suspect", 0));
  const linked = report.suspects.find((suspect) => suspect.rank === rank);
  if (linked) open(linked, rows[report.suspects.indexOf(linked)]);
}
