/* The page at /: an input, what the model says of it, and what is known of the model. */

import { bars, element, number, percent, table } from "./dom.js";
import { answerParts, createInput } from "./modality.js";

const here = (path) => new URL(path, document.baseURI).href;
const ADDRESSES = { predict: here("predictions/model"), example: here("model/example") };
const NO_SERVER = "The server does not answer. Is it still running, and this machine online?";

const at = (id) => document.getElementById(id);

let token = ""; // in memory only
let model = null;
let input = null;
let isBusy = false;

class Refusal extends Error {}

/* A request to this server; what it refuses is told in its own words. */
async function ask(address, options = {}) {
  const headers = { ...options.headers };
  if (token) headers.Authorization = `Bearer ${token}`;
  let response;
  try {
    response = await fetch(address, { ...options, headers });
  } catch {
    throw new Refusal(NO_SERVER);
  }
  if (response.ok) return response;
  if (response.status === 401) askForToken();
  const reason = await response.json().catch(() => ({}));
  if (response.status === 429) throw new Refusal("The server is busy. Try again in a moment.");
  const told = reason.error ?? reason.predictions?.[0].error;
  throw new Refusal(told ?? `The server answers ${response.status} without a reason.`);
}

function tell(trouble) {
  at("trouble").textContent = trouble;
}

function tellOf(error) {
  if (!(error instanceof Refusal)) throw error;
  tell(error.message);
}

// --- Token ----------------------------------------------------------------------------------------

function askForToken() {
  at("token-form").hidden = false;
}

at("token-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  token = at("token").value;
  tell("");
  if (await start()) at("token-form").hidden = true;
});

// --- Trying ---------------------------------------------------------------------------------------

at("try-form").addEventListener("submit", (event) => {
  event.preventDefault();
  predict();
});

at("example").addEventListener("click", async () => {
  tell("");
  try {
    const response = await ask(ADDRESSES.example);
    await input.show(await response.blob(), model.example);
  } catch (error) {
    tellOf(error);
    return;
  }
  await predict();
});

function clear() {
  tell("");
  at("answer").replaceChildren();
  at("same-call").hidden = true;
}

async function predict() {
  if (isBusy) return;
  clear();
  const body = input.body();
  if (!body) {
    tell(input.missing);
    return;
  }
  const limit = model.accepts.max_body_bytes;
  if (body.size > limit) {
    tell(`That is ${number(body.size)} bytes; the server takes ${number(limit)} at most.`);
    return;
  }
  isBusy = true;
  at("predict").textContent = "Predicting …";
  at("call").textContent = input.call(curl, ADDRESSES);
  at("same-call").hidden = false;
  try {
    const started = performance.now();
    const response = await ask(ADDRESSES.predict, {
      method: "POST",
      headers: { "Content-Type": input.mediaType },
      body,
    });
    const answer = await response.json();
    const time = timeTaken(performance.now() - started, response.headers.get("Server-Timing"));
    at("answer").replaceChildren(...parts(answer), time, raw(answer));
  } catch (error) {
    tellOf(error);
  } finally {
    isBusy = false;
    at("predict").textContent = "Predict";
  }
}

/* The answer to one input, or to several. */
function parts(answer) {
  if (!("predictions" in answer)) return [...partsOfOne(answer), ...leftOut(answer)];
  const [first, ...more] = answer.predictions;
  return more.length ? [listed(answer.predictions)] : parts(first);
}

/* Each answer in a line; what else it says is in the answer as JSON. */
function listed(answers) {
  const rows = answers.map((answer, place) => [answer.input ?? `input ${place + 1}`, brief(answer)]);
  return table(`${answers.length} answers`, [], rows);
}

function brief(answer) {
  if ("error" in answer) return answer.error;
  if ("class" in answer) return `${answer.class} (${percent(answer.probability)})`;
  if ("labels" in answer) return answer.labels.join(", ") || "no label";
  const values = Object.entries(answer.values ?? {});
  return values.map(([name, value]) => `${name}: ${number(value)}`).join(", ");
}

function partsOfOne(answer) {
  if ("class" in answer) return classParts(answer);
  if ("labels" in answer) return labelParts(answer);
  if ("values" in answer) return valueParts(answer);
  return answerParts(answer);
}

/* What the answer says of the input: what the model saw of it, and what it saw otherwise. */
function leftOut(answer) {
  const counts = /^truncated$|_(used|given)$/;
  const told = model.accepts.notes.filter((name) => name in answer && !counts.test(name));
  const said = told.map((name) => {
    const values = [answer[name]].flat().map(number);
    return `${capital(name.replaceAll("_", " "))}: ${values.join(", ")}.`;
  });
  if (answer.truncated) {
    const unit = "tokens_given" in answer ? "tokens" : "frames";
    const [used, given] = [answer[`${unit}_used`], answer[`${unit}_given`]].map(number);
    said.push(`The model saw ${used} of ${given} ${unit}.`);
  }
  return said.map((line) => element("p", { class: "hint" }, line));
}

function capital(word) {
  return word[0].toUpperCase() + word.slice(1);
}

function classParts(answer) {
  const count = Object.keys(answer.probabilities).length;
  const all = model.class_names.length;
  const which = count < all ? `The ${count} likeliest of ${all} classes` : "All classes";
  return [
    element("p", { class: "headline" }, answer.class, " ", small(percent(answer.probability))),
    bars(which, answer.probabilities),
  ];
}

function labelParts(answer) {
  const said = answer.labels.length ? answer.labels.join(", ") : "No label";
  return [
    element("p", { class: "headline" }, said, " ", small("one half or more")),
    bars("All labels", answer.probabilities),
  ];
}

