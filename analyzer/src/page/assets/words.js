// The words and signs for what the analyzer found. A sign stands beside each colour.

const VERDICTS = {
  "leak": { sign: "▲", text: "Leak", tone: "bad" },
  "cache-filling": { sign: "◔", text: "Cache filling", tone: "watch" },
  "warm-up": { sign: "◐", text: "Warm-up", tone: "good" },
  "sawtooth": { sign: "◇", text: "Sawtooth", tone: "watch" },
  "retention": { sign: "■", text: "Retention", tone: "watch" },
  "steady": { sign: "●", text: "Steady", tone: "good" },
  "undecided": { sign: "?", text: "Undecided", tone: "open" },
};

/** A verdict as a small label. */
function verdictLabel(verdict) {
  const { sign, text, tone } = VERDICTS[verdict];
  return make("span", { class: `verdict ${tone}` }, make("span", { class: "sign", "aria-hidden": "true" }, sign), text);
}

const WEIGHTS = {
  growth: { text: "Growth", title: "What grew after warm-up" },
  unfreed: { text: "Unfreed", title: "What is live at the end" },
  peak: { text: "Peak", title: "What was live when memory was largest" },
  temporary: { text: "Temporary", title: "What was freed soon after" },
  count: { text: "Allocations", title: "How often memory was asked for" },
};

const WEIGHT_ORDER = ["growth", "unfreed", "peak", "temporary", "count"];

/** A weight with its unit. */
function weightText(weight, value) {
  return weight === "count" ? countedText(value, "allocation") : bytesText(value);
}

const VIEWS = {
  mixed: { text: "Mixed", title: "Python and native functions; frameworks folded" },
  native: { text: "Native", title: "Every native function" },
  python: { text: "Python", title: "Python functions and ops only" },
};

/** The domains, in the order in which they are stacked, and the colour of each. */
const DOMAINS = ["malloc", "mmap", "python", "tensorflow", "cuda", "cuda-host"];

const domainVariable = (name) => `domain-${DOMAINS.includes(name) ? name : "mmap"}`;

const domainColour = (name) => colour(domainVariable(name));

/** The memory of a device is none of the host's. */
const isOnDevice = (domain) => domain === "cuda";

/** An op without the word that stands before it in a call stack. */
const opText = (op) => (op ? op.replace(/^op /, "") : op);

/** `serve.py:71` of a path. */
function shortLocation(file, line) {
  if (!file) return "";
  const name = file.split("/").pop();
  return line ? `${name}:${line}` : name;
}
