// The page: two collections of photographs, a query with its box, and what two networks find.

import { Box } from "./box.js";
import { Describing, count } from "./describing.js";
import { dropped, hidden, nameOf } from "./files.js";
import { Describer, Unusable, lacking } from "./network.js";
import { ranked } from "./search.js";

const SHOWN = 12; // results of each network
const NO_ANSWER =
  "The teacher is not in this page, only its answers for whole photographs of the rooms and for queries in their own box: choose one of these.";

const element = (id) => document.getElementById(id);
const elements = (...ids) => Object.fromEntries(ids.map((id) => [id, element(id)]));

// `asked` are photographs that a reader has taken as queries beside those that the collection offers.
const collections = {
  rooms: { photos: [], queries: [], asked: [] },
  own: { photos: [], asked: [], get queries() { return this.photos; } },
};
let collection = collections.rooms;
let query = null; // the photograph; `box` holds the part of it
let listed = []; // what the choice of queries offers
let told, describer, describing, box;

function broken(sentence) {
  element("broken").textContent = sentence;
  element("broken").hidden = false;
}

// --- Photographs

/** The float32 descriptors of a file, one array for each photograph. */
async function rowsOf(file, photographs) {
  const values = new Float32Array(await (await fetch(file)).arrayBuffer());
  const dim = values.length / photographs;
  return Array.from({ length: photographs }, (_, i) => values.subarray(i * dim, (i + 1) * dim));
}

async function loadRooms() {
  const { photos, queries, rows } = told.rooms;
  const photo = (name) => ({ name, address: `rooms/${name}.webp`, rows: {} });
  const rooms = Object.assign(collections.rooms, { photos: photos.map(photo) });
  rooms.queries = queries.map((entry) => ({ ...photo(entry.name), ...entry }));
  for (const [network, file] of Object.entries(rows)) {
    // The teacher's answers for the queries in their boxes follow those for the photographs.
    const asked = network === "teacher" ? rooms.queries : [];
    const found = await rowsOf(file, photos.length + asked.length);
    rooms.photos.forEach((one, i) => (one.rows[network] = found[i]));
    asked.forEach((one, i) => (one.inBox = found[photos.length + i]));
  }
  const offered = `${count(photos.length)} of furnished rooms and ${queries.length} queries`;
  element("rooms-told").textContent = `${offered}. They were described when this page was built: search at once.`;
}

async function choose(name) {
  collection = collections[name];
  element(`search-${name}`).checked = true;
  element("rooms-controls").hidden = name !== "rooms";
  element("own-controls").hidden = name !== "own";
  await ask(collection.queries[0] ?? null);
}

/** Takes files into the reader's own collection, and searches as soon as the first is described. */
async function add(files) {
  if (collection !== collections.own) await choose("own");
  const { photos } = collections.own;
  const known = new Set(photos.map((photo) => photo.name));
  photos.push(...files.filter((file) => !known.has(nameOf(file)) && !hidden(file)).map(ownPhoto));
  await describeOwn("student", (photo) => query ?? ask(photo));
  if (element("compare").value === "untrained") await describeOwn("untrained");
}

async function describeOwn(name, each) {
  await describing.describe(collections.own.photos, name, told.networks[name], { each });
  listQueries();
  await search();
}

function ownPhoto(file) {
  return { name: nameOf(file), file, address: URL.createObjectURL(file), rows: {} };
}

// --- The query

function listQueries() {
  listed = [...collection.queries, ...collection.asked];
  const named = (one, i) => new Option(one.box ? `query ${i + 1}, ${one.name}` : one.name, i);
  element("query-choice").replaceChildren(...listed.map(named));
  element("query-choice").value = listed.indexOf(query);
}

let asks = 0;

/** Takes a photograph, or none, as the query; where it is no picture, the query stays what it was. The last call holds. */
async function ask(photo) {
  const turn = ++asks;
  element("query-status").textContent = "";
  element("found").ariaBusy = "true";
  if (photo) {
    const picture = element("picture");
    picture.src = photo.address;
    const shown = await picture.decode().then(() => true, () => false);
    if (turn !== asks) return;
    if (!shown) {
      if (query) picture.src = query.address;
      element("query-status").textContent = `${photo.name} is no picture that this browser can read: choose another file.`;
      return search();
    }
    picture.alt = `The query, ${photo.name}`;
    if (!collection.queries.includes(photo) && !collection.asked.includes(photo)) collection.asked.push(photo);
    const size = [picture.naturalWidth, picture.naturalHeight];
    // Within a square of 24 rem, small photographs enlarged: a finger needs room.
    element("frame").style.width = `min(100%, ${24 * Math.min(1, size[0] / size[1])}rem)`;
    box.start(size, photo.box);
  }
  query = photo;
  element("frame").hidden = element("numbers").disabled = !photo;
  element("own-box").hidden = !photo?.box;
  listQueries();
  await search();
}

