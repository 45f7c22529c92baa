/* What the page has of sounds: a file that is chosen, dropped or recorded, and played. */

import { element } from "./dom.js";
import { createFileInput } from "./file_input.js";
import { canRecord, record } from "./recording.js";

const RECORD = "Record";

/*
 * Builds the input into `place`. `accepts` is what the server takes; `cleared` is called when the
 * input is another one.
 */
export function createInput(place, { accepts, cleared }) {
  const preview = element("audio", { id: "preview", controls: "", hidden: "" });
  const button = element("button", { id: "record", type: "button", class: "quiet" }, RECORD);
  const { file, about, take, input } = createFileInput({
    one: "a sound",
    suffixes: accepts.suffixes,
    preview,
    label: "aria-label",
    cleared,
  });
  let recording = null;

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
      take(await recording.sound, "recording.wav");
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
  return input;
}

/* What answers of sounds have beside classes, labels and values: nothing. */
export function answerParts() {
  return [];
}
