// The format of export/targets/exchange.py: the length of the header in four bytes, the header in JSON, and the numbers.
const ARRAYS = {
  bool: Uint8Array, uint8: Uint8Array, int8: Int8Array, uint16: Uint16Array, int16: Int16Array, uint32: Uint32Array,
  int32: Int32Array, uint64: BigUint64Array, int64: BigInt64Array, float16: Uint16Array, float32: Float32Array, float64: Float64Array,
};

// Batches by name, each of arrays {dtype, shape, values} by name.
function unpack(buffer) {
  const length = new DataView(buffer).getUint32(0, true), batches = {};
  for (const { batch, name, dtype, shape, start } of JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)))) {
    const first = 4 + length + start, size = shape.reduce((a, b) => a * b, 1);
    const values = new ARRAYS[dtype](buffer.slice(first, first + size * ARRAYS[dtype].BYTES_PER_ELEMENT));
    (batches[batch] ??= {})[name] = { dtype, shape, values };
  }
  return batches;
}

function pack(batches) {
  const header = [], numbers = [];
  let start = 0;
  for (const [batch, arrays] of Object.entries(batches)) for (const [name, { dtype, shape, values }] of Object.entries(arrays)) {
    header.push({ batch, name, dtype, shape, start });
    numbers.push(values);
    start += values.byteLength;
  }
  const text = new TextEncoder().encode(JSON.stringify(header));
  const length = new DataView(new ArrayBuffer(4));
  length.setUint32(0, text.length, true);
  return new Blob([length, text, ...numbers]);
}
