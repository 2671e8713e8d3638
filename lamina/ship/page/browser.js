// The page of `--to browser`: unpacks net and runtime, and answers in this browser.
const told = JSON.parse(document.getElementById("told").textContent);
const state = document.getElementById("state");
const unpacked = async (id) => {
  const element = document.getElementById(id);
  if (!element) {
    const answer = await fetch(told.files[id]).catch(() => { throw new Error("this folder must come from a server, such as python -m http.server"); });
    if (!answer.ok) throw new Error(`${told.files[id]} is not there`);
    return new Uint8Array(await answer.arrayBuffer());
  }
  const text = atob(element.textContent), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  element.remove();
  return new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer());
};
const opening = (async () => {
  const begun = performance.now(), [net, script, machine] = await Promise.all(["net", "runtime", "machine"].map(unpacked));
  const ort = await import(URL.createObjectURL(new Blob([script], { type: "text/javascript" })));
  ort.env.wasm.wasmBinary = machine;
  ort.env.wasm.numThreads = 1;
  ort.env.logLevel = "error";
  const session = await ort.InferenceSession.create(net, { executionProviders: ["wasm"] });
  state.textContent = `Opened in ${((performance.now() - begun) / 1000).toFixed(1)} s; WebAssembly runs it.`;
  return { ort, session };
})();
opening.catch((error) => { state.textContent = `This browser cannot run the net: ${error.message}`; state.className = "wrong"; });

const TYPES = { image: ["uint8", Uint8Array], number: ["float32", Float32Array], date: ["float64", Float64Array] };
const tensor = (ort, field, values, shape) => {
  if (field.kind === "label") return new ort.Tensor("string", values.map((v) => v ?? ""), shape);
  const [type, Kind] = TYPES[field.kind];
  return new ort.Tensor(type, Kind.from(values, (v) => v ?? NaN), shape);
};
const raw = (ort, field, value) => {
  if (field.kind === "date") return tensor(ort, field, [value === null ? null : Date.parse(value.length > 10 ? `${value}Z` : value) / 1000], [1]);
  if (field.kind !== "image") return tensor(ort, field, [value], [1]);
  const { width, height } = value.canvas, given = value.canvas.getContext("2d").getImageData(0, 0, width, height).data;
  const pixels = new Uint8Array(3 * width * height);
  for (let i = 0, j = 0; i < given.length; i += 4) { pixels[j++] = given[i]; pixels[j++] = given[i + 1]; pixels[j++] = given[i + 2]; }
  return new ort.Tensor("uint8", pixels, [1, height, width, 3]);
};
const texts = told.inputs.filter((f) => f.kind === "text"), others = told.inputs.filter((f) => f.kind !== "text");
const whole = (ort, ids, shape) => new ort.Tensor("int64", BigInt64Array.from(ids, BigInt), shape);

