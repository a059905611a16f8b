// Describes collections of photographs, with a progress bar; what is described stays, whatever happens later.

import { Unusable } from "./network.js";

const NAMED = 5; // files that are left out; the others are counted

export class Describing {
  #last = Promise.resolve();
  #stops = 0;
  #leftOut = [];

  /** parts: the elements {work, progress, amount, stop, status, problems}. broken: takes a sentence that concerns all photographs. */
  constructor(describer, parts, broken) {
    this.describer = describer;
    this.parts = parts;
    this.broken = broken;
    parts.stop.addEventListener("click", () => this.#stops++);
  }

  /** Describes what the network `name` has not described yet, or all of it again; photographs that are added meanwhile too. */
  describe(photos, name, network, { again = false, each = () => {} } = {}) {
    const stops = this.#stops;
    const done = new Set(again ? [] : photos.filter((photo) => photo.rows[name]));
    this.#last = this.#last.then(() => this.#describe(photos, done, name, network, each, stops));
    return this.#last;
  }

  async #describe(photos, done, name, network, each, stops) {
    const before = done.size;
    const times = [];
    let photo;
    while (stops === this.#stops && (photo = photos.find((one) => !done.has(one)))) {
      this.#show(done.size - before, photos.length - before);
      try {
        const { row, milliseconds } = await this.describer.describe(network, photo);
        photo.rows[name] = row;
        done.add(photo);
        times.push(milliseconds);
        each(photo);
      } catch (error) {
        if (!(error instanceof Unusable)) throw error;
        if (error.kind === "network") {
          this.broken(error.message);
          break;
        }
        if (error.kind === "missing") break;
        photos.splice(photos.indexOf(photo), 1);
        this.#leaveOut(error.message);
      }
    }
    this.parts.work.hidden = true;
    if (times.length) this.parts.status.textContent = `${count(times.length)} described here, ${median(times).toFixed(0)} ms each (median).`;
  }

  #show(finished, all) {
    this.parts.work.hidden = false;
    this.parts.progress.max = all;
    this.parts.progress.value = finished;
    this.parts.amount.textContent = `${finished} of ${all}`;
  }

  #leaveOut(sentence) {
    this.#leftOut.push(sentence);
    const lines = this.#leftOut.slice(0, NAMED);
    if (this.#leftOut.length > NAMED) lines.push(`${count(this.#leftOut.length - NAMED, "more file")} left out.`);
    const items = lines.map((line) => Object.assign(document.createElement("li"), { textContent: line }));
    this.parts.problems.replaceChildren(...items);
  }
}

export function count(number, what = "photograph") {
  return `${number} ${what}${number === 1 ? "" : "s"}`;
}

function median(values) {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
}
