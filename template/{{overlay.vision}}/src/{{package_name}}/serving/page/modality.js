/* What the page has of images: a file that is chosen, dropped or pasted, and shown. */

import { element } from "./dom.js";
import { createFileInput } from "./file_input.js";

// of images this narrow, in pixels, each pixel is shown
const TINY = 64;

/*
 * Builds the input into `place`. `accepts` is what the server takes; `cleared` is called when the
 * input is another one.
 */
export function createInput(place, { accepts, cleared }) {
  const preview = element("img", { id: "preview", alt: "", hidden: "" });
  const { file, about, input } = createFileInput({
    one: "an image",
    suffixes: accepts.suffixes,
    preview,
    label: "alt",
    cleared,
  });
  preview.addEventListener("load", () => {
    preview.classList.toggle("tiny", preview.naturalWidth < TINY);
  });
  place.append(
    element(
      "div",
      { class: "drop" },
      element("label", { for: "file" }, "Choose an image, drop it here or paste it"),
      file,
      preview,
      about,
    ),
  );
  return input;
}

/* What answers of images have beside classes, labels and values: nothing. */
export function answerParts() {
  return [];
}
