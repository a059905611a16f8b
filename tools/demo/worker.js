// Describes photographs beside the page, which stays usable meanwhile. Asked {id, network, address, blob, box, longest}.

import * as ort from "./onnxruntime/ort.wasm.min.mjs";
import { decoded, planes, prepared } from "./pictures.js";

ort.env.wasm.wasmPaths = new URL("./onnxruntime/", import.meta.url).href;
// Threads share memory, which browsers allow to pages whose server isolates them, as that of `make demo` does.
ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1;
ort.env.logLevel = "error";

const sessions = new Map();

/** The network of an address, loaded once. */
function session(address) {
  if (!sessions.has(address)) {
    sessions.set(address, ort.InferenceSession.create(address, { executionProviders: ["wasm"] }));
  }
  return sessions.get(address);
}

class Unusable extends Error {}

async function describe({ address, blob, box, longest, least }) {
  const network = await session(address).catch(() => {
    sessions.delete(address);
    throw new Unusable("network");
  });
  const start = performance.now();
  const picture = await decoded(blob).catch(() => {
    throw new Unusable("picture");
  });
  const part = prepared(picture, box, longest);
  if (!box && Math.min(part.width, part.height) < least) throw new Unusable("narrow");
  const { values, shape } = planes(part);
  const input = new ort.Tensor("float32", values, shape);
  const found = await network.run({ [network.inputNames[0]]: input }, [network.outputNames[0]]);
  const row = Float32Array.from(found[network.outputNames[0]].data);
  return { row, width: picture.width, height: picture.height, milliseconds: performance.now() - start };
}

// One after another: a network answers one question at a time.
let last = Promise.resolve();
self.onmessage = ({ data }) => {
  last = last.then(async () => {
    try {
      self.postMessage({ id: data.id, answer: await describe(data) });
    } catch (error) {
      self.postMessage({ id: data.id, unusable: error instanceof Unusable ? error.message : "network", why: String(error) });
    }
  });
};
