// A suspect's call stack, from the function that asked for the memory to the thread's start.

const KIND_WORDS = { python: "Python", native: "native", op: "op", "scheduled-by": "", memory: "", missing: "" };

/** Runs of framework frames as one entry each. `stack` has the root first. */
function foldedStack(stack) {
  const entries = [];
  for (const frame of [...stack].reverse()) {
    const last = entries.at(-1);
    // What is no function says something that no run of functions says.
    const folds = frame.framework && ["python", "native"].includes(frame.kind);
    if (folds && last?.run) last.run.push(frame);
    else if (folds) entries.push({ run: [frame] });
    else entries.push({ frame });
  }
  // The function that allocated says what the memory is; a run of one takes no more room than its line.
  return entries.flatMap((entry, at) => {
    if (!entry.run || entry.run.length === 1) return [{ frame: entry.frame ?? entry.run[0] }];
    if (at > 0) return [entry];
    const [leaf, ...rest] = entry.run;
    return rest.length === 1 ? [{ frame: leaf }, { frame: rest[0] }] : [{ frame: leaf }, { run: rest }];
  });
}

function isYourLine(frame, line) {
  return line && !frame.framework && frame.function === line.function && frame.line === line.line;
}

function frameRow(frame, yourLine) {
  const place = frame.file ? `${frame.file}${frame.line ? `:${frame.line}` : ""}` : frame.module;
  const isNote = ["scheduled-by", "memory", "missing"].includes(frame.kind);
  const isYours = isYourLine(frame, yourLine);
  return make("li", { class: `frame ${frame.framework ? "framework" : ""} ${isNote ? "remark" : ""} ${isYours ? "yours" : ""}` },
    make("span", { class: "frame-name" }, isNote && !frame.function ? KIND_WORDS[frame.kind] : frame.function),
    isYours ? make("span", { class: "tag" }, "your line") : null,
    isNote ? null : make("span", { class: "frame-kind" }, KIND_WORDS[frame.kind]),
    place ? make("span", { class: "frame-place" }, place) : null);
}

function stackList(suspect) {
  if (!suspect.stack.length) return make("p", { class: "nothing" }, "No call stack was recorded.");
  const list = make("ol", { class: "stack" });
  for (const entry of foldedStack(suspect.stack)) {
    if (entry.frame) {
      list.append(frameRow(entry.frame, suspect.your_line));
      continue;
    }
    const modules = [...new Set(entry.run.map((frame) => frame.module ?? shortLocation(frame.file)).filter(Boolean))];
    const words = `${entry.run.length} framework frames`;
    const button = make("button", { type: "button", class: "unfold", "aria-expanded": "false", onclick: () => {
      row.replaceWith(...entry.run.map((frame) => frameRow(frame, suspect.your_line)));
    } }, `▸ ${words}`);
    const row = make("li", { class: "frame folded" }, button,
      make("span", { class: "frame-place" }, modules.slice(0, 3).join(", ") + (modules.length > 3 ? ", …" : "")));
    list.append(row);
  }
  return list;
}

/** The stack as lines of text, for an issue. */
function stackText(suspect) {
  return foldedStack(suspect.stack).map(({ frame, run }) => {
    if (run) return `    … ${run.length} framework frames`;
    const place = frame.file ? `${frame.file}${frame.line ? `:${frame.line}` : ""}` : frame.module;
    return `    ${frame.function}${place ? `  (${place})` : ""}`;
  }).join("\n");
}
