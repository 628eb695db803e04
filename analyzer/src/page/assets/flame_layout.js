// The flame graph as numbers: what each node weighs and where it stands. Knows nothing of the screen.

/** A tree of the page's data, with its links. Node 0 is the root; a parent stands before its children. */
class FlameTree {
  constructor(frames, columns) {
    const count = columns.depths.length + 1;
    this.frames = frames;
    this.count = count;
    this.parent = new Int32Array(count);
    this.depth = new Int32Array(count);
    this.frame = new Int32Array(count).fill(-1);
    this.domain = new Int32Array(count);
    this.own = columns.own;
    this.deepest = 0;
    const path = [0];
    for (let node = 1; node < count; node++) {
      const depth = columns.depths[node - 1] + 1;
      this.depth[node] = depth;
      this.parent[node] = path[depth - 1];
      this.frame[node] = columns.frames[node - 1];
      this.domain[node] = depth === 1 ? node : this.domain[this.parent[node]];
      path[depth] = node;
      if (depth > this.deepest) this.deepest = depth;
    }
    this.total = new Float64Array(count);
    this.start = new Float64Array(count);
    this.firstChild = new Int32Array(count + 1);
    this.children = new Int32Array(count);
  }

  name(node) {
    return node === 0 ? "all" : this.frames[this.frame[node]][1];
  }

  /** The domains in it: [node, name]. */
  domains() {
    const domains = [];
    for (let node = 1; node < this.count; node++) if (this.depth[node] === 1) domains.push([node, this.name(node)]);
    return domains.sort((a, b) => DOMAINS.indexOf(a[1]) - DOMAINS.indexOf(b[1]));
  }

  /** Weighs every node, without the domains that are `hidden`, and puts the heaviest child first. */
  weigh(weight, hidden) {
    const { total, parent, count } = this;
    total.fill(0);
    const [steps, values] = this.own[weight];
    let node = 1;
    for (let at = 0; at < steps.length; at++) {
      node += steps[at];
      if (!hidden.has(this.domain[node])) total[node] = values[at];
    }
    for (let at = count - 1; at > 0; at--) total[parent[at]] += total[at];
    this.#link();
  }

  /** Children side by side in one list: those of a node stand from `firstChild[node]` on. */
  #link() {
    const { parent, count, firstChild, children, total, start } = this;
    firstChild.fill(0);
    for (let node = 1; node < count; node++) firstChild[parent[node] + 1]++;
    for (let node = 0; node < count; node++) firstChild[node + 1] += firstChild[node];
    const next = firstChild.slice();
    for (let node = 1; node < count; node++) children[next[parent[node]]++] = node;
    start[0] = 0;
    for (let node = 0; node < count; node++) {
      const of = children.subarray(firstChild[node], firstChild[node + 1]);
      if (of.length > 1) of.sort((a, b) => total[b] - total[a] || a - b);
      let at = start[node];
      for (const child of of) {
        start[child] = at;
        at += total[child];
      }
    }
  }

  childrenOf(node) {
    return this.children.subarray(this.firstChild[node], this.firstChild[node + 1]);
  }

  /** The nodes from the root to this one. */
  path(node) {
    const path = [];
    for (let at = node; at > 0; at = this.parent[at]) path.unshift(at);
    return [0, ...path];
  }

  /** Which nodes a text is found in, and what they weigh together; what is inside another counts once. */
  search(text) {
    const wanted = text.toLowerCase();
    const isIn = this.frames.map((frame) => `${frame[1]} ${frame[2]} ${frame[3]}`.toLowerCase().includes(wanted));
    const found = new Uint8Array(this.count);
    const inside = new Uint8Array(this.count);
    let weight = 0, nodes = 0;
    for (let node = 1; node < this.count; node++) {
      const above = inside[this.parent[node]];
      if (isIn[this.frame[node]] && this.total[node] > 0) {
        found[node] = 1;
        nodes++;
        if (!above) weight += this.total[node];
      }
      inside[node] = above || found[node];
    }
    return { found, weight, nodes };
  }
}
