/* A file as the input: chosen, dropped or pasted, and shown. */

import { element, number } from "./dom.js";

const TYPE = "application/octet-stream";

/*
 * `one` is what it is called, with its article; `suffixes` which files can be chosen; `preview`
 * shows it, with its name in the attribute `label`; `cleared` is called when the input is another.
 *
 * Gives the elements `file` and `about` to lay out, `take(content, name)` for files that come in
 * other ways, and `input`, as the page uses it.
 */
export function createFileInput({ one, suffixes, preview, label, cleared }) {
  const noun = one.slice(one.indexOf(" ") + 1);
  const about = element("p", { id: "about-file", class: "hint", role: "status" });
  const file = element("input", { id: "file", type: "file", accept: suffixes.join() });
  let content = null;
  let name = "";
  let isExample = false;

  function present(given, called, known) {
    cleared();
    content = given;
    name = called;
    isExample = known;
    URL.revokeObjectURL(preview.src);
    preview.hidden = false;
    preview.setAttribute(label, `The ${noun} ${name}`);
    preview.src = URL.createObjectURL(content);
    about.textContent = `${name}, ${number(content.size)} bytes`;
  }

  function take(given, called, known = false) {
    file.value = "";
    present(given, called, known);
  }

  preview.addEventListener("error", () => {
    preview.hidden = true;
    about.textContent += "; no preview: this browser cannot open it";
  });
  file.addEventListener("change", () => {
    if (file.files.length) present(file.files[0], file.files[0].name, false);
  });
  document.addEventListener("dragover", (event) => event.preventDefault());
  for (const kind of ["drop", "paste"]) {
    document.addEventListener(kind, (event) => {
      const [given] = (event.dataTransfer ?? event.clipboardData).files;
      if (kind === "drop") event.preventDefault();
      if (given) take(given, given.name);
    });
  }
  const input = {
    mediaType: TYPE,
    missing: `Choose ${one} first.`,
    body: () => content,
    async show(given, called) {
      take(given, called, true);
    },
    call(curl, { predict, example }) {
      const send = ["-H", `Content-Type: ${TYPE}`, predict];
      return isExample
        ? `${curl("-s", example)} | ${curl("--data-binary", "@-", ...send)}`
        : curl("--data-binary", `@${name}`, ...send);
    },
  };
  return { file, about, take, input };
}
