/** Hands the samples of the microphone to the page. */

registerProcessor(
  "samples",
  class extends AudioWorkletProcessor {
    process([[channel]]) {
      if (channel !== undefined) this.port.postMessage(channel);
      return true;
    }
  },
);
