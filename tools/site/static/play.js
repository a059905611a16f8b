// Things to play with on pages without a kernel. Each <div class="play" data-play="mixing | protocol | losses"> becomes one.
// Photographs and what networks said of them are in play-data.js and play.jpg, which `make front` writes.

const here = document.currentScript.src;

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// --- Controls. Each tells `changed` its new value; `value()` reads it.

function slider(label, values, start, changed, shown = String) {
  const input = element("input", { type: "range", min: 0, max: values.length - 1, step: 1, value: start });
  const output = element("span", { class: "play-value", "aria-hidden": "true" }); // aria-valuetext says it
  const tell = () => {
    output.textContent = shown(values[input.value]);
    input.setAttribute("aria-valuetext", output.textContent);
  };
  tell();
  input.addEventListener("input", () => {
    tell();
    changed();
  });
  return {
    node: element("label", { class: "play-slider" }, `${label} `, input, output),
    value: () => values[input.value],
    set: (place) => {
      input.value = place;
      tell();
    },
    disable: (off) => (input.disabled = off),
  };
}

let groups = 0;

function choice(legend, options, start, changed) {
  const field = element("fieldset", {}, element("legend", {}, legend));
  const name = `play-choice-${groups++}`;
  for (const option of options) {
    const input = element("input", { type: "radio", name, value: option });
    input.checked = option === start;
    input.addEventListener("change", changed);
    field.append(element("label", {}, input, element("span", {}, option)));
  }
  return { node: field, value: () => field.querySelector("input:checked").value };
}

function tick(label, start, changed) {
  const input = element("input", { type: "checkbox" });
  input.checked = start;
  input.addEventListener("change", changed);
  return { node: element("label", {}, input, element("span", {}, label)), value: () => input.checked };
}

function press(label, pressed) {
  const button = element("button", { type: "button" }, label);
  button.addEventListener("click", pressed);
  return button;
}

// --- Photographs: tiles of one picture.

function photograph(data, tile, caption, kind, about) {
  const { width, height, columns } = data.tiles;
  const style = [
    `aspect-ratio: ${width} / ${height}`,
    `background-image: url("${new URL("play.jpg", here).href}")`,
    `background-size: ${columns * 100}% auto`,
    `background-position: ${((tile % columns) / (columns - 1)) * 100}% ${(Math.floor(tile / columns) / Math.max(1, data.tiles.rows - 1)) * 100}%`,
  ].join("; ");
  const picture = element("div", { class: `play-tile ${kind}`, style, role: "img", "aria-label": about });
  return element("figure", {}, element("figcaption", { "aria-hidden": "true" }, caption), picture);
}

// --- Lambda over nearest photographs.

function mixing(place, data) {
  const { pairs, weights } = data.mixing;
  const names = pairs.map((_, number) => `pair ${number + 1}`);
  const where = { 0: ["first", "the first room"], 1: ["second", "the second room"], 2: ["other", "another room"] };
  const [pictures, words] = [element("div"), element("p", { role: "status" })];
  const pair = choice("Photographs", names, names[0], draw);
  const weight = slider("λ, the share of the first photograph:", weights, Math.floor(weights.length / 2), draw, (x) => x.toFixed(2));

  function draw() {
    const own = pairs[names.indexOf(pair.value())];
    const step = weights.indexOf(weight.value());
    const ends = own.ends.map((tile, end) =>
      photograph(data, tile, end ? "second (λ = 0)" : "first (λ = 1)", where[end][0], `the ${end ? "second" : "first"} photograph`),
    );
    const rows = [element("div", { class: "play-row" }, ...ends)];
    const said = [];
    for (const [space, found] of Object.entries(own.found)) {
      const tiles = found[step].map(([tile, room], rank) =>
        photograph(data, tile, `${rank + 1}`, where[room][0], `${rank + 1}, ${where[room][1]}`),
      );
      rows.push(element("p", { class: "play-title" }, `Nearest to the mixture, ${space}`), element("div", { class: "play-row" }, ...tiles));
      const count = (room) => found[step].filter(([, one]) => one === room).length;
      said.push(`${space}: ${count(0)} of the first room, ${count(1)} of the second, ${count(2)} of others`);
    }
    pictures.replaceChildren(...rows);
    words.textContent = `λ = ${weight.value().toFixed(2)}. ${said.join("; ")}.`;
  }

  draw();
  place.append(pair.node, weight.node, pictures, words, key([["first", "first room"], ["second", "second room"], ["other", "another room"]]));
}

