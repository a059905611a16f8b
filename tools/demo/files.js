// Files that a reader gives: chosen, by the folder, or dropped, folders included.

/** The files of a drop, those in its folders too. */
export async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files];
  return (await Promise.all(entries.map(filesOf))).flat();
}

async function filesOf(entry) {
  if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    // A browser gives at most 100 entries at once.
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return found;
    found.push(...(await Promise.all(some.map(filesOf))).flat());
  }
}

/** What the page calls a file: with the folders that it lies in, where the browser tells them. */
export function nameOf(file) {
  return file.webkitRelativePath || file.name;
}

/** Whether systems put the file there, and not its owner. */
export function hidden(file) {
  return nameOf(file).split("/").some((part) => part.startsWith(".") || part.startsWith("@"));
}
