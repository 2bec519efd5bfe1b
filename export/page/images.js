// The index of the value of channel c at (y, x), in the layout of the model.
const sides = (shape, image) => image.layout === "nchw" ? [shape[1], shape[2]] : [shape[0], shape[1]];
const place = (image, height, width, y, x, c) =>
  image.layout === "nchw" ? (c * height + y) * width + x : (y * width + x) * image.channels + c;

function draw(canvas, values, shape, image) {
  const [height, width] = sides(shape, image);
  let low = 0, high = image.white;
  if (image.datatype !== "UINT8") {
    low = values.reduce((a, b) => Math.min(a, b), Infinity);
    high = values.reduce((a, b) => Math.max(a, b), -Infinity);
  }
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d"), pixels = context.createImageData(width, height);
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) for (let c = 0; c < 4; c++) {
    const value = values[place(image, height, width, y, x, image.channels === 1 ? 0 : c)];
    pixels.data[(y * width + x) * 4 + c] = c === 3 ? 255 : (value - low) / (high - low || 1) * 255;
  }
  context.putImageData(pixels, 0, 0);
}

// Pillow's filters: how far each reaches, and its weight at a distance.
const sinc = x => x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
const FILTERS = {
  box: [0.5, x => x > -0.5 && x <= 0.5 ? 1 : 0],
  bilinear: [1, x => Math.max(0, 1 - Math.abs(x))],
  hamming: [1, x => Math.abs(x) >= 1 ? 0 : sinc(x) * (0.54 + 0.46 * Math.cos(Math.PI * x))],
  bicubic: [2, signed => {
    const x = Math.abs(signed);
    return x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
  }],
  lanczos: [3, x => Math.abs(x) >= 3 ? 0 : sinc(x) * sinc(x / 3)],
};

// The share that each of `size` pixels in a row gives to each of `wanted`; all filters but "nearest" smooth when they shrink.
function weights(size, wanted, filter) {
  const step = size / wanted, scale = Math.max(step, 1);
  return Array.from({ length: wanted }, (_, place) => {
    const centre = (place + 0.5) * step;
    if (filter === "nearest") return { first: Math.floor(centre), shares: [1] };
    const [reach, weight] = FILTERS[filter];
    const first = Math.max(0, Math.floor(centre - reach * scale + 0.5));
    const end = Math.min(size, Math.floor(centre + reach * scale + 0.5));
    const shares = Array.from({ length: end - first }, (_, i) => weight((first + i - centre + 0.5) / scale));
    const sum = shares.reduce((a, b) => a + b, 0);
    return { first, shares: shares.map(share => share / sum) };
  });
}

// One channel with its rows resized, and transposed: doing it twice changes width and height.
function resized(plane, height, width, wanted, filter) {
  const result = new Uint8ClampedArray(height * wanted);
  weights(width, wanted, filter).forEach(({ first, shares }, x) => {
    for (let y = 0; y < height; y++) {
      let sum = 0;
      for (let i = 0; i < shares.length; i++) sum += shares[i] * plane[y * width + first + i];
      result[x * height + y] = sum;
    }
  });
  return result;
}

// Python's round, which is even in the middle.
const roundEven = x => Math.abs(x % 1) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x);

// The size to which an image is resized, and the corner and size of what is then cut out of it.
function fit(height, width, { size, resize, shorter }) {
  if (!size || (shorter === null && height === size[0] && width === size[1])) return { sides: [height, width], corner: [0, 0], size: [height, width] };
  let sides = size;
  if (resize === "crop") {
    const [rows, columns] = size, least = Math.min(height, width);
    if (shorter !== null) sides = [Math.floor(shorter * height / least), Math.floor(shorter * width / least)];
    else if (width * rows >= height * columns) sides = [rows, Math.floor(width * rows / height)];
    else sides = [Math.floor(height * columns / width), columns];
  }
  return { sides, corner: sides.map((side, i) => roundEven((side - size[i]) / 2)), size };
}

// Reads an image as the reader of the artifact does: upright, transparent pixels white. If the artifact records no
// reader, the whole image is stretched to the size of the input.
async function readImage(file, image, reader) {
  const ANY_SIZE = 224;
  const how = reader ?? { size: [image.height ?? ANY_SIZE, image.width ?? ANY_SIZE], resize: "stretch", shorter: null, interpolation: "bicubic" };
  const bitmap = await createImageBitmap(file, { colorSpaceConversion: "none" });
  const canvas = document.createElement("canvas");
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  const grey = at => (19595 * data[at] + 38470 * data[at + 1] + 7471 * data[at + 2] + 32768) >> 16;
  const { sides: [rows, columns], corner: [top, left], size: [height, width] } = fit(canvas.height, canvas.width, how);
  const values = new Uint8Array(height * width * image.channels);
  for (let c = 0; c < image.channels; c++) {
    const plane = Uint8Array.from({ length: data.length / 4 }, (_, i) => image.channels === 1 ? grey(4 * i) : data[4 * i + c]);
    const turned = resized(plane, canvas.height, canvas.width, columns, how.interpolation);
    const seen = resized(turned, columns, canvas.height, rows, how.interpolation);
    for (let y = 0; y < height; y++) for (let x = 0; x < width; x++)
      values[place(image, height, width, y, x, c)] = Math.round(seen[(y + top) * columns + x + left] * (reader ? 1 : image.white / 255));
  }
  return { values, shape: image.layout === "nchw" ? [image.channels, height, width] : [height, width, image.channels] };
}
