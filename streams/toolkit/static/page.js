// What every page does: copy buttons, tabs, sheets, the live list, annotations, north up, keys.

const byId = (id) => document.getElementById(id);

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  await navigator.clipboard?.writeText(button.dataset.copy);
  button.classList.add("done");
  setTimeout(() => button.classList.remove("done"), 1200);
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target.matches("input, textarea, select")) return;
  event.preventDefault();
  byId("find").focus();
});

for (const tabs of document.querySelectorAll("[data-tabs]")) {
  const buttons = [...tabs.querySelectorAll("[role=tab]")];
  const panels = [...tabs.querySelectorAll("[role=tabpanel]")];
  const show = (index, focus) => {
    buttons.forEach((button, n) => {
      button.setAttribute("aria-selected", n === index);
      button.tabIndex = n === index ? 0 : -1;
      panels[n].hidden = n !== index;
    });
    if (focus) buttons[index].focus();
  };
  buttons.forEach((button, n) => {
    panels[n].setAttribute("aria-label", panels[n].dataset.name);
    button.addEventListener("click", () => show(n));
    button.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      event.stopPropagation();
      show((n + step + buttons.length) % buttons.length, true);
    });
  });
  show(0);
}

for (const sheet of document.querySelectorAll("table.sheet[id]")) {
  const words = document.querySelector(`[data-filters="${sheet.id}"]`);
  const nulls = document.querySelector(`[data-nulls="${sheet.id}"]`);
  const apply = () => {
    const wanted = words.value.trim().toLowerCase();
    for (const row of sheet.tBodies[0].rows) {
      const empty = row.classList.contains("null") && !nulls.checked;
      row.hidden = empty || !row.textContent.toLowerCase().includes(wanted);
    }
  };
  words.addEventListener("input", apply);
  nulls.addEventListener("change", apply);
}

byId("north-up")?.addEventListener("change", (event) => {
  for (const frame of document.querySelectorAll("[data-north-up]")) {
    frame.classList.toggle("turned", event.target.checked);
    frame.style.setProperty("--turn", frame.dataset.northUp);
  }
});

for (const button of document.querySelectorAll("[data-supersedes]")) {
  button.addEventListener("click", () => {
    const form = byId("annotate");
    form.elements.supersedes.value = button.dataset.supersedes;
    form.elements.author.value = button.dataset.author;
    form.elements.classification.value = button.dataset.class;
    form.elements.explanation.value = button.dataset.text;
    byId("annotate-title").textContent = "Supersede an annotation";
    form.elements.explanation.focus();
  });
}
byId("annotate")?.addEventListener("reset", (event) => {
  event.target.elements.supersedes.value = "";
  byId("annotate-title").textContent = "Add an annotation";
});
if (byId("annotate")) {
  const author = byId("annotate").elements.author;
  author.value ||= localStorage.getItem("author") ?? "";
  author.addEventListener("change", () => localStorage.setItem("author", author.value));
}

byId("filters")?.addEventListener("formdata", (event) => {
  for (const [name, value] of [...event.formData]) if (value === "") event.formData.delete(name);
});

const drop = byId("drop");
for (const kind of ["dragover", "drop"]) {
  drop?.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length) {
      drop.elements.file.files = event.dataTransfer.files;
      drop.requestSubmit();
    }
  });
}

function showHealth(health) {
  byId("trouble").hidden = !health.trouble;
  byId("trouble-text").textContent = health.trouble ?? "";
}

const ROWS_KEPT = 200;
const live = byId("live");
if (live) {
  const parameters = new URLSearchParams(location.search);
  parameters.set("since", live.dataset.since);
  const source = new EventSource(`/live/rows?${parameters}`);
  source.addEventListener("open", () => live.classList.remove("off"));
  source.addEventListener("error", () => live.classList.add("off"));
  source.addEventListener("status", (event) => showHealth(JSON.parse(event.data)));
  source.addEventListener("alert", (event) => {
    const holder = document.createElement("template");
    holder.innerHTML = event.data.trim();
    const row = holder.content.firstElementChild;
    const body = byId("alerts").tBodies[0];
    body.querySelector(`[data-alert="${row.dataset.alert}"]`)?.remove();
    body.prepend(row);
    while (body.rows.length > ROWS_KEPT) body.lastElementChild.remove();
    byId("alerts").hidden = false;
    byId("empty")?.remove();
    const tile = byId("tile-alerts");
    tile.dataset.count = Number(tile.dataset.count) + 1;
    tile.textContent = Number(tile.dataset.count).toLocaleString("en");
  });
  addEventListener("pagehide", () => source.close());
} else {
  const poll = () => fetch("/health").then((answer) => answer.json()).then(showHealth, () => {});
  setInterval(poll, 10000);
}
