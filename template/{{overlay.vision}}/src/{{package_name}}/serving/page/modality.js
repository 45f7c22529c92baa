/* What the page has of images: a file that is chosen, dropped or pasted, and shown. */

import { element, number } from "./dom.js";

const TYPE = "application/octet-stream";
// of images this narrow, in pixels, each pixel is shown
const TINY = 64;

/*
 * Builds the input into `place`. `accepts` is what the server takes; `cleared` is called when the
 * input is another one.
 */
export function createInput(place, { accepts, cleared }) {
  const preview = element("img", { id: "preview", alt: "", hidden: "" });
  const about = element("p", { id: "about-file", class: "hint", role: "status" });
  const file = element("input", { id: "file", type: "file", accept: accepts.suffixes.join() });
  let image = null;
  let name = "";
  let isExample = false;

  function take(content, called, known = false) {
    cleared();
    image = content;
    name = called;
    isExample = known;
    URL.revokeObjectURL(preview.src);
    preview.hidden = false;
    preview.alt = `The image ${name}`;
    preview.src = URL.createObjectURL(image);
    about.textContent = `${name}, ${number(image.size)} bytes`;
  }

  preview.addEventListener("load", () => {
    preview.classList.toggle("tiny", preview.naturalWidth < TINY);
  });
  preview.addEventListener("error", () => {
    preview.hidden = true;
    about.textContent += "; no preview: this browser cannot show it";
  });
  file.addEventListener("change", () => {
    if (file.files.length) take(file.files[0], file.files[0].name);
  });
  document.addEventListener("dragover", (event) => event.preventDefault());
  for (const kind of ["drop", "paste"]) {
    document.addEventListener(kind, (event) => {
      const [given] = (event.dataTransfer ?? event.clipboardData).files;
      if (kind === "drop") event.preventDefault();
      if (!given) return;
      file.value = "";
      take(given, given.name);
    });
  }
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
  return {
    mediaType: TYPE,
    missing: "Choose an image first.",
    body: () => image,
    async show(content, called) {
      file.value = "";
      take(content, called, true);
    },
    call(curl, { predict, example }) {
      const send = ["-H", `Content-Type: ${TYPE}`, predict];
      return isExample
        ? `${curl("-s", example)} | ${curl("--data-binary", "@-", ...send)}`
        : curl("--data-binary", `@${name}`, ...send);
    },
  };
}

/* What answers of images have beside classes, labels and values: nothing. */
export function answerParts() {
  return [];
}