const base64 = (canvas) => canvas.toDataURL("image/png").split(",")[1];
const painted = ({ data, dims }) => {
  const [, height, width, channels] = dims, canvas = make("canvas");
  canvas.width = width; canvas.height = height;
  const context = canvas.getContext("2d"), pixels = context.createImageData(width, height);
  for (let i = 0; i < width * height; i++) for (let c = 0; c < 4; c++) pixels.data[4 * i + c] = c === 3 ? 255 : data[channels * i + (channels === 1 ? 0 : c)];
  context.putImageData(pixels, 0, 0);
  return { png: base64(canvas), size: [height, width] };
};
const masked = ({ data, dims }) => {
  const runs = [], shares = new Map();
  for (const code of data) {
    if (runs.length && runs[runs.length - 1][0] === code) runs[runs.length - 1][1]++; else runs.push([code, 1]);
    shares.set(code, (shares.get(code) || 0) + 1 / data.length);
  }
  const order = [...shares].sort((a, b) => b[1] - a[1]).map(([code, share]) => [told.target.classes[code], share]);
  return { answer: Object.fromEntries(order), size: dims.slice(1), classes: told.target.classes, runs };
};
const mapped = ({ data, dims }) => {
  const [, height, width] = dims, rows = Array.from({ length: height }, (_, y) => Array.from(data.slice(y * width, (y + 1) * width)));
  const known = Array.from(data);
  const answer = { min: known.reduce((a, b) => Math.min(a, b)), max: known.reduce((a, b) => Math.max(a, b)), mean: known.reduce((a, b) => a + b) / known.length };
  return { answer, size: [height, width], values: rows };
};
const boxed = ({ data }) => {
  const boxes = [];
  for (let i = 0; i < data.length; i += 6) {
    const [left, top, right, bottom, score, code] = data.slice(i, i + 6);
    if (score > 0 && score >= (told.threshold ?? 0)) boxes.push({ class: told.target.classes[code], score, left, top, right, bottom });
  }
  return { boxes: boxes.sort((a, b) => b.score - a.score) };
};
const labelled = ({ data }) => {
  const order = told.target.classes.map((c, i) => [c, Number(data[i])]).sort((a, b) => b[1] - a[1]);
  const chosen = order.filter(([, p], i) => (told.threshold === null ? i === 0 : p >= told.threshold)).map(([c]) => c);
  return { answer: chosen.length === 1 ? chosen[0] : chosen, probabilities: new Map(order) };
};
const answered = (found) => {
  if (found.probabilities) return labelled(found.probabilities);
  if (found.boxes) return boxed(found.boxes);
  if (found.mask) return masked(found.answer);
  if (found.values) return mapped(found.answer);
  if (found.picture) return painted(found.answer);
  if (found.distance) return { answer: found.answer.data[0], distance: Number(found.distance.data[0]), threshold: Number(found.threshold.data[0]) };
  return { answer: Number(found.answer.data[0]) };
};
panel(document.getElementById("panel"), told, async (values) => {
  const { ort, session } = await opening, given = {};
  for (const field of others) given[field.input] = raw(ort, field, values[field.name]);
  if (texts.length) {
    const ids = tokensOf(texts.map((f) => values[f.name] || ""), texts, told.word);
    given.tokens = whole(ort, ids, [1, ids.length]);
  }
  const begun = performance.now(), found = await session.run(given);
  const took = performance.now() - begun;
  state.textContent = `Answered in ${took < 1000 ? `${took.toFixed(1)} ms` : `${(took / 1000).toFixed(1)} s`} by WebAssembly.`;
  return answered(found);
});

async function selftest() {
  const { ort, session } = await opening, { rows, inputs, outputs } = told.examples, given = {};
  for (const field of others) given[field.input] = tensor(ort, field, inputs[field.name].values, inputs[field.name].shape);
  let spelled = 0;
  if (texts.length) {
    const { values, shape } = inputs.tokens;
    given.tokens = whole(ort, values, shape);
    for (let row = 0; row < rows; row++) {
      const ids = tokensOf(texts.map((f) => told.examples.texts[f.name][row]), texts, told.word), wanted = values.slice(row * shape[1], (row + 1) * shape[1]);
      spelled += wanted.every((id, i) => id === (ids[i] ?? 0)) ? 1 : 0;
    }
  }
  const found = await session.run(given);
  let apart = 0, same = rows;
  for (const [name, wanted] of Object.entries(outputs)) {
    const scale = ["probabilities", "mask", "picture", "boxes"].includes(name) ? 1 : wanted.reduce((a, b) => Math.max(a, Math.abs(b)), 1e-30);
    const own = found[name].data, per = wanted.length / rows;
    const most = (values, row) => { const part = Array.from(values).slice(row * per, row * per + per); return part.indexOf(part.reduce((a, b) => Math.max(a, b))); };
    wanted.forEach((w, i) => { apart = Math.max(apart, Math.abs(w - Number(own[i])) / scale); });
    if (name === "probabilities") for (let row = 0; row < rows; row++) same -= most(wanted, row) === most(own, row) ? 0 : 1;
  }
  return { rows, same_answers: same, ...(texts.length ? { same_tokens: spelled } : {}), largest_difference: apart, seconds: performance.now() / 1000 };
}
if (location.hash === "#selftest") {
  selftest().catch((error) => ({ error: error.message })).then((result) => {
    const shown = document.getElementById("selftest");
    shown.hidden = false; shown.textContent = JSON.stringify(result);
    console.log(`lamina selftest ${JSON.stringify(result)}`);
  });
}
