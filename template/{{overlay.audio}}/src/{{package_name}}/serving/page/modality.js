/* What the page has of sounds: a file that is chosen, dropped or recorded, and played. */

import { element, number } from "./dom.js";
import { canRecord, record } from "./recording.js";

const TYPE = "application/octet-stream";
const RECORD = "Record";

/*
 * Builds the input into `place`. `accepts` is what the server takes; `cleared` is called when the
 * input is another one.
 */
export function createInput(place, { accepts, cleared }) {
  const preview = element("audio", { id: "preview", controls: "", hidden: "" });
  const about = element("p", { id: "about-file", class: "hint", role: "status" });
  const file = element("input", { id: "file", type: "file", accept: accepts.suffixes.join() });
  const button = element("button", { id: "record", type: "button", class: "quiet" }, RECORD);
  let sound = null;
  let name = "";
  let isExample = false;
  let recording = null;

  function take(content, called, known = false) {
    cleared();
    sound = content;
    name = called;
    isExample = known;
    URL.revokeObjectURL(preview.src);
    preview.hidden = false;
    preview.setAttribute("aria-label", `The sound ${name}`);
    preview.src = URL.createObjectURL(sound);
    about.textContent = `${name}, ${number(sound.size)} bytes`;
  }

  preview.addEventListener("error", () => {
    preview.hidden = true;
    about.textContent += "; no preview: this browser cannot play it";
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

  button.addEventListener("click", async () => {
    if (recording) {
      recording.stop();
      return;
    }
    button.disabled = true;
    try {
      recording = await record();
    } catch (error) {
      about.textContent = `There is no microphone for this page: ${error.message}.`;
      return;
    } finally {
      button.disabled = false;
    }
    const told = tellSeconds();
    try {
      const recorded = await recording.sound;
      file.value = "";
      take(recorded, "recording.wav");
    } catch (error) {
      about.textContent = `Nothing was recorded: ${error.message}.`;
    } finally {
      recording = null;
      clearInterval(told);
      button.textContent = RECORD;
    }
  });

  /* The button says how long it has been; at the server's limit the recording ends. */
  function tellSeconds() {
    const started = performance.now();
    const tell = () => {
      const seconds = Math.floor((performance.now() - started) / 1000);
      button.textContent = `Stop (${seconds} s)`;
      if (seconds >= accepts.max_item_size - 1) recording.stop();
    };
    tell();
    return setInterval(tell, 200);
  }

  const ways = canRecord() ? "Choose a sound, drop it here or record it" : "Choose a sound, or drop it here";
  place.append(
    element(
      "div",
      { class: "drop" },
      element("label", { for: "file" }, ways),
      element("div", { class: "row" }, file, ...(canRecord() ? [button] : [])),
      preview,
      about,
      element("p", { class: "hint" }, `${accepts.hint}.`),
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