function key(entries) {
  const parts = entries.map(([kind, meaning]) => element("span", {}, element("span", { class: `play-line ${kind}` }), ` ${meaning}`));
  return element("p", { class: "play-key" }, ...parts);
}

// --- Protocol explorer.

const PROTOCOLS = { easy: [["E"], ["H", "J"]], medium: [["E", "H"], ["J"]], hard: [["H"], ["E", "J"]] };

function outcome(letter, protocol, junkIgnored) {
  const [positive, ignored] = PROTOCOLS[protocol];
  if (letter === "J" && !junkIgnored) return "wrong";
  if (positive.includes(letter)) return "right";
  return ignored.includes(letter) ? "ignored" : "wrong";
}

function protocol(place, data) {
  const { queries } = data.protocol;
  const names = queries.map((_, number) => `query ${number + 1}`);
  const networks = Object.keys(queries[0].lists);
  const signs = { right: "✓", wrong: "✗", ignored: "–" };
  const [pictures, words] = [element("div"), element("p", { role: "status" })];
  const query = choice("Query", names, names[Math.floor(names.length / 2)], draw);
  const network = choice("Ranked by", networks, networks.at(-1), draw);
  const level = choice("Protocol", Object.keys(PROTOCOLS), "medium", draw);
  const junk = tick("junk is ignored (no tick: counts as wrong)", true, draw);

  function draw() {
    const own = queries[names.indexOf(query.value())];
    const kinds = own.lists[network.value()].map(([, letter]) => outcome(letter, level.value(), junk.value()));
    const tiles = own.lists[network.value()].map(([tile, letter], rank) =>
      photograph(data, tile, `${rank + 1} ${letter} ${signs[kinds[rank]]}`, kinds[rank], `${rank + 1}, ${kinds[rank]}`),
    );
    pictures.replaceChildren(
      element("div", { class: "play-row" }, photograph(data, own.tile, "the query", "first", "the query with its box")),
      element("div", { class: "play-row" }, ...tiles),
    );
    const ap = own.ap[network.value()][level.value()][junk.value() ? 0 : 1];
    const score = ap === null ? "no right photograph under this protocol" : `average precision ${ap.toFixed(1)} %`;
    words.textContent = `${network.value()}, ${level.value()}: ${score} (of the whole list). First ${kinds.length}: ${kinds.join(", ")}.`;
  }

  draw();
  const letters = element("p", { class: "play-key" }, "Letters: E easy, H hard, J junk, none for another room.");
  place.append(query.node, network.node, level.node, junk.node, pictures, words, letters);
  place.append(key([["right", "✓ right"], ["wrong", "✗ wrong"], ["ignored", "– ignored"]]));
}

// --- Losses on points of a circle. The formulas are those of rdistill_helpers.losses; a test compares them.

const TAU = 2 * Math.PI;
const similarities = (angles) => angles.map((a) => angles.map((b) => Math.cos(a - b)));

function relativeDistances(angles) {
  const table = angles.map((a) => angles.map((b) => 2 * Math.abs(Math.sin((a - b) / 2))));
  const positive = table.flat().filter((value) => value > 0);
  const mean = positive.reduce((sum, value) => sum + value, 0) / positive.length;
  return table.map((row) => row.map((value) => value / mean));
}

function logSoftmax(row, own, temperature) {
  const logits = row.map((value, i) => (i === own ? -Infinity : value / temperature));
  const top = Math.max(...logits);
  const total = Math.log(logits.reduce((sum, value) => sum + Math.exp(value - top), 0)) + top;
  return logits.map((value) => value - total);
}

