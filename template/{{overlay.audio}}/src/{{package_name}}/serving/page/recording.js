/* A sound from the microphone, as a WAV file: what browsers record, no server could decode. */

// samples per second of the file
const RATE = 48000;
const HEADER_BYTES = 44;
// what is heard is what was said: nothing is done about echo, noise or loudness
const PLAIN = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };

/* Whether the browser lets a page ask for a microphone; without TLS it does on this machine only. */
export function canRecord() {
  return Boolean(navigator.mediaDevices?.getUserMedia) && "MediaRecorder" in window;
}

/*
 * Records until it is told to stop. Gives `stop()`, and `sound`, a promise of the file.
 * Whoever may not use the microphone, or has none, gets a DOMException.
 */
export async function record() {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: PLAIN });
  const recorder = new MediaRecorder(stream);
  const pieces = [];
  recorder.addEventListener("dataavailable", ({ data }) => pieces.push(data));
  const stopped = new Promise((resolve) => recorder.addEventListener("stop", resolve));
  recorder.start();
  return {
    stop() {
      if (recorder.state !== "inactive") recorder.stop();
      for (const track of stream.getTracks()) track.stop();
    },
    sound: stopped.then(async () => wav(await decoded(new Blob(pieces)))),
  };
}

/* Samples of one channel. */
async function decoded(recorded) {
  const context = new OfflineAudioContext(1, 1, RATE);
  const heard = await context.decodeAudioData(await recorded.arrayBuffer());
  return heard.getChannelData(0);
}

/* A file of 16 bits a sample. */
function wav(samples) {
  const size = 2 * samples.length;
  const file = new DataView(new ArrayBuffer(HEADER_BYTES + size));
  const write = (place, text) => {
    for (const [index, letter] of [...text].entries()) {
      file.setUint8(place + index, letter.charCodeAt(0));
    }
  };
  write(0, "RIFF");
  file.setUint32(4, HEADER_BYTES - 8 + size, true);
  write(8, "WAVEfmt ");
  file.setUint32(16, 16, true); // bytes of what follows about the form
  file.setUint16(20, 1, true); // integers
  file.setUint16(22, 1, true); // one channel
  file.setUint32(24, RATE, true);
  file.setUint32(28, 2 * RATE, true); // bytes a second
  file.setUint16(32, 2, true); // bytes of all channels of a sample
  file.setUint16(34, 16, true); // bits of one
  write(36, "data");
  file.setUint32(40, size, true);
  samples.forEach((sample, index) => {
    const inside = Math.max(-1, Math.min(1, sample));
    file.setInt16(HEADER_BYTES + 2 * index, Math.round(32767 * inside), true);
  });
  return new Blob([file], { type: "audio/wav" });
}