function valueParts(answer) {
  const rows = Object.entries(answer.values).map(([name, value]) => [
    name,
    element("data", { value: String(value) }, number(value)),
  ]);
  return [table("Values", [], rows)];
}

function small(text) {
  return element("span", { class: "small" }, text);
}

function timeTaken(milliseconds, timing) {
  const own = /dur=([\d.]+)/.exec(timing ?? "");
  const there = own ? `, ${number(Number(own[1]))} ms of them in the server` : "";
  return element("p", { class: "hint" }, `Answered in ${milliseconds.toFixed(0)} ms${there}.`);
}

function raw(answer) {
  return folded("The answer as JSON", code(JSON.stringify(answer, null, 2), "The answer as JSON"));
}

function code(text, label) {
  return element("pre", { tabindex: "0", role: "region", "aria-label": label }, text);
}

function folded(title, ...content) {
  return element("details", {}, element("summary", {}, title), ...content);
}

// --- The same call --------------------------------------------------------------------------------

function curl(...words) {
  const secret = token ? ["-H", '"Authorization: Bearer $SERVER_TOKEN"'] : [];
  return ["curl", ...secret, ...words.map(quoted)].join(" ");
}

/* As a POSIX shell reads it. */
function quoted(word) {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

at("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(at("call").textContent);
    at("copied").textContent = "Copied.";
  } catch {
    // without TLS browsers have no clipboard
    getSelection().selectAllChildren(at("call"));
    at("copied").textContent = "Selected: copy it with your keyboard.";
  }
});

// --- The card -------------------------------------------------------------------------------------

function showCard() {
  at("facts").replaceChildren(
    facts("Identity", identity()),
    ...metricTables(),
    ...dataParts(),
    ...caveats(),
    facts("Limits of a request", limits()),
    signature(),
    folded("Versions", facts("What made it", Object.entries(model.versions))),
  );
  at("card").hidden = false;
}

function facts(caption, rows) {
  const known = rows.filter(([, value]) => value);
  const made = table(caption, [], known);
  made.className = "facts";
  return made;
}

function identity() {
  return [
    ["Task", model.task_type],
    ["Project", model.project?.slug],
    ["Run", model.run],
    ["Commit", model.git_commit],
    ["Training data", model.data.digest],
    ["Optimizer steps", number(model.optimizer_steps)],
    ["Exported", model.created],
    ["Format", model.format],
  ];
}

function metricTables() {
  const names = Object.keys(model.metrics);
  const overall = names.filter((name) => !isOfOneClass(name));
  const each = names.filter(isOfOneClass);
  const count = model.data.splits?.val?.samples;
  const samples = count ? `on ${number(count)} validation samples` : "on validation samples";
  return [
    ...(overall.length ? [metricTable(`Metrics ${samples}`, overall)] : []),
    ...(each.length
      ? [folded("Metrics of each class", metricTable(`Metrics of each class ${samples}`, each))]
      : []),
  ];
}

/* By their names: val/f1 is of all classes, val/class_f1/NAME of one. */
function isOfOneClass(name) {
  return name.split("/").length > 2;
}

function metricTable(caption, names) {
  const columns = [
    ["Value", (name) => number(model.metrics[name])],
    ["95 % interval", (name) => (model.intervals[name] ?? []).map(number).join(" to ")],
    ["Trivial answer", (name) => number(model.trivial_metrics[name])],
  ];
  const known = columns.filter(([, shown]) => names.some(shown));
  return table(
    caption,
    ["Metric", ...known.map(([title]) => title)],
    names.map((name) => [name.replace(/^val\//, ""), ...known.map(([, shown]) => shown(name))]),
  );
}

function dataParts() {
  const splits = Object.entries(model.data.splits ?? {});
  if (!splits.length) return [];
  const made = facts("Data", [
    ["Layout", model.data.layout],
    ["Validation", model.data.validation],
    ...splits.map(([name, split]) => [`Samples in ${name}`, number(split.samples)]),
  ]);
  const [first, { classes, labels }] = splits[0];
  const counts = Object.entries(classes ?? labels ?? {});
  if (!counts.length) return [made];
  const each = facts(
    `Samples of each in ${first}`,
    counts.map(([name, count]) => [name, number(count)]),
  );
  return [made, folded(`Samples of each of ${counts.length}`, each)];
}

function caveats() {
  if (!model.caveats.length) return [];
  const items = model.caveats.map((caveat) => element("li", {}, caveat));
  return [element("h3", {}, "Limits of the data"), element("ul", {}, ...items)];
}

function limits() {
  const { max_item_size: most, item_unit: unit, max_body_bytes: bytes } = model.accepts;
  return [
    ["Largest input", `${number(most)} ${unit}`],
    ["Largest request", `${number(bytes)} bytes`],
    ...Object.entries(model.limits).map(([axis, size]) => [`Most ${axis}`, number(size)]),
  ];
}

function signature() {
  const rows = [
    ...model.inputs.map((tensor) => ["Input", tensor]),
    ...model.outputs.map((tensor) => ["Output", tensor]),
  ].map(([kind, { name, dtype, shape }]) => [name, kind, dtype, shape.join(" × ")]);
  return table("Signature", ["Name", "Kind", "Type", "Shape"], rows);
}

// --- Start ----------------------------------------------------------------------------------------

async function start() {
  try {
    model = await (await ask(here("model"))).json();
  } catch (error) {
    tellOf(error);
    return false;
  }
  document.title = model.name;
  at("name").textContent = model.name;
  const about = model.project?.description;
  at("about").textContent = about === model.name ? "" : about;
  at("example").hidden = !model.example;
  input ??= createInput(at("input"), { accepts: model.accepts, cleared: clear });
  at("try").hidden = false;
  showCard();
  return true;
}

start();
