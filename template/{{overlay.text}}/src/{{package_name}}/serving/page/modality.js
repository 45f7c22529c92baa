/* What the page has of texts: where one is typed, and how one goes on or is filled. */

import { bars, element } from "./dom.js";

const TYPE = "text/plain; charset=utf-8";

/*
 * Builds the input into `place`. `accepts` is what the server takes; `cleared` is called when the
 * input is another one.
 */
export function createInput(place, { accepts, cleared }) {
  const text = element("textarea", {
    id: "text",
    rows: "6",
    spellcheck: "false",
    "aria-describedby": "hint",
  });
  text.addEventListener("input", cleared);
  place.append(
    element("label", { for: "text" }, "Text"),
    text,
    element("p", { id: "hint", class: "hint" }, accepts.hint),
  );
  return {
    mediaType: TYPE,
    missing: "Type a text first.",
    body: () => (text.value ? new Blob([text.value]) : null),
    async show(content) {
      cleared();
      text.value = await content.text();
    },
    call: (curl, { predict }) =>
      curl("--data-raw", text.value, "-H", `Content-Type: ${TYPE}`, predict),
  };
}

/* A continuation, or a text with its gaps filled. */
export function answerParts(answer) {
  return "continuation" in answer ? continued(answer) : filled(answer);
}

function continued({ text, continuation, tokens, ended }) {
  const given = text.endsWith(continuation) ? text.slice(0, text.length - continuation.length) : "";
  const end = ended ? "; the model ends the text there" : "";
  return [
    shown("The text goes on", given, element("mark", {}, continuation)),
    element("p", { class: "hint" }, `${tokens} tokens were added${end}.`),
  ];
}

function filled({ text, candidates }) {
  const gaps = candidates.map((shares, number) =>
    bars(`Likeliest tokens of gap ${number + 1}`, shares),
  );
  return [shown("The text with its gaps filled", text), ...gaps];
}

function shown(label, ...content) {
  return element("p", { class: "text", role: "group", "aria-label": label }, ...content);
}
