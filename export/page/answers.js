const $ = id => document.getElementById(id);
const SHOWN = 10;

// A row of a chart: its label, a bar for a share between 0 and 1, and the number as text.
function bar(label, share, text) {
  const row = document.createElement("tr"), heading = document.createElement("th"), drawn = document.createElement("i");
  heading.scope = "row";
  heading.textContent = label;
  drawn.style.width = `${share * 100}%`;
  row.append(heading);
  row.insertCell().append(drawn);
  row.insertCell().append(text);
  return row;
}

// The scores of classes with their names, the best first.
const nameScores = (model, scores) =>
  Array.from(scores, (score, index) => [model.labels?.[index] ?? String(index), score]).sort((a, b) => b[1] - a[1]);

// Shows the image as the network sees it, the scores of its classes, the best first, and the gates of layers, if any.
function show(model, values, shape, scores, carried, milliseconds) {
  const { image } = model;
  draw($("input"), values, shape, image);
  const [height, width] = sides(shape, image);
  $("size").textContent = `As the network sees it: ${height} × ${width}, ${image.channels === 1 ? "grey" : "colour"}`;
  $("classes").replaceChildren(...scores.slice(0, SHOWN).map(([label, score]) =>
    bar(label, model.activation ? score : 0, model.activation ? `${(score * 100).toFixed(1)} %` : score.toFixed(3))));
  $("carried").hidden = !model.gates;
  if (model.gates) {
    $("carried").replaceChildren(...model.gates.layers.map((layer, i) => bar(layer, carried[i], carried[i].toFixed(2))));
    $("carried").createCaption().textContent =
      "How much of its input each layer carried on: the mean of its carry gate, from 0 to 1";
  }
  $("latency").textContent = `Answered in ${milliseconds.toFixed(1)} ms`;
  $("result").hidden = false;
}

// Makes a button for each sample of a model, which calls `ask` with the sample.
function offerSamples(model, ask) {
  $("samples").replaceChildren(...model.samples.map(sample => {
    const bytes = Uint8Array.from(atob(sample.data), c => c.charCodeAt(0));
    const values = model.image.datatype === "UINT8" ? bytes : new Float32Array(bytes.buffer);
    const button = document.createElement("button");
    const canvas = document.createElement("canvas");
    button.title = "Ask about this sample";
    draw(canvas, values, sample.shape, model.image);
    button.append(canvas);
    button.onclick = () => ask(values, sample.shape);
    return button;
  }));
}

// Calls `read` with each image file that the user chooses or drops.
function acceptImages(read) {
  $("file").onchange = () => { if ($("file").files[0]) read($("file").files[0]); };
  for (const kind of ["dragover", "dragleave", "drop"]) $("drop").addEventListener(kind, event => {
    event.preventDefault();
    $("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files[0]) read(event.dataTransfer.files[0]);
  });
}
