// What is shown, in the address: `#flame&weight=peak&q=Conv2D`. An address can be sent to someone who has the file.

/** The views that this page has; one on several processes has fewer. */
let TABS = ["overview", "flame", "sites", "run", "glossary"];

const permalink = {
  tab: "overview",
  fields: new Map(),

  read() {
    const [tab, ...fields] = location.hash.slice(1).split("&");
    this.tab = TABS.includes(tab) ? tab : "overview";
    this.fields = new Map();
    for (const field of fields) {
      const [name, value = ""] = field.split("=");
      try {
        this.fields.set(name, decodeURIComponent(value));
      } catch {
        // Not from this page: as if it were not there.
      }
    }
  },

  get(name, otherwise) {
    return this.fields.get(name) ?? otherwise;
  },

  /** Changes fields; what is empty or the default (`null`) goes. */
  set(fields) {
    for (const [name, value] of Object.entries(fields)) {
      if (value === null || value === "") this.fields.delete(name);
      else this.fields.set(name, String(value));
    }
    this.write();
  },

  open(tab) {
    this.tab = tab;
    this.write();
  },

  write() {
    const fields = [...this.fields].map(([name, value]) => `&${name}=${encodeURIComponent(value)}`);
    history.replaceState(null, "", `#${this.tab}${fields.join("")}`);
  },
};
