/* Elements, made without HTML: what a model or a server says is text and nothing else. */

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/* A table with one header in each row; `columns` heads the columns, empty for none. */
export function table(caption, columns, rows) {
  const heads = columns.map((name) => element("th", { scope: "col" }, name));
  const lines = rows.map(([name, ...cells]) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, name),
      ...cells.map((cell) => element("td", {}, cell)),
    ),
  );
  return element(
    "table",
    {},
    element("caption", {}, caption),
    ...(columns.length ? [element("thead", {}, element("tr", {}, ...heads))] : []),
    element("tbody", {}, ...lines),
  );
}

/* Shares from 0 to 1 by name, largest first, each with a bar as long as it is large. */
export function bars(caption, shares) {
  const rows = Object.entries(shares).sort((left, right) => right[1] - left[1]);
  const made = table(
    caption,
    [],
    rows.map(([name, share]) => [
      name,
      element("div", { class: "track", "aria-hidden": "true" }, bar(share)),
      element("data", { value: String(share) }, percent(share)),
    ]),
  );
  made.className = "bars";
  return made;
}

function bar(share) {
  const made = element("div", { class: "bar" });
  made.style.width = `${100 * share}%`;
  return made;
}

export function percent(share) {
  return `${(100 * share).toFixed(1)} %`;
}

export function number(value) {
  if (typeof value !== "number") return String(value ?? "");
  return Number.isInteger(value) ? value.toLocaleString("en") : String(+value.toPrecision(4));
}
