// Photographs as the package prepares them: decoded to RGB, cut to a box, made smaller by Pillow's own arithmetic.

const GAP = 2; // of Image.thumbnail: how much larger than the result the picture is that Lanczos starts from
const BITS = 22; // of Pillow's whole-number weights

/** The photograph as RGB bytes: {width, height, data}, three bytes a pixel, upright, what is transparent on white. */
export async function decoded(blob) {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" });
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const rgba = context.getImageData(0, 0, width, height).data;
  const data = new Uint8Array(3 * width * height);
  for (let from = 0, to = 0; from < rgba.length; from += 4, to += 3) {
    data[to] = rgba[from];
    data[to + 1] = rgba[from + 1];
    data[to + 2] = rgba[from + 2];
  }
  return { width, height, data };
}

/** The part of a picture inside a box [left, top, right, bottom] of whole pixels. */
export function cropped({ width, data }, [left, top, right, bottom]) {
  const row = 3 * (right - left);
  const part = new Uint8Array(row * (bottom - top));
  for (let y = top; y < bottom; y++) {
    const start = 3 * (y * width + left);
    part.set(data.subarray(start, start + row), row * (y - top));
  }
  return { width: right - left, height: bottom - top, data: part };
}

/** The box of a query, cut out and at the scale that the whole photograph would get: `Benchmark.query` of the package. */
export function prepared(picture, box, longest) {
  const part = box ? cropped(picture, box) : picture;
  const side = Math.max(picture.width, picture.height);
  const target = Math.floor((longest * Math.max(part.width, part.height)) / side);
  return smaller(part, Math.max(1, target));
}

/** The picture made smaller, if it is larger, until its longer side is `longest`: `resize_longest` of the package. */
export function smaller(picture, longest) {
  if (Math.max(picture.width, picture.height) <= longest) return picture;
  const [width, height] = sizeWithin(picture.width, picture.height, longest);
  const across = Math.max(1, Math.floor(picture.width / width / GAP));
  const down = Math.max(1, Math.floor(picture.height / height / GAP));
  // The reduced picture may end with blocks that are not whole: Lanczos reads fractions of its last pixels.
  const [inWidth, inHeight] = [picture.width / across, picture.height / down];
  const reduced = across > 1 || down > 1 ? blockMeans(picture, across, down) : picture;
  return lanczosDown(lanczosAcross(reduced, width, inWidth), height, inHeight);
}

/** Floats in [0, 1], [1, 3, height, width], as the network takes them. */
export function planes({ width, height, data }) {
  const count = width * height;
  const values = new Float32Array(3 * count);
  for (let pixel = 0, from = 0; pixel < count; pixel++) {
    for (let colour = 0; colour < 3; colour++) values[colour * count + pixel] = data[from++] / 255;
  }
  return { values, shape: [1, 3, height, width] };
}

function sizeWithin(width, height, longest) {
  const aspect = width / height;
  const nearest = (number, error) => {
    const [low, high] = [Math.floor(number), Math.ceil(number)];
    return Math.max(1, error(high) < error(low) ? high : low);
  };
  if (aspect <= 1) return [nearest(longest * aspect, (n) => Math.abs(aspect - n / longest)), longest];
  return [longest, nearest(longest / aspect, (n) => (n === 0 ? 0 : Math.abs(aspect - longest / n)))];
}

function blockMeans({ width, height, data }, across, down) {
  const [newWidth, newHeight] = [Math.ceil(width / across), Math.ceil(height / down)];
  const means = new Uint8Array(3 * newWidth * newHeight);
  for (let y = 0, to = 0; y < newHeight; y++) {
    const endY = Math.min(height, (y + 1) * down);
    for (let x = 0; x < newWidth; x++) {
      const endX = Math.min(width, (x + 1) * across);
      const count = (endY - y * down) * (endX - x * across);
      const [factor, half] = [Math.floor(2 ** 24 / count), Math.floor(count / 2)];
      for (let colour = 0; colour < 3; colour++) {
        let sum = half;
        for (let fromY = y * down; fromY < endY; fromY++) {
          for (let fromX = x * across; fromX < endX; fromX++) sum += data[3 * (fromY * width + fromX) + colour];
        }
        means[to++] = Math.floor((sum * factor) / 2 ** 24);
      }
    }
  }
  return { width: newWidth, height: newHeight, data: means };
}

function lanczos(x) {
  const sinc = (t) => (t === 0 ? 1 : Math.sin(t * Math.PI) / (t * Math.PI));
  return Math.abs(x) < 3 ? sinc(x) * sinc(x / 3) : 0;
}

/** For each of `count` new pixels the first old one that it takes, and the weights of it and those behind it. */
function weightsOf(count, length, pixels) {
  const scale = length / count;
  const wide = Math.max(1, scale);
  return Array.from({ length: count }, (_, i) => {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.floor(centre - 3 * wide + 0.5));
    const end = Math.min(pixels, Math.floor(centre + 3 * wide + 0.5));
    const weights = Array.from({ length: end - first }, (_, x) => lanczos((x + first - centre + 0.5) / wide));
    const sum = weights.reduce((a, b) => a + b, 0);
    const whole = weights.map((w) => (w / sum) * 2 ** BITS + (w < 0 ? -0.5 : 0.5)); // cut off by the array
    return { first, weights: Int32Array.from(whole) };
  });
}

function lanczosAcross({ width, height, data }, newWidth, length) {
  const all = weightsOf(newWidth, length, width);
  const result = new Uint8ClampedArray(3 * newWidth * height);
  for (let y = 0, to = 0; y < height; y++) {
    for (const { first, weights } of all) {
      for (let colour = 0; colour < 3; colour++) {
        let sum = 1 << (BITS - 1);
        for (let i = 0, from = 3 * (y * width + first) + colour; i < weights.length; i++, from += 3) {
          sum = (sum + Math.imul(data[from], weights[i])) | 0;
        }
        result[to++] = sum >> BITS;
      }
    }
  }
  return { width: newWidth, height, data: result };
}

function lanczosDown({ width, height, data }, newHeight, length) {
  const row = 3 * width;
  const result = new Uint8ClampedArray(row * newHeight);
  weightsOf(newHeight, length, height).forEach(({ first, weights }, y) => {
    for (let x = 0; x < row; x++) {
      let sum = 1 << (BITS - 1);
      for (let i = 0, from = row * first + x; i < weights.length; i++, from += row) {
        sum = (sum + Math.imul(data[from], weights[i])) | 0;
      }
      result[row * y + x] = sum >> BITS;
    }
  });
  return { width, height: newHeight, data: result };
}