const LOSSES = {
  listwise(student, teacher, temperature) {
    const [own, wanted] = [similarities(student), similarities(teacher)];
    let sum = 0;
    own.forEach((row, i) => {
      const [q, p] = [logSoftmax(row, i, temperature), logSoftmax(wanted[i], i, temperature)];
      p.forEach((value, j) => (sum += j === i ? 0 : Math.exp(value) * (value - q[j])));
    });
    return sum / student.length;
  },
  similarity(student, teacher) {
    const [own, wanted] = [similarities(student), similarities(teacher)];
    const sum = own.flat().reduce((total, value, at) => total + (value - wanted.flat()[at]) ** 2, 0);
    return sum / (student.length * (student.length - 1));
  },
  "RKD, distance"(student, teacher) {
    const [own, wanted] = [relativeDistances(student).flat(), relativeDistances(teacher).flat()];
    const smooth = own.map((value, at) => Math.abs(value - wanted[at])).map((d) => (d < 1 ? (d * d) / 2 : d - 0.5));
    return smooth.reduce((sum, value) => sum + value, 0) / smooth.length;
  },
};

function gradient(loss, angles, teacher, temperature) {
  const step = 1e-5;
  return angles.map((angle, i) => {
    const at = (value) => loss(angles.with(i, value), teacher, temperature);
    return (at(angle + step) - at(angle - step)) / (2 * step);
  });
}

function descend(loss, angles, teacher, temperature, steps = 10) {
  for (let turn = 0; turn < steps; turn++) {
    const slope = gradient(loss, angles, teacher, temperature);
    const steepest = Math.max(...slope.map(Math.abs));
    if (steepest < 1e-9) break;
    const before = loss(angles, teacher, temperature);
    for (let reach = 0.3; reach > 1e-4; reach /= 2) {
      const moved = angles.map((angle, i) => angle - (reach * slope[i]) / steepest);
      if (loss(moved, teacher, temperature) < before) {
        angles = moved;
        break;
      }
    }
  }
  return angles;
}

const SVG = "http://www.w3.org/2000/svg";
const COLOURS = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"];
const SHAPES = [
  "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0", "M-5-5h10v10h-10z", "M0-6L6 5H-6z", "M0-7L6 0L0 7L-6 0z", "M0 6L6-5H-6z", "M-2-6h4v4h4v4h-4v4h-4v-4h-4v-4h4z",
];
const PER_GROUP = 4;
const TEACHER = Array.from({ length: 24 }, (_, i) => (Math.floor(i / PER_GROUP) * 60 + [-12, -4, 4, 12][i % PER_GROUP]) * (TAU / 360));
const START = TEACHER.map((_, i) => ((i * 137.508) % 360) * (TAU / 360)); // all over the circle, groups mixed

