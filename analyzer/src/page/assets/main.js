// Starts the page: tabs, theme, keys, and what each tab shows.

function openTab(tab) {
  for (const name of TABS) {
    const isOpen = name === tab;
    byId(name).hidden = !isOpen;
    byId(`tab-${name}`).setAttribute("aria-selected", String(isOpen));
    byId(`tab-${name}`).tabIndex = isOpen ? 0 : -1;
  }
  permalink.open(tab);
  if (tab !== "overview") drawer.close();
  if (tab === "flame" && flame.tree) flame.paint();
  document.documentElement.classList.toggle("fixed", tab === "flame");
}

/** Light, dark, or as the system has it. */
const theme = {
  modes: ["system", "light", "dark"],
  words: { system: "◐ Auto", light: "○ Light", dark: "● Dark" },
  mode: "system",
  set(mode) {
    this.mode = mode;
    if (mode === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = mode;
    byId("theme").textContent = this.words[mode];
    document.dispatchEvent(new Event("theme"));
  },
  begin() {
    byId("theme").addEventListener("click", () => {
      this.set(this.modes[(this.modes.indexOf(this.mode) + 1) % this.modes.length]);
      permalink.set({ theme: this.mode === "system" ? null : this.mode });
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.set(this.mode));
    this.set(this.modes.includes(permalink.get("theme")) ? permalink.get("theme") : "system");
  },
};

function keys(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape" && drawer.rank !== null) {
    drawer.close();
    return;
  }
  if (event.key === "Escape" && scope.process !== null && permalink.tab === "overview") {
    scope.show(null);
    return;
  }
  if (event.target.matches("input, textarea")) return;
  const tab = TABS[Number(event.key) - 1];
  if (tab) openTab(tab);
  else if (event.key === "/" && TABS.includes("flame")) {
    const search = byId(permalink.tab === "sites" ? "site-search" : "flame-search");
    if (permalink.tab !== "sites") openTab("flame");
    search?.focus();
    event.preventDefault();
  }
}

/** Left and right move between tabs, as in every list of tabs. */
function tabKeys(event) {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!step) return;
  const next = TABS[(TABS.indexOf(event.target.dataset.tab) + step + TABS.length) % TABS.length];
  openTab(next);
  byId(`tab-${next}`).focus();
}

/** All that is said of one process, but for its call stacks. */
function showReport(report, left) {
  byId("program").textContent = byId("program").title = report.process.command.join(" ");
  showBanner(report);
  showTimeLines(report.time_line, timeLineLayers(report), kernelLines(report.time_line), gpuLine(report));
  showSuspects(report, left);
  showRun(report);
}

function begin() {
  const { report, graph, sites, left, together } = JSON.parse(byId("data").textContent);
  if (together) {
    for (const tab of ["flame", "sites"]) byId(`tab-${tab}`).hidden = true;
    TABS = TABS.filter((tab) => !byId(`tab-${tab}`).hidden);
  }
  permalink.read();
  theme.begin();
  for (const tab of TABS) byId(`tab-${tab}`).addEventListener("click", () => openTab(tab));
  document.querySelector(".tabs").addEventListener("keydown", tabKeys);
  document.addEventListener("keydown", keys);
  const first = permalink.tab;
  openTab("overview");
  if (together) scope.begin(together);
  else showReport(report, left);
  openTab(first);
  if (!together) {
    flame.begin(graph, left.nodes);
    siteTable.begin(sites, flame.weights, left.sites);
  }
  window.addEventListener("hashchange", () => {
    permalink.read();
    openTab(permalink.tab);
    if (together) scope.fromAddress();
    else if (flame.tree) {
      flame.fromAddress();
      flame.tools();
      flame.change();
    }
  });
}

begin();
