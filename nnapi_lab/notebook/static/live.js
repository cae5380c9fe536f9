// The host of view.js inside a notebook: a slim bar above the workbench, and the two things only a kernel can do.
// Joined to view.js by widget.py, so `render` below is the one of view.js.
//
// kernel → page: traits `payload`, `differences` ({diff, summary}), `selected`, `snapshot`, `can_compare`;
//                messages {kind: "progress", stage, done, total}, {kind: "failed", message}
// page → kernel: message {kind: "compare"}; trait `selected`

const PATIENCE = 10_000; // ms without a word from the kernel until we say so

function live({ model, el }) {
  hideSnapshot(model.get("snapshot"));
  const stop = new AbortController();
  const button = html("button", { type: "button", class: "nl-live-run" });
  const meter = html("progress", { class: "nl-live-meter", "aria-label": "Progress", hidden: "" });
  const said = html("span", { class: "nl-live-said", role: "status" });
  const failure = html("span", { class: "nl-live-failure", role: "alert" });
  const bar = html("div", { class: "nl-live-bar" }, button, meter, said, failure);
  const stage = html("div", { class: "nl-live-stage" });
  bar.hidden = !model.get("can_compare");
  el.replaceChildren(html("div", { class: "nl-live" }, bar, stage));

  let waiting = 0;
  const expectWord = () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => { said.textContent = "still waiting for the kernel: it is busy, or gone"; }, PATIENCE);
  };
  const rest = (text) => {
    clearTimeout(waiting);
    button.disabled = false;
    meter.hidden = true;
    said.textContent = text;
  };
  const name = () => { button.textContent = model.get("differences") ? "Compare again" : "Compare with PyTorch"; };
  name();

  button.addEventListener("click", () => {
    button.disabled = true;
    failure.textContent = "";
    meter.hidden = false;
    meter.removeAttribute("value");
    said.textContent = "running both sides on the example inputs";
    expectWord();
    model.send({ kind: "compare" });
  }, { signal: stop.signal });

  const onMessage = (message) => {
    if (message.kind === "progress") {
      expectWord();
      if (message.total) [meter.max, meter.value] = [message.total, message.done];
      said.textContent = `${message.stage} ${message.done}${message.total ? ` of ${message.total}` : ""}`;
    } else if (message.kind === "failed") {
      rest("");
      failure.textContent = message.message;
    }
  };
  model.on("msg:custom", onMessage);

  // What view.js sees: the payload with the kernel's latest differences laid over it.
  const redraws = new Set();
  const facade = {
    get(key) {
      if (key !== "payload") return model.get(key);
      const payload = model.get("payload"), differences = model.get("differences");
      return differences ? { ...payload, ...differences } : payload;
    },
    set: (key, value) => model.set(key, value),
    save_changes: () => model.save_changes(),
    send: (...message) => model.send(...message),
    on(event, handler) { if (event === "change:payload") redraws.add(handler); else model.on(event, handler); },
    off(event, handler) { if (event === "change:payload") redraws.delete(handler); else model.off(event, handler); },
  };
  const redraw = () => { for (const handler of redraws) handler(); };
  const onDifferences = () => {
    redraw();
    name();
    const rows = model.get("differences")?.diff.length ?? 0;
    rest(rows ? `${plural(rows, "value")} compared` : "");
    stage.querySelector("[data-tab=diff]")?.click();
  };
  const onPayload = () => { bar.hidden = !model.get("can_compare"); redraw(); };
  model.on("change:payload", onPayload);
  model.on("change:differences", onDifferences);

  const cleanup = render({ model: facade, el: stage });
  return () => {
    clearTimeout(waiting);
    stop.abort();
    model.off("msg:custom", onMessage);
    model.off("change:payload", onPayload);
    model.off("change:differences", onDifferences);
    cleanup();
  };
}

// The snapshot above is for readers without a kernel. Take its whole output with it where we know what that is.
function hideSnapshot(id) {
  const snapshot = id ? document.getElementById(id) : null;
  const output = snapshot?.closest(".jp-OutputArea-child, .output_area, .cell-output-ipywidget-background") ?? snapshot;
  if (output) output.style.display = "none";
}
