// The flame graph on a canvas: draws what is wide enough to be seen and inside the window, and nothing else.

const ROW = 19;
/** In pixels. */
const NARROWEST = 0.8;
const FLAME_CLASSES = ["your-python", "python", "your-native", "native", "op", "note"];
const FLAME_CLASS_WORDS = ["your Python", "other Python", "your native code", "other native code", "TensorFlow op", "not a function"];

const flame = {
  trees: {}, tree: null, weight: "unfreed", view: "mixed", layout: "icicle", hidden: new Set(), query: "",
  zoom: 0, selected: 0, hovered: -1, found: null, colours: [], left: 0,

  begin(graph, left) {
    this.left = left;
    this.canvas = byId("flame-canvas");
    this.scroll = byId("flame-scroll");
    this.paint = onceAFrame(() => this.draw());
    for (const view of Object.keys(VIEWS)) this.trees[view] = new FlameTree(graph.frames, graph.trees[view]);
    this.weights = WEIGHT_ORDER.filter((weight) => Object.values(this.trees).some((tree) => tree.own[weight]?.[0].length));
    if (!this.weights.length) {
      byId("flame-scroll").replaceChildren(make("p", { class: "nothing" }, "No call stack has any memory."));
      byId("flame-selected").remove();
      return;
    }
    this.fromAddress();
    this.tools();
    this.listen();
    this.change();
  },

  fromAddress() {
    const known = (value, values, otherwise) => (values.includes(value) ? value : otherwise);
    this.weight = known(permalink.get("weight"), this.weights, this.weights[0]);
    this.view = known(permalink.get("view"), Object.keys(VIEWS), "mixed");
    this.layout = known(permalink.get("layout"), ["icicle", "flame"], "icicle");
    this.query = permalink.get("q", "");
    const without = permalink.get("without", "").split(",");
    this.hiddenNames = new Set(without.filter((name) => DOMAINS.includes(name)));
    this.zoom = this.selected = Number(permalink.get("node", 0)) || 0;
  },

  tools() {
    const weights = make("div", { class: "choice", role: "group", "aria-label": "Width of a frame", id: "flame-weight" });
    choice(weights, this.weights.map((weight) => [weight, WEIGHTS[weight].text, WEIGHTS[weight].title]), this.weight, (weight) => {
      this.weight = weight;
      permalink.set({ weight: weight === this.weights[0] ? null : weight });
      this.change();
    });
    const views = make("div", { class: "choice", role: "group", "aria-label": "Frames shown", id: "flame-view" });
    choice(views, Object.entries(VIEWS).map(([view, { text, title }]) => [view, text, title]), this.view, (view) => {
      this.view = view;
      this.zoom = this.selected = 0;
      permalink.set({ view: view === "mixed" ? null : view, node: null });
      this.change();
    });
    const layouts = make("div", { class: "choice", role: "group", "aria-label": "Direction", id: "flame-layout" });
    choice(layouts, [["icicle", "Icicle", "Root on top"], ["flame", "Flame", "Root at the bottom"]], this.layout, (layout) => {
      this.layout = layout;
      permalink.set({ layout: layout === "icicle" ? null : layout });
      this.change();
    });
    this.domainTools = make("div", { class: "checks", role: "group", "aria-label": "Memory shown" });
    const search = make("input", { type: "search", id: "flame-search", placeholder: "Search functions, files  ( / )", "aria-label": "Search", value: this.query,
      oninput: () => {
        this.query = search.value.trim();
        permalink.set({ q: this.query });
        this.find();
      },
      onkeydown: (event) => {
        if (event.key === "Enter") this.canvas.focus();
        if (event.key === "Escape") { search.value = ""; search.dispatchEvent(new Event("input")); this.canvas.focus(); event.stopPropagation(); }
      } });
    this.foundWords = make("span", { class: "weak", id: "flame-found", "aria-live": "polite" });
    const reset = make("button", { type: "button", id: "flame-reset", onclick: () => this.zoomTo(0) }, "Zoom out");
    byId("flame-tools").replaceChildren(weights, views, layouts, this.domainTools, search, reset, this.foundWords);
    byId("flame-legend").replaceChildren(...FLAME_CLASSES.map((name, at) =>
      make("span", { class: "legend-entry" }, make("i", { class: "swatch area", style: `background: var(--flame-${name})` }), FLAME_CLASS_WORDS[at])),
      this.left ? make("span", { class: "weak" }, `${countText(this.left)} nodes too small for this page are under “[smaller call stacks]”`) : "");
  },

  domainChecks() {
    const checks = this.tree.domains().map(([node, name]) => {
      const box = make("input", { type: "checkbox", checked: !this.hiddenNames.has(name), onchange: () => {
        if (box.checked) this.hiddenNames.delete(name);
        else this.hiddenNames.add(name);
        permalink.set({ without: [...this.hiddenNames].join(",") });
        this.change();
      } });
      if (this.hiddenNames.has(name)) this.hidden.add(node);
      return make("label", {}, box, name);
    });
    const focused = document.activeElement?.parentElement?.textContent;
    this.domainTools.replaceChildren(...(checks.length > 1 ? checks : []));
    for (const check of checks) if (check.textContent === focused) check.firstChild.focus();
  },

  /** After a choice: weighs the tree again. */
  change() {
    this.tree = this.trees[this.view];
    this.hidden = new Set();
    this.domainChecks();
    this.tree.weigh(this.weight, this.hidden);
    if (!(this.zoom < this.tree.count && this.tree.total[this.zoom] > 0)) this.zoom = 0;
    if (!(this.selected < this.tree.count && this.tree.total[this.selected] > 0)) this.selected = this.zoom;
    byId("flame-height").style.height = `${(this.tree.deepest + 1) * ROW}px`;
    if (this.layout === "flame") this.scroll.scrollTop = this.scroll.scrollHeight;
    this.theme();
    this.find();
  },

  find() {
    this.found = this.query ? this.tree.search(this.query) : null;
    this.foundWords.textContent = !this.found ? ""
      : this.found.nodes === 0 ? "nothing found"
      : `found ${weightText(this.weight, this.found.weight)}, ${shareText(this.found.weight / (this.tree.total[0] || 1))} of all, in ${countedText(this.found.nodes, "frame")}`;
    this.describe();
    this.paint();
  },

  theme() {
    this.colours = FLAME_CLASSES.map((name) => colour(`flame-${name}`));
    this.inks = { text: colour("flame-ink"), paper: colour("paper"), found: colour("flame-found"), edge: colour("ink"), dim: colour("flame-dim") };
  },

  zoomTo(node) {
    this.zoom = this.selected = node;
    permalink.set({ node: node || null });
    this.showSelected();
    this.describe();
    this.paint();
  },

  /** The row of a node in pixels from the top of the whole graph. */
  top(depth) {
    const rows = Math.max(this.tree.deepest + 1, Math.ceil(this.scroll.clientHeight / ROW));
    return this.layout === "icicle" ? depth * ROW : (rows - 1 - depth) * ROW;
  },

  resize() {
    const ratio = window.devicePixelRatio || 1;
    const width = this.scroll.clientWidth, height = this.scroll.clientHeight;
    const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (this.canvas.width !== w || this.canvas.height !== h) {
      this.canvas.width = w;
      this.canvas.height = h;
      this.canvas.style.width = `${width}px`;
      this.canvas.style.height = `${height}px`;
    }
    return { ratio, width, height };
  },

  draw() {
    if (!this.tree || byId("flame").hidden) return;
    const { ratio, width, height } = this.resize();
    const { tree, zoom } = this;
    const draw = this.canvas.getContext("2d");
    draw.setTransform(ratio, 0, 0, ratio, 0, 0);
    draw.clearRect(0, 0, width, height);
    draw.font = "12px system-ui, sans-serif";
    draw.textBaseline = "middle";
    this.letter ??= draw.measureText("n").width;
    const whole = tree.total[zoom];
    if (!(whole > 0)) return;
    const scale = width / whole, begin = tree.start[zoom], scrolled = this.scroll.scrollTop;
    for (const above of tree.path(zoom).slice(0, -1)) this.box(draw, above, 0, width, scrolled, height, true);
    const stack = [zoom];
    while (stack.length) {
      const node = stack.pop();
      const x = (tree.start[node] - begin) * scale, w = tree.total[node] * scale;
      this.box(draw, node, x, w, scrolled, height, false);
      for (let at = tree.firstChild[node]; at < tree.firstChild[node + 1]; at++) {
        const child = tree.children[at];
        if (tree.total[child] * scale < NARROWEST) {
          // Heaviest first: those behind are narrower still. Together they are one box.
          const last = tree.children[tree.firstChild[node + 1] - 1];
          const end = tree.start[last] + tree.total[last];
          this.rest(draw, tree.depth[child], (tree.start[child] - begin) * scale, (end - tree.start[child]) * scale, scrolled, height);
          break;
        }
        stack.push(child);
      }
    }
  },

  /** What is too narrow to be told apart, as one box. */
  rest(draw, depth, x, width, scrolled, height) {
    const y = this.top(depth) - scrolled;
    if (width < 0.3 || y > height || y + ROW < 0) return;
    draw.fillStyle = this.colours[5];
    draw.fillRect(x, y, width, ROW - 1);
  },

  box(draw, node, x, w, scrolled, height, isAbove) {
    const y = this.top(this.tree.depth[node]) - scrolled;
    if (y > height || y + ROW < 0) return;
    const kind = node === 0 ? 5 : this.tree.frames[this.tree.frame[node]][0];
    const isFound = this.found?.found[node];
    const inner = w > 3 ? w - 1 : w;
    draw.fillStyle = isFound ? this.inks.found : this.colours[kind];
    draw.globalAlpha = isAbove || (this.found && !isFound) ? 0.45 : 1;
    draw.fillRect(x, y, inner, ROW - 1);
    if ((kind === 0 || kind === 2) && inner > 6) {
      // Yours: told by a bar at the edge too.
      draw.fillStyle = this.inks.edge;
      draw.fillRect(x, y, 3, ROW - 1);
    }
    if (inner > 26) {
      draw.fillStyle = this.inks.text;
      draw.fillText(this.label(node, inner - 10), x + 6, y + ROW / 2);
    }
    draw.globalAlpha = 1;
    if (node === this.selected || node === this.hovered) {
      draw.strokeStyle = this.inks.edge;
      draw.lineWidth = node === this.selected ? 2 : 1;
      draw.strokeRect(x + 1, y + 1, Math.max(1, inner - 2), ROW - 3);
    }
  },

  label(node, width) {
    const frame = node === 0 ? null : this.tree.frames[this.tree.frame[node]];
    const name = frame ? (frame[2] ? `${frame[1]} (${frame[2].split("/").pop()})` : frame[1]) : "all";
    const letters = Math.floor(width / this.letter);
    return name.length <= letters ? name : letters < 3 ? "" : `${name.slice(0, letters - 1)}…`;
  },

  /** The node under a point of the canvas, or -1. */
  nodeAt(x, y) {
    const { tree, zoom } = this;
    const down = y + this.scroll.scrollTop;
    const depth = this.layout === "icicle" ? Math.floor(down / ROW) : Math.round(this.top(0) / ROW) - Math.floor(down / ROW);
    const above = tree.depth[zoom];
    if (depth < 0) return -1;
    if (depth <= above) return tree.path(zoom)[depth];
    const value = tree.start[zoom] + (x / this.scroll.clientWidth) * tree.total[zoom];
    let node = zoom;
    while (tree.depth[node] < depth) {
      const child = tree.childrenOf(node).find((at) => tree.start[at] <= value && value < tree.start[at] + tree.total[at]);
      if (child === undefined) return -1;
      node = child;
    }
    return node;
  },

  /** Says what is under the mouse, or else what is selected. */
  describe() {
    const node = this.hovered >= 0 ? this.hovered : this.selected;
    const { tree } = this;
    const frame = node > 0 ? tree.frames[tree.frame[node]] : null;
    const total = tree.total[node], all = tree.total[0] || 1;
    byId("flame-selected").replaceChildren(
      make("span", { class: "selected-name" }, frame ? frame[1] : "all"),
      make("span", { class: "selected-place" }, frame ? [frame[2], frame[3]].filter(Boolean).join("  in ") : ""),
      make("span", { class: "selected-weight" }, `${weightText(this.weight, total)}, ${shareText(total / all)}`));
  },

  listen() {
    const at = (event) => {
      const box = this.canvas.getBoundingClientRect();
      return this.nodeAt(event.clientX - box.left, event.clientY - box.top);
    };
    const hover = (node) => {
      if (node === this.hovered) return;
      this.hovered = node;
      this.canvas.style.cursor = node >= 0 ? "pointer" : "default";
      this.describe();
      this.paint();
    };
    this.canvas.addEventListener("mousemove", (event) => hover(at(event)));
    this.canvas.addEventListener("mouseleave", () => hover(-1));
    this.canvas.addEventListener("click", (event) => {
      const node = at(event);
      if (node >= 0) this.zoomTo(node);
    });
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.scroll.addEventListener("scroll", this.paint);
    new ResizeObserver(this.paint).observe(this.scroll);
    document.addEventListener("theme", () => { this.theme(); this.paint(); });
  },

  key(event) {
    const { tree } = this;
    const parent = tree.parent[this.selected];
    const siblings = this.selected === 0 ? [] : [...tree.childrenOf(parent)].filter((node) => tree.total[node] > 0);
    const place = siblings.indexOf(this.selected);
    const away = this.layout === "icicle" ? "ArrowDown" : "ArrowUp";
    const back = this.layout === "icicle" ? "ArrowUp" : "ArrowDown";
    const moves = {
      [away]: () => [...tree.childrenOf(this.selected)].find((node) => tree.total[node] > 0),
      [back]: () => (this.selected === 0 ? undefined : parent),
      ArrowLeft: () => siblings[place - 1],
      ArrowRight: () => siblings[place + 1],
      Home: () => 0,
    };
    if (event.key === "Enter") this.zoomTo(this.selected);
    else if (event.key === "Escape") this.zoomTo(tree.parent[this.zoom]);
    else if (event.key in moves) {
      const node = moves[event.key]();
      if (node !== undefined) this.selected = node;
      // What is above or beside the zoomed node is not drawn in full: zoom out until it is.
      while (this.zoom !== 0 && !tree.path(this.selected).includes(this.zoom)) this.zoom = tree.parent[this.zoom];
      this.hovered = -1;
      this.showSelected();
      this.describe();
      byId("flame-said").textContent = byId("flame-selected").textContent;
      this.paint();
    } else return;
    event.preventDefault();
  },

  showSelected() {
    const y = this.top(this.tree.depth[this.selected]);
    const { scrollTop, clientHeight } = this.scroll;
    if (y < scrollTop) this.scroll.scrollTop = y;
    else if (y + ROW > scrollTop + clientHeight) this.scroll.scrollTop = y + ROW - clientHeight;
  },

  search(text) {
    const input = byId("flame-search");
    if (!input) return;
    input.value = text;
    input.dispatchEvent(new Event("input"));
  },
};

function showInFlameGraph(suspect) {
  drawer.close();
  openTab("flame");
  flame.search(suspect.your_line?.function ?? suspect.name);
}
