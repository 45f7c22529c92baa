/* What the page has of points: where one is typed. */

import { element } from "./dom.js";

const TYPE = "text/plain";

/* Builds the input into `place`; `cleared` is called when the input is another one. */
export function createInput(place, { cleared }) {
  const point = element("input", { id: "point", spellcheck: "false" });
  point.addEventListener("input", cleared);
  place.append(element("label", { for: "point" }, "Numbers of a point"), point);
  return {
    mediaType: TYPE,
    missing: "Type a point first.",
    body: () => (point.value ? new Blob([point.value]) : null),
    async show(content) {
      cleared();
      point.value = await content.text();
    },
    call: (curl, { predict }) =>
      curl("--data-raw", point.value, "-H", `Content-Type: ${TYPE}`, predict),
  };
}

/* What answers of points have beside classes: nothing. */
export function answerParts() {
  return [];
}
