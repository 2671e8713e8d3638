// The page of `--to browser`: unpacks net and runtime, and answers in this browser.
const told = JSON.parse(document.getElementById("told").textContent);
const state = document.getElementById("state");
const unpacked = async (id) => {
  const element = document.getElementById(id), text = atob(element.textContent), bytes = new Uint8Array(text.length);
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
  state.textContent = `Opened in ${((performance.now() - begun) / 1000).toFixed(1)} s.`;
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
const name = told.outputs.includes("probabilities") ? "probabilities" : "answer";
const answered = (values) => {
  if (name === "answer") return { answer: Number(values[0]) };
  const order = told.target.classes.map((c, i) => [c, Number(values[i])]).sort((a, b) => b[1] - a[1]);
  const chosen = order.filter(([, p], i) => (told.threshold === null ? i === 0 : p >= told.threshold)).map(([c]) => c);
  return { answer: chosen.length === 1 ? chosen[0] : chosen, probabilities: new Map(order) };
};
panel(document.getElementById("panel"), told, async (values) => {
  const { ort, session } = await opening, given = {};
  for (const field of told.inputs) given[field.input] = raw(ort, field, values[field.name]);
  const begun = performance.now(), found = await session.run(given, [name]);
  state.textContent = `Answered in ${(performance.now() - begun).toFixed(1)} ms.`;
  return answered(found[name].data);
});

async function selftest() {
  const { ort, session } = await opening, { rows, inputs, outputs } = told.examples, given = {};
  for (const field of told.inputs) given[field.input] = tensor(ort, field, inputs[field.name].values, inputs[field.name].shape);
  const found = (await session.run(given, [name]))[name].data, wanted = outputs[name];
  const scale = name === "answer" ? Math.max(...wanted.map(Math.abs)) : 1, per = wanted.length / rows;
  const most = (values, row) => { const own = Array.from(values).slice(row * per, row * per + per); return own.indexOf(Math.max(...own)); };
  let apart = 0, same = 0;
  wanted.forEach((w, i) => { apart = Math.max(apart, Math.abs(w - Number(found[i])) / scale); });
  for (let row = 0; row < rows; row++) same += most(wanted, row) === most(found, row) ? 1 : 0;
  return { rows, same_answers: same, largest_difference: apart, seconds: performance.now() / 1000 };
}
if (location.hash === "#selftest") {
  selftest().catch((error) => ({ error: error.message })).then((result) => {
    const shown = document.getElementById("selftest");
    shown.hidden = false; shown.textContent = JSON.stringify(result);
    console.log(`lamina selftest ${JSON.stringify(result)}`);
  });
}
