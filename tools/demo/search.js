// Exact search: dot products of L2-normalised descriptors, best first, of equal ones the earlier photograph first.

/** {photo, score} of the `count` photographs most like a descriptor, among those that the network has described. */
export function ranked(row, photos, network, count) {
  const found = photos.filter((photo) => photo.rows[network]).map((photo) => ({ photo, score: dot(row, photo.rows[network]) }));
  // Sorting is stable, and photographs come in the order of the collection.
  return found.sort((a, b) => b.score - a.score).slice(0, count);
}

function dot(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}
