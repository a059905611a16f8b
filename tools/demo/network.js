// The worker that describes photographs, as promises, with one sentence for each way in which it can fail.

// A module whose only function uses a SIMD instruction: browsers without SIMD find it invalid.
const SIMD = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11];
const AGAIN = "build the page again with `make demo`";

/** What cannot be used; its message is a sentence for the reader, its kind "picture", "narrow", "missing" or "network". */
export class Unusable extends Error {
  constructor(kind, sentence) {
    super(sentence);
    this.kind = kind;
  }
}

/** What this browser lacks to run a network, as a sentence; null where it lacks nothing. */
export function lacking() {
  if (typeof WebAssembly === "object" && WebAssembly.validate(Uint8Array.from(SIMD))) return null;
  return "This browser has no WebAssembly with SIMD, which the student needs: open this page in a browser of 2023 or later.";
}

export class Describer {
  #worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  #waiting = new Map();
  #count = 0;

  /** settings: {longest, least}, the longer side in pixels of photographs as a network takes them, and the least of the shorter one. */
  constructor(settings) {
    this.settings = settings;
    this.#worker.onmessage = ({ data }) => {
      const { resolve, reject, sentence } = this.#waiting.get(data.id);
      this.#waiting.delete(data.id);
      if (data.answer) resolve(data.answer);
      else reject(new Unusable(data.unusable, sentence(data.unusable)));
    };
    this.#worker.onerror = () => {
      const error = new Unusable("network", `onnxruntime-web cannot be started: ${AGAIN}.`);
      for (const { reject } of this.#waiting.values()) reject(error);
      this.#waiting.clear();
    };
  }

  /** {row, milliseconds} of a photograph, or of a box of it. Fails with Unusable. */
  async describe(network, photo, box = null) {
    const blob = photo.file ?? (await fetched(photo));
    const id = this.#count++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject, sentence: (kind) => this.#sentence(kind, network, photo) });
      const address = new URL(network.file, location.href).href;
      this.#worker.postMessage({ id, address, blob, box, ...this.settings });
    });
  }

  #sentence(kind, network, photo) {
    if (kind === "picture") return `${photo.name} is no picture that this browser can read: choose another file.`;
    if (kind === "network") return `The network ${network.file} is damaged, or none that onnxruntime-web can run: ${AGAIN}.`;
    const { longest, least } = this.settings;
    return `${photo.name} is too narrow to show anything, less than ${least} of ${longest} pixels: choose another file.`;
  }
}

async function fetched(photo) {
  const response = await fetch(photo.address).catch(() => null);
  if (response?.ok) return response.blob();
  throw new Unusable("missing", `${photo.name} cannot be had: start \`make demo\` again, whose server gives the photographs.`);
}
