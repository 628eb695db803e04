// Elements of the page. Text becomes text nodes, never markup: names are a program's own.

/** Makes an element: `make("td", {class: "number", onclick}, "text", child)`. */
function make(name, properties = {}, ...children) {
  const svg = name === "svg" || name === "path" || name === "line";
  const element = svg
    ? document.createElementNS("http://www.w3.org/2000/svg", name)
    : document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  for (const child of children.flat()) {
    if (child !== null && child !== undefined) element.append(child);
  }
  return element;
}

const byId = (id) => document.getElementById(id);

/** A row of buttons of which one is pressed. `options` are [value, label]. */
function choice(parent, options, pressed, choose) {
  const buttons = options.map(([value, label, title]) =>
    make("button", { type: "button", title, "aria-pressed": String(value === pressed), "data-value": value,
      onclick: () => {
        for (const button of buttons) {
          button.setAttribute("aria-pressed", String(button.dataset.value === value));
        }
        choose(value);
      } }, label));
  parent.replaceChildren(...buttons);
}

/** What a row of a table has that opens something, by mouse and by keyboard. */
function opening(open) {
  return { tabindex: "0", "aria-expanded": "false",
    onclick: (event) => open(event.currentTarget),
    onkeydown: (event) => {
      const row = event.currentTarget;
      if (event.key === "Enter" || event.key === " ") open(row);
      else if (event.key === "ArrowDown") row.nextElementSibling?.focus();
      else if (event.key === "ArrowUp") row.previousElementSibling?.focus();
      else return;
      event.preventDefault();
    } };
}

/** A table whose columns are [name, class], with a caption for who does not see it. */
function table(kind, caption, columns, rows) {
  return make("table", { class: kind }, make("caption", { class: "unseen" }, caption),
    make("thead", {}, make("tr", {}, columns.map(([name, style]) => make("th", { scope: "col", class: style }, name)))),
    make("tbody", {}, rows));
}

/** Says something to a screen reader, and to the eye in passing. */
function say(text) {
  byId("said").textContent = text;
}

/** A function that runs once in the next frame, however often it is asked for. */
function onceAFrame(run) {
  let pending = false;
  return () => {
    if (pending) return;
    pending = true;
    requestAnimationFrame(() => {
      pending = false;
      run();
    });
  };
}

/** A colour of the style sheet as the theme has it, for what is drawn on a canvas. */
function colour(name) {
  colour.probe ??= document.body.appendChild(make("i", { class: "unseen" }));
  colour.probe.style.color = `var(--${name})`;
  return getComputedStyle(colour.probe).color;
}

/** Copies text, also where a page from a file may not use the clipboard. */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = make("textarea", { class: "unseen", "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    const focused = document.activeElement;
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    focused?.focus();
    return copied;
  }
}
