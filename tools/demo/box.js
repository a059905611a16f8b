// The box on the query: drawn by mouse, finger or pen, or set by four number fields. Whole pixels of the photograph.

const SIDES = ["left", "top", "right", "bottom"];

export class Box {
  size = [1, 1]; // of the photograph

  /** changed: called when a reader has changed the box. */
  constructor(frame, overlay, inputs, changed) {
    this.overlay = overlay;
    this.inputs = inputs;
    this.changed = changed;
    for (const side of SIDES) inputs[side].addEventListener("change", () => this.#typed(side));
    frame.addEventListener("pointerdown", (event) => this.#drawn(frame, event));
  }

  /** Another photograph: of this size, with this box or whole. */
  start(size, box = null) {
    this.size = size;
    this.#set(box ?? [0, 0, ...size]);
  }

  /** Another box of the same photograph, or all of it. */
  put(box) {
    this.start(this.size, box);
    this.changed();
  }

  /** The box, or null where it is the whole photograph. */
  get cut() {
    const [left, top, right, bottom] = this.box;
    return left || top || right < this.size[0] || bottom < this.size[1] ? this.box : null;
  }

  #set(box) {
    const [width, height] = this.size;
    this.box = box;
    SIDES.forEach((side, i) => {
      const input = this.inputs[side];
      input.max = i % 2 ? height : width;
      if (Number(input.value) !== box[i] || input.value === "") input.value = box[i];
    });
    const shares = [box[0] / width, box[1] / height, (box[2] - box[0]) / width, (box[3] - box[1]) / height];
    ["left", "top", "width", "height"].forEach((name, i) => (this.overlay.style[name] = `${100 * shares[i]}%`));
  }

  /** Takes a number over; a side that passes the other one stops before it. */
  #typed(side) {
    const i = SIDES.indexOf(side);
    const typed = Math.round(this.inputs[side].valueAsNumber);
    if (Number.isNaN(typed)) return this.#set(this.box); // nothing that is a number
    const box = [...this.box];
    box[i] = i < 2 ? Math.min(Math.max(0, typed), box[i + 2] - 1) : Math.max(Math.min(this.size[i - 2], typed), box[i - 2] + 1);
    this.#set(box);
    this.changed();
  }

  #drawn(frame, event) {
    if (event.button !== 0 || !event.isPrimary) return;
    event.preventDefault();
    frame.setPointerCapture(event.pointerId);
    const before = this.box;
    const start = this.#at(frame, event);
    const move = (moved) => {
      const end = this.#at(frame, moved);
      const [low, high] = [start.map((a, i) => Math.floor(Math.min(a, end[i]))), start.map((a, i) => Math.ceil(Math.max(a, end[i])))];
      if (high[0] > low[0] && high[1] > low[1]) this.#set([...low, ...high]);
    };
    const end = (ended) => {
      frame.removeEventListener("pointermove", move);
      frame.removeEventListener("pointerup", end);
      frame.removeEventListener("pointercancel", end);
      if (ended.type === "pointercancel") this.#set(before);
      else if (this.box !== before) this.changed();
    };
    frame.addEventListener("pointermove", move);
    frame.addEventListener("pointerup", end);
    frame.addEventListener("pointercancel", end);
  }

  /** Where a pointer is, in pixels of the photograph, never outside. */
  #at(frame, event) {
    const shown = frame.getBoundingClientRect();
    const share = [(event.clientX - shown.left) / shown.width, (event.clientY - shown.top) / shown.height];
    return share.map((value, i) => Math.min(1, Math.max(0, value)) * this.size[i]);
  }
}
