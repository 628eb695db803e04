// One suspect in full: its numbers, pattern and remedy, curve, stack, and what can be copied.

const drawer = {
  chart: null,
  rank: null,
  opener: null,

  show(suspect, report, opener) {
    this.chart?.end();
    this.rank = suspect.rank;
    this.opener = opener;
    const element = byId("drawer");
    element.replaceChildren(...this.contents(suspect, report));
    element.hidden = false;
    element.scrollTop = 0;
    this.chart = drawCurve(byId("drawer-curve"), suspect, report.time_line);
    permalink.set({ suspect: suspect.rank });
  },

  close() {
    if (this.rank === null) return;
    this.chart?.end();
    this.chart = null;
    this.rank = null;
    byId("drawer").hidden = true;
    permalink.set({ suspect: null });
    for (const row of document.querySelectorAll("tr[aria-expanded=true]")) row.setAttribute("aria-expanded", "false");
    this.opener?.focus();
  },

  contents(suspect, report) {
    const { your_line: line } = suspect;
    return [
      make("div", { class: "drawer-head" },
        make("div", { class: "drawer-title" },
          make("div", { class: "drawer-verdict" }, verdictLabel(suspect.verdict), make("span", { class: "weak" }, `suspect ${suspect.rank}`)),
          make("h2", { id: "drawer-title" }, suspect.name),
          line ? make("p", { class: "place" }, `${line.file}${line.line ? `:${line.line}` : ""}`)
            : make("p", { class: "weak" }, "No line of your own is on its call stacks.")),
        make("button", { type: "button", class: "quiet", id: "drawer-close", "aria-label": "Close", onclick: () => this.close() }, "✕")),
      factList(suspect),
      suspect.suppressed_by ? make("p", { class: "note" }, "Suppressed, and not part of the verdict: ", make("code", {}, suspect.suppressed_by)) : null,
      suspect.needed ? make("p", { class: "note" }, `To decide: ${suspect.needed}`) : null,
      ...suspect.patterns.map(patternCard),
      suspect.processes ? partsTable(suspect, report) : null,
      make("h3", {}, "Its memory over time"),
      make("div", { class: "chart", id: "drawer-curve", role: "img",
        "aria-label": `Held memory of ${suspect.name}: ${bytesText(suspect.held_bytes)} at the end` }),
      make("h3", {}, "Where it is allocated ", make("span", { class: "weak" }, "the heaviest call stack, the allocating function first")),
      stackList(suspect),
      make("div", { class: "drawer-actions" },
        copyButton("Copy as issue", "copy-issue", () => issueText(suspect, report)),
        copyButton("Copy suppression", "copy-suppression", () => suppressionText(suspect)),
        TABS.includes("flame") ? make("button", { type: "button", onclick: () => showInFlameGraph(suspect) }, "Find in the flame graph") : null),
    ].filter(Boolean);
  },
};

function factList(suspect) {
  const growth = growthText(suspect);
  const facts = [
    ["Growth", growth ? [make("strong", {}, `${growth.number} ${growth.unit}`), make("span", { class: "weak" }, `95 %: ${growth.interval}`)]
      : [make("strong", {}, "–"), make("span", { class: "weak" }, "not measured")]],
    ["Held", [make("strong", {}, estimatedBytes(suspect.held_bytes, suspect.held_bytes_error)), make("span", { class: "weak" }, `in ${countedText(suspect.held_blocks, "block")}`)]],
    ["Of all growth", [make("strong", {}, shareText(suspect.share_of_growth)), make("span", { class: "weak" }, `rests on ${countedText(suspect.windows, "window")}`)]],
    ["Memory", [make("strong", {}, suspect.domain), make("span", { class: "weak" },
      [suspect.op ? `op ${opText(suspect.op)}` : null, suspect.thread ? `thread ${suspect.thread}` : null].filter(Boolean).join(", ") || "all threads")]],
  ];
  return make("dl", { class: "facts" }, facts.map(([name, values]) => make("div", {}, make("dt", {}, name), make("dd", {}, values))));
}

function patternCard(pattern) {
  return make("div", { class: "card" },
    make("p", { class: "card-head" }, make("strong", {}, pattern.sentence)),
    make("p", {}, make("span", { class: "tag" }, "remedy"), " ", pattern.remedy),
    pattern.evidence.length ? make("details", {}, make("summary", {}, "Evidence"), make("ul", {}, pattern.evidence.map((line) => make("li", {}, line)))) : null);
}

/** The curve with its fit and the band around it. */
function drawCurve(element, suspect, line) {
  const { held, fit, low, high } = suspect.curve;
  if (held.length < 2 || held.length !== line.seconds.length) {
    nothingToDraw(element, "No curve: the trace has no time line for it.");
    return null;
  }
  const isRequests = line.requests.length === line.seconds.length;
  const same = (list) => (list.length === held.length ? list : held.map(() => null));
  const isFitted = fit.length === held.length;
  return chartIn(element, () => ({
    options: {
      ...chartBase,
      scales: { x: { time: false }, y: { range: (_, min, max) => [0, Math.max(1, max * 1.08)] } },
      axes: axes(isRequests),
      bands: isFitted ? [{ series: [1, 2], fill: colour("band") }] : [],
      series: [{},
        { stroke: "transparent", points: { show: false } },
        { stroke: "transparent", points: { show: false } },
        { stroke: colour("suspect-1"), width: 2, points: { show: false } },
        { stroke: colour("ink"), width: 1.5, dash: [6, 4], points: { show: false } }],
      hooks: { drawClear: [(chart) => shadeWarmUp(chart, isRequests ? line.warm_up_requests : line.warm_up_seconds)] },
    },
    data: [isRequests ? line.requests : line.seconds, same(high), same(low), held, same(fit)],
  }));
}

function copyButton(text, id, words) {
  const button = make("button", { type: "button", id, onclick: async () => {
    const copied = await copy(words());
    button.textContent = copied ? "Copied ✓" : "Not copied: the browser forbids it";
    say(button.textContent);
    setTimeout(() => (button.textContent = text), 1600);
  } }, text);
  return button;
}

/** A suppression in the syntax of LeakSanitizer. */
function suppressionText(suspect) {
  return `leak:${suspect.your_line?.function ?? suspect.name}`;
}

/** Markdown that says all a colleague needs. */
function issueText(suspect, report) {
  const growth = growthText(suspect);
  const line = suspect.your_line;
  const rows = [
    `## ${VERDICTS[suspect.verdict].text}: ${suspect.name}`, "",
    growth ? `- Growth: ${growth.number} ${growth.unit} (95 %: ${growth.interval}), from ${countedText(suspect.windows, "window")}` : null,
    `- Held: ${estimatedBytes(suspect.held_bytes, suspect.held_bytes_error)} in ${countedText(suspect.held_blocks, "block")} (${suspect.domain})`,
    line ? `- Line: \`${line.function}\` at \`${line.file}${line.line ? `:${line.line}` : ""}\`` : null,
    suspect.op ? `- Op: ${opText(suspect.op)}` : null,
    `- Program: \`${report.process.command.join(" ")}\``,
    report.process.versions.length ? `- Versions: ${report.process.versions.map(([name, version]) => `${name} ${version}`).join(", ")}` : null,
    ...suspect.patterns.flatMap((pattern) => ["", `${pattern.sentence} ${pattern.remedy}`, ...pattern.evidence.map((fact) => `- ${fact}`)]),
    "", "Call stack, the allocating function first:", "", stackText(suspect), "",
  ];
  return rows.filter((row) => row !== null).join("\n");
}