function drawn(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function circle(angles, ringed, pulls) {
  const picture = drawn("svg", { viewBox: "-130 -130 260 260", "aria-hidden": "true" });
  picture.append(drawn("circle", { r: 100, class: "play-circle" }));
  angles.forEach((angle, i) => {
    const [x, y] = [100 * Math.cos(angle), -100 * Math.sin(angle)];
    if (pulls && Math.abs(pulls[i]) > 0.03) {
      const [side, end] = [pulls[i] > 0 ? 112 : 88, angle + 0.6 * pulls[i]];
      const at = (radius, turn) => `${radius * Math.cos(turn)} ${-radius * Math.sin(turn)}`;
      const head = 0.07 * Math.sign(pulls[i]);
      const arc = `M${at(side, angle)}A${side} ${side} 0 0 ${pulls[i] > 0 ? 0 : 1} ${at(side, end)}`;
      picture.append(drawn("path", { d: `${arc}M${at(side - 5, end - head)}L${at(side, end)}L${at(side + 5, end - head)}`, class: "play-arrow" }));
    }
    const group = Math.floor(i / PER_GROUP);
    picture.append(drawn("path", { d: SHAPES[group], fill: COLOURS[group], transform: `translate(${x} ${y})` }));
    if (i === ringed) picture.append(drawn("circle", { cx: x, cy: y, r: 10, class: "play-ring" }));
  });
  return picture;
}

// The teacher's circle, turned or mirrored to where it fits the student's: losses on relations leave that free.
function fitted(student) {
  const fits = [1, -1].map((side) => {
    const [c, s] = [Math.cos, Math.sin].map((f) => student.reduce((sum, angle, i) => sum + f(angle - side * TEACHER[i]), 0));
    return { side, turn: Math.atan2(s, c), size: Math.hypot(c, s) };
  });
  const best = fits[0].size >= fits[1].size ? fits[0] : fits[1];
  return TEACHER.map((angle) => best.side * angle + best.turn);
}

function way(loss, angles, point, temperature) {
  const places = Array.from({ length: 73 }, (_, i) => (i * TAU) / 72);
  const values = places.map((angle) => loss(angles.with(point, angle), TEACHER, temperature));
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const height = (value) => 130 - (110 * (value - low)) / (high - low || 1);
  const picture = drawn("svg", { viewBox: "0 0 300 170", "aria-hidden": "true" });
  picture.append(drawn("path", { d: `M${values.map((value, i) => `${20 + i * 3.6} ${height(value)}`).join("L")}`, class: "play-curve" }));
  const here = ((angles[point] % TAU) + TAU) % TAU;
  const value = loss(angles, TEACHER, temperature);
  picture.append(drawn("circle", { cx: 20 + (here / TAU) * 259.2, cy: height(value), r: 5, class: "play-here" }));
  for (const [x, degrees] of [[20, 0], [149.6, 180], [279.2, 360]]) {
    const label = drawn("text", { x, y: 155, "text-anchor": "middle" });
    label.textContent = `${degrees}°`;
    picture.append(label);
  }
  return picture;
}

function losses(place) {
  let angles = [...START];
  const start = angles;
  const [pictures, words] = [element("div", { class: "play-circles" }), element("p", { role: "status" })];
  const numbers = TEACHER.map((_, i) => i);
  const degrees = Array.from({ length: 360 }, (_, i) => i);
  const name = choice("Loss", Object.keys(LOSSES), "listwise", draw);
  const heat = slider("Temperature:", [0.01, 0.02, 0.04, 0.07, 0.1, 0.2, 0.5, 1], 2, draw);
  const point = slider("Point:", numbers, 0, follow, (i) => `${i + 1}`);
  const direction = slider("Its direction in degrees:", degrees, 0, turn);

  function follow() {
    const own = Math.round((angles[point.value()] * 360) / TAU);
    direction.set(((own % 360) + 360) % 360);
    draw();
  }
  function turn() {
    angles = angles.with(point.value(), (direction.value() * TAU) / 360);
    draw();
  }
  function draw() {
    const loss = LOSSES[name.value()];
    heat.disable(name.value() !== "listwise");
    const slope = gradient(loss, angles, TEACHER, heat.value());
    const steepest = Math.max(...slope.map(Math.abs), 1e-12);
    const pulls = slope.map((value) => -value / steepest);
    const own = point.value();
    const panels = {
      teacher: circle(fitted(angles), own),
      "student, and the pull on each point": circle(angles, own, pulls),
      "loss while the ringed point goes round": way(loss, angles, own, heat.value()),
    };
    pictures.replaceChildren(
      ...Object.entries(panels).map(([title, picture]) => element("figure", {}, element("figcaption", {}, title), picture)),
    );
    const pulled = Math.abs(pulls[own]) < 0.03 ? "hardly pulled" : `pulled ${pulls[own] > 0 ? "anticlockwise" : "clockwise"}`;
    const value = loss(angles, TEACHER, heat.value());
    words.textContent =
      `Loss ${name.value()}: ${value.toPrecision(3)}. ` +
      `Point ${own + 1}, of group ${Math.floor(own / PER_GROUP) + 1}, is ${pulled}.`;
  }
  const buttons = element(
    "p",
    {},
    press("10 steps downhill", () => {
      angles = descend(LOSSES[name.value()], angles, TEACHER, heat.value());
      follow();
    }),
    " ",
    press("Start again", () => {
      angles = [...start];
      follow();
    }),
  );
  follow();
  place.append(name.node, heat.node, point.node, direction.node, buttons, pictures, words);
}

// --- Start.

const PLAYS = { mixing, protocol, losses };
const places = [...document.querySelectorAll(".play")];

function begin(data) {
  for (const place of places) {
    place.replaceChildren();
    PLAYS[place.dataset.play](place, data);
  }
}

if (places.some((place) => place.dataset.play !== "losses")) {
  // A script, for a page that lies on a disk may read no other file.
  const script = element("script", { src: new URL("play-data.js", here).href });
  script.addEventListener("load", () => begin(window.playData));
  document.head.append(script);
} else {
  begin(null);
}
