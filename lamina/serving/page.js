// The page of `lamina serve`: a panel per model that asks the server.
const models = JSON.parse(document.getElementById("models").textContent);
const token = document.querySelector("#token input");
const headers = (type) => ({ ...(type ? { "Content-Type": type } : {}), ...(token.value ? { Authorization: `Bearer ${token.value}` } : {}) });
const refused = async (answer) => {
  if (answer.status === 401) document.getElementById("token").hidden = false;
  let why = `The server answered ${answer.status}.`;
  try { why = (await answer.json()).error || why; } catch { /* no JSON */ }
  throw new Error(why);
};
const encoded = async (picture) => {
  const blob = picture.file || (await new Promise((done) => picture.canvas.toBlob(done, "image/png")));
  return new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => failed(new Error("The file cannot be read."));
    reader.readAsDataURL(blob);
  });
};
const asked = (model) => async (values) => {
  const row = {};
  for (const [name, value] of Object.entries(values)) row[name] = value && value.canvas ? await encoded(value) : value;
  const answer = await fetch(`ask/${encodeURIComponent(model.name)}`, { method: "POST", headers: headers("application/json"), body: JSON.stringify(row) });
  return answer.ok ? answer.json() : refused(answer);
};
const written = (model) => async (values, put) => {
  const answer = await fetch(`write/${encodeURIComponent(model.name)}`, {
    method: "POST", headers: headers("application/json"), body: JSON.stringify({ start: Object.values(values)[0] || "", length: 400 }),
  });
  if (!answer.ok) return refused(answer);
  put(Object.values(values)[0] || "");
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ;) {
    const { done, value } = await reader.read();
    if (done) return undefined;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const told = JSON.parse(event.slice(6));
      if (told.text) put(told.text);
      else if (told.end && told.end !== "done") throw new Error(told.end);
    }
  }
};
document.querySelectorAll("section[data-model]").forEach((section) => {
  const model = models[Number(section.dataset.model)];
  panel(section, model, asked(model), model.writes ? written(model) : null);
});
