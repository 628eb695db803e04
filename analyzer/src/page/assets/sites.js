// All places that asked for memory, as a table that can be searched and sorted.

const SITES_AT_ONCE = 200;

const siteTable = {
  sort: "unfreed", query: "", shown: SITES_AT_ONCE,

  begin(sites, weights, left) {
    this.sites = sites.map((site) => ({ ...site, text: [site.function, site.location, site.op, site.domain].join(" ").toLowerCase() }));
    this.left = left;
    // The data has every weight in its order; without growth the first is not shown.
    this.columns = WEIGHT_ORDER.map((weight, at) => ({ weight, at })).filter(({ weight }) => weights.includes(weight));
    if (!sites.length) {
      byId("site-table").replaceChildren(make("p", { class: "nothing" }, "No call stack has any memory."));
      return;
    }
    this.sort = this.columns.some(({ weight }) => weight === permalink.get("sort")) ? permalink.get("sort") : this.columns[0].weight;
    this.query = permalink.get("site", "");
    const input = make("input", { type: "search", id: "site-search", placeholder: "Search functions, files, ops  ( / )", "aria-label": "Search", value: this.query,
      oninput: () => {
        this.query = input.value.trim();
        this.shown = SITES_AT_ONCE;
        permalink.set({ site: this.query });
        this.draw();
      } });
    this.words = make("span", { class: "weak", "aria-live": "polite", id: "site-count" });
    byId("site-tools").replaceChildren(input, this.words);
    this.draw();
  },

  draw() {
    const wanted = this.query.toLowerCase();
    const { at } = this.columns.find(({ weight }) => weight === this.sort);
    const found = this.sites.filter((site) => site.text.includes(wanted)).sort((a, b) => b.weights[at] - a.weights[at]);
    const sum = found.reduce((all, site) => all + site.weights[at], 0);
    this.words.textContent = `${countedText(found.length, "site")}, ${weightText(this.sort, sum)} ${WEIGHTS[this.sort].text.toLowerCase()}`
      + (this.left ? `; ${countText(this.left)} smaller ones are not in this page` : "");
    const header = this.columns.map(({ weight }) => make("th", { scope: "col", class: "number", "aria-sort": weight === this.sort ? "descending" : "none" },
      make("button", { type: "button", title: WEIGHTS[weight].title, onclick: () => {
        this.sort = weight;
        permalink.set({ sort: weight });
        this.draw();
      } }, WEIGHTS[weight].text + (weight === this.sort ? " ▾" : ""))));
    const focused = document.activeElement?.closest("th") ? document.activeElement.title : null;
    byId("site-table").replaceChildren(make("table", { class: "sites" },
      make("caption", { class: "unseen" }, "Places that asked for memory"),
      make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Your line"), make("th", { scope: "col" }, "Memory"), header, make("th", { scope: "col", class: "number" }, "Stacks"))),
      make("tbody", {}, found.slice(0, this.shown).map((site) => this.row(site)))));
    if (focused) for (const button of byId("site-table").querySelectorAll("th button")) if (button.title === focused) button.focus();
    if (found.length > this.shown) {
      byId("site-table").append(make("button", { type: "button", class: "more", onclick: () => {
        this.shown += SITES_AT_ONCE;
        this.draw();
      } }, `Show more: ${countText(found.length - this.shown)} left`));
    }
  },

  row(site) {
    const file = site.location?.match(/^(.*?)(?::(\d+))?$/);
    return make("tr", {},
      make("td", { class: "line" },
        make("span", { class: site.is_yours ? "function" : "function weak", title: site.function }, site.function),
        make("span", { class: "place", title: site.location }, file ? shortLocation(file[1], file[2]) : "")),
      make("td", {}, site.domain, site.op ? make("span", { class: "place", title: site.op }, site.op) : null),
      this.columns.map(({ weight, at }) => make("td", { class: `number ${weight === this.sort ? "strong" : ""}` },
        weight === "count" ? countText(site.weights[at]) : bytesText(site.weights[at]))),
      make("td", { class: "number weak" }, countText(site.stacks)));
  },
};