/** The descriptor of the query in its box, or null where a teacher that is not here would have to be asked. */
async function rowOfQuery(network) {
  if (network !== "teacher") return (await describer.describe(told.networks[network], query, box.cut)).row;
  if (box.cut && String(box.cut) === String(query.box)) return query.inBox;
  return (!box.cut && query.rows.teacher) || null;
}

// --- The results

let [searching, again] = [false, false];

/** Searches; calls that come meanwhile make it search once more, with what holds then. */
async function search() {
  again = true;
  element("found").ariaBusy = "true";
  if (searching) return;
  searching = true;
  while (again) {
    again = false;
    await searchBy("student", element("student-results"), element("student-told"));
    await searchBy(element("compare").value, element("compare-results"), element("compare-told"));
  }
  searching = false;
  element("found").ariaBusy = "false";
}

async function searchBy(network, list, line) {
  let [found, sentence] = [[], ""];
  try {
    if (network && query) [found, sentence] = await find(network);
  } catch (error) {
    if (!(error instanceof Unusable)) throw error;
    sentence = error.message;
    if (error.kind === "network") broken(sentence);
  }
  line.textContent = sentence;
  list.replaceChildren(...found);
}

/** The results of a network as elements, and a sentence about them. */
async function find(network) {
  const { photos } = collection;
  const row = await rowOfQuery(network);
  if (!row) return [[], NO_ANSWER];
  const best = ranked(row, photos, network, SHOWN);
  if (!best.length) return [[], "No photograph is described yet."];
  const described = photos.filter((photo) => photo.rows[network]).length;
  let sentence = `The best ${best.length} of ${count(described)}.`;
  const right = best.filter(({ photo }) => query?.right?.includes(photo.name)).length;
  if (query?.right) sentence += ` ${right} of them ${right === 1 ? "is" : "are"} right.`;
  return [best.map(({ photo, score }, i) => result(photo, score, i + 1)), sentence];
}

function result(photo, score, rank) {
  const button = Object.assign(document.createElement("button"), { type: "button" });
  const mark = query?.right?.includes(photo.name) ? "right" : query?.junk?.includes(photo.name) ? "not counted" : "";
  if (mark === "right") button.classList.add("right");
  button.title = "Search with this photograph";
  button.addEventListener("click", () => ask(photo));
  const text = (words, name) => Object.assign(document.createElement("span"), { textContent: words, className: name });
  const picture = Object.assign(new Image(), { src: photo.address, alt: "" });
  button.append(picture, text(`${rank}. ${photo.name}`, "name"), " ", text(score.toFixed(3), "score"), " ", text(mark, "mark"));
  const item = document.createElement("li");
  item.append(button);
  return item;
}

// --- The start

function listen() {
  for (const name of ["rooms", "own"]) element(`search-${name}`).addEventListener("change", () => choose(name));
  const { student } = told.networks;
  element("describe-rooms").addEventListener("click", async () => {
    await describing.describe(collections.rooms.photos, "student", student, { again: true });
    await search();
  });
  for (const id of ["files", "folder"]) {
    element(id).addEventListener("change", (event) => {
      add([...event.target.files]);
      event.target.value = ""; // the same file can be chosen again
    });
  }
  element("other").addEventListener("change", ({ target }) => {
    if (target.files.length) ask(ownPhoto(target.files[0]));
    target.value = "";
  });
  element("query-choice").addEventListener("change", ({ target }) => ask(listed[target.value]));
  element("whole").addEventListener("click", () => box.put(null));
  element("own-box").addEventListener("click", () => box.put(query.box));
  element("compare").addEventListener("change", async ({ target }) => {
    if (target.value === "untrained") await describeOwn("untrained");
    else await search();
  });
  const over = (event, on) => {
    event.preventDefault();
    document.body.classList.toggle("dropping", on);
  };
  document.addEventListener("dragover", (event) => over(event, true));
  document.addEventListener("dragleave", (event) => over(event, false));
  document.addEventListener("drop", async (event) => {
    over(event, false);
    await add(await dropped(event.dataTransfer));
  });
}

async function start() {
  const sentence = lacking();
  if (sentence) return broken(sentence);
  try {
    told = await (await fetch("demo.json")).json();
    await loadRooms();
  } catch {
    return broken("The data of this page cannot be read: build it again with `make demo`.");
  }
  describer = new Describer(told.size);
  describing = new Describing(describer, elements("work", "progress", "amount", "stop", "status", "problems"), broken);
  box = new Box(element("frame"), element("box"), elements("left", "top", "right", "bottom"), search);
  element("student-told").textContent = told.networks.student.title;
  listen();
  element("sections").hidden = false;
  await choose("rooms");
}

start();
