/* What the page has of sounds: a file that is chosen or dropped, and played. */

import { element, number } from "./dom.js";

const TYPE = "application/octet-stream";

/*
 * Builds the input into `place`. `accepts` is what the server takes; `cleared` is called when the
 * input is another one.
 */
export function createInput(place, { accepts, cleared }) {
  const preview = element("audio", { id: "preview", controls: "", hidden: "" });
  const about = element("p", { id: "about-file", class: "hint", role: "status" });
  const file = element("input", { id: "file", type: "file", accept: accepts.suffixes.join() });
  let sound = null;
  let name = "";
  let isExample = false;

  function take(content, called, known = false) {
    cleared();
    sound = content;
    name = called;
    isExample = known;
    URL.revokeObjectURL(preview.src);
    preview.hidden = false;
    preview.src = URL.createObjectURL(sound);
    about.textContent = `${name}, ${number(sound.size)} bytes`;
  }

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
      element("label", { for: "file" }, "Choose a sound, or drop it here"),
      file,
      preview,
      about,
    ),
  );
  return {
    mediaType: TYPE,
    missing: "Choose a sound first.",
    body: () => sound,
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

/* What answers of sounds have beside classes, labels and values: nothing. */
export function answerParts() {
  return [];
}
