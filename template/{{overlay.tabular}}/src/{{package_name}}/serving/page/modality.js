/* What the page has of rows: a form with a field for each column, or a file with many rows. */

import { element, number } from "./dom.js";

const JSON_TYPE = "application/json";
// of files with rows, by their suffixes
const TABLES = {
  csv: "text/csv",
  tsv: "text/tab-separated-values",
  jsonl: "application/x-ndjson",
  ndjson: "application/x-ndjson",
};
const NUMBER = /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i;
// choices that a list still shows at a glance; of more, what is typed finds one
const MOST_CHOICES = 50;

/*
 * Builds the input into `place`. `accepts` is what the server takes; `cleared` is called when the
 * input is another one.
 */
export function createInput(place, { accepts, cleared }) {
  const columns = Object.entries(accepts.instance.properties);
  const fields = columns.map(([name, schema], count) =>
    createField(name, schema, `column-${count}`, () => {
      cleared();
      forget();
    }),
  );
  const suffixes = Object.keys(TABLES).map((suffix) => `.${suffix}`);
  const about = element("p", { id: "about-file", class: "hint", role: "status" });
  const chooser = element("input", {
    id: "file",
    type: "file",
    accept: suffixes.join(),
    "aria-describedby": "about-file",
  });
  let file = null;
  let others = {}; // cells of a row that was shown whose columns the model does not know

  function forget() {
    chooser.value = "";
    file = null;
    about.textContent = "";
  }

  chooser.addEventListener("change", () => {
    cleared();
    [file] = chooser.files.length ? chooser.files : [null];
    about.textContent = file ? `${file.name}, ${number(file.size)} bytes` : "";
    if (file && !(suffixOf(file.name) in TABLES)) {
      about.textContent = `${file.name} is not read here; choose ${suffixes.join(", ")}.`;
      file = null;
    }
  });

  const row = () => Object.assign({ ...others }, ...fields.map((field) => field.cell()));
  const instances = () => JSON.stringify({ instances: [row()] });
  place.append(
    element("p", { id: "hint", class: "hint" }, accepts.hint),
    element("div", { class: "fields" }, ...fields.flatMap((field) => field.parts)),
    element(
      "details",
      {},
      element("summary", {}, "Many rows at once"),
      element(
        "div",
        { class: "drop" },
        element("label", { for: "file" }, `A table (${suffixes.join(", ")}) in place of the form`),
        chooser,
        about,
      ),
    ),
  );
  return {
    get mediaType() {
      return file ? TABLES[suffixOf(file.name)] : JSON_TYPE;
    },
    missing: "Fill in the form, or choose a table.",
    body: () => file ?? new Blob([instances()]),
    async show(content) {
      cleared();
      forget();
      const shown = JSON.parse(await content.text());
      const names = columns.map(([name]) => name);
      others = Object.fromEntries(Object.entries(shown).filter(([name]) => !names.includes(name)));
      for (const field of fields) field.show(shown);
    },
    call(curl, { predict }) {
      const type = ["-H", `Content-Type: ${this.mediaType}`, predict];
      return file
        ? curl("--data-binary", `@${file.name}`, ...type)
        : curl("--data-raw", instances(), ...type);
    },
  };
}

/* Answers of rows have no parts beside classes, labels and values. */
export function answerParts() {
  return [];
}

function suffixOf(name) {
  return name.split(".").pop().toLowerCase();
}

/*
 * The field of a column: `parts` for the page, `cell()` what it says by the column's name, and
 * `show(row)`, which fills it in. A cell that was shown is said as it stands until it is changed.
 */
function createField(name, schema, id, changed) {
  const [kind] = [schema.type].flat();
  const examples = (schema.examples ?? []).map(String);
  const { control, list } = createControl(kind, schema, examples, id);
  let shown; // undefined once the field says something else
  control.addEventListener("input", () => {
    shown = undefined;
    changed();
  });

  function said() {
    const text = control.value.trim();
    if (!text) return null;
    if (kind === "boolean" && ["true", "false"].includes(text)) return text === "true";
    return kind === "number" && NUMBER.test(text) ? Number(text) : text;
  }

  const about = kind === "number" || schema.format ? describe(examples) : "";
  const hint = element("span", { id: `${id}-about`, class: "hint" }, about);
  control.setAttribute("aria-describedby", `${id}-about`);
  return {
    parts: [
      element(
        "div",
        { class: "field" },
        element("label", { for: id }, name),
        control,
        ...list,
        hint,
      ),
    ],
    cell: () => ({ [name]: shown === undefined ? said() : shown }),
    show(row) {
      shown = row[name] ?? null;
      put(control, shown === null ? "" : String(shown));
    },
  };
}

function createControl(kind, schema, examples, id) {
  const choices = kind === "boolean" ? ["true", "false"] : examples;
  const isChosen = kind === "boolean" || (kind === "string" && !isDate(schema));
  if (isChosen && choices.length <= MOST_CHOICES) {
    const control = element("select", { id }, option("", "not known"));
    control.append(...choices.map((choice) => option(choice)));
    return { control, list: [] };
  }
  const attributes = { id, type: TYPES[schema.format] ?? "text", autocomplete: "off" };
  if (isChosen) {
    const control = element("input", { ...attributes, list: `${id}-choices` });
    const all = choices.map((choice) => option(choice));
    return { control, list: [element("datalist", { id: `${id}-choices` }, ...all)] };
  }
  if (kind === "number") attributes.inputmode = "decimal";
  if (examples.length) attributes.placeholder = examples[1];
  return { control: element("input", attributes), list: [] };
}

// controls for texts of a form; a time with its distance from UTC has none
const TYPES = { date: "date", "local-date-time": "datetime-local" };

function isDate(schema) {
  return "format" in schema;
}

function option(value, says = value) {
  return element("option", { value }, says);
}

/* Fills in a text whether or not it is one of the choices, or has the form, of a control. */
function put(control, text) {
  control.value = text;
  if (control.value === text) return;
  if (control.tagName === "SELECT") control.append(option(text));
  else control.type = "text";
  control.value = text;
}

function describe(examples) {
  if (!examples.length) return "";
  const [least, , largest] = examples;
  return least === largest ? `${least} in training` : `${least} to ${largest} in training`;
}
