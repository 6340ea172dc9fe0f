// Makes the page livelier: search while typing, copy buttons, ingests that move. It works without.
"use strict";

const PAUSE = 200; // milliseconds after the last key before a search
const POLL = 1000; // milliseconds between two looks at what is running
const said = document.getElementById("said");

function say(text) {
  said.textContent = text;
}

// Copy buttons: there are none without the script, so none that does nothing.
async function copy(text) {
  if (navigator.clipboard && window.isSecureContext) {
    await navigator.clipboard.writeText(text);
    return;
  }
  // Plain HTTP from another machine has no clipboard API.
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "unseen";
  area.readOnly = true;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (!done) throw new Error("not allowed");
}

function addCopyButtons(within) {
  for (const place of within.querySelectorAll("[data-copy]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    const name = place.dataset.name || "text";
    button.setAttribute("aria-label", `Copy the ${name}`);
    button.addEventListener("click", async () => {
      try {
        await copy(place.dataset.copy);
        button.textContent = "Copied";
        button.dataset.done = "";
        say(`The ${name} was copied`);
      } catch {
        button.textContent = "Not allowed";
        say(`The ${name} could not be copied`);
      }
      button.focus();
      setTimeout(() => {
        button.textContent = "Copy";
        delete button.dataset.done;
      }, 2000);
    });
    if (place.classList.contains("digest")) place.append(button);
    else place.after(button);
  }
}

// Search while typing: the server's own page is asked for, and its results put in the place of ours.
function searchLive(form) {
  const field = form.querySelector("input[type=search]");
  let timer, running;

  async function look() {
    const results = document.getElementById("results");
    const url = new URL(form.action);
    if (!results || url.pathname !== location.pathname) return; // Enter goes there
    for (const [name, value] of new FormData(form)) if (value) url.searchParams.set(name, value);
    running?.abort();
    running = new AbortController();
    results.setAttribute("aria-busy", "true");
    try {
      const answer = await fetch(url, { signal: running.signal, headers: { accept: "text/html" } });
      if (!answer.ok) throw new Error(answer.statusText);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById("results");
      results.replaceWith(fresh);
      addCopyButtons(fresh);
      document.title = page.title;
      history.replaceState(null, "", url);
      const caption = fresh.querySelector("caption, .empty");
      say(caption ? caption.textContent : "");
    } catch (error) {
      if (error.name !== "AbortError") results.removeAttribute("aria-busy");
    }
  }

  field.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(look, PAUSE);
  });
}

// Ingests: rows are kept and changed, so nothing jumps, and what is selected stays.
const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];

function size(bytes) {
  let unit = 0;
  while (bytes >= 999.5 && unit < UNITS.length - 1) {
    bytes /= 1000;
    unit += 1;
  }
  return `${bytes.toFixed(unit === 0 || bytes >= 99.95 ? 0 : 1)}\u00a0${UNITS[unit]}`;
}

function cell(kind, role, label, scope) {
  const made = document.createElement(scope ? "th" : "td");
  made.className = kind;
  made.setAttribute("role", role);
  if (scope) made.scope = scope;
  if (label) made.dataset.label = label;
  const inner = document.createElement("span");
  inner.className = "cell";
  made.append(inner);
  return made;
}

function newTable() {
  const table = document.createElement("table");
  table.className = "list running";
  table.setAttribute("role", "table");
  const caption = table.createCaption();
  caption.textContent = "";
  const head = table.createTHead();
  head.setAttribute("role", "rowgroup");
  const row = head.insertRow();
  row.setAttribute("role", "row");
  for (const [name, kind] of [["What", "name"], ["Progress", "wide"], ["Received", "number"], ["Speed", "number"], ["Began", "time"]]) {
    const heading = document.createElement("th");
    heading.scope = "col";
    heading.className = kind;
    heading.setAttribute("role", "columnheader");
    heading.textContent = name;
    row.append(heading);
  }
  table.createTBody().setAttribute("role", "rowgroup");
  return table;
}

function newRow(ingest) {
  const row = document.createElement("tr");
  row.setAttribute("role", "row");
  row.append(
    cell("name", "rowheader", "", "row"),
    cell("wide", "cell", "Progress"),
    cell("number", "cell", "Received"),
    cell("number", "cell", "Speed"),
    cell("time", "cell", "Began"),
  );
  const parts = [...row.children].map((each) => each.firstChild);
  const badge = document.createElement("span");
  badge.className = "badge";
  badge.textContent = ingest.kind;
  const name = document.createElement("code");
  name.textContent = ingest.name;
  parts[0].append(badge, " ", name);
  const progress = document.createElement("progress");
  progress.setAttribute("aria-label", `Progress of ${ingest.kind} ${ingest.name}`);
  parts[1].append(progress);
  return row;
}

function showRunning(place, known, ingests, now) {
  let table = place.querySelector("table");
  if (ingests.length === 0) {
    known.clear();
    if (!place.querySelector(".empty")) {
      const empty = document.createElement("p");
      empty.className = "empty";
      empty.textContent = "Nothing is running.";
      place.replaceChildren(empty);
    }
    return;
  }
  if (!table || known.size === 0) {
    table = newTable();
    place.replaceChildren(table);
  }
  table.caption.textContent = ingests.length === 1 ? "1 ingest" : `${ingests.length} ingests`;
  const here = new Set(ingests.map((each) => each.id));
  for (const [id, old] of known) {
    if (!here.has(id)) {
      old.row.remove();
      known.delete(id);
    }
  }
  for (const each of ingests) {
    let old = known.get(each.id);
    if (!old) {
      old = { row: newRow(each), offset: each.offset, at: now, speed: null };
      known.set(each.id, old);
      table.tBodies[0].append(old.row);
    } else if (now > old.at) {
      const speed = Math.max(0, ((each.offset - old.offset) * 1000) / (now - old.at));
      old.speed = old.speed === null ? speed : 0.6 * old.speed + 0.4 * speed;
      old.offset = each.offset;
      old.at = now;
    }
    const [, progress, received, speed, began] = [...old.row.children].map((part) => part.firstChild);
    const bar = progress.firstChild;
    if (each.total) {
      bar.max = each.total;
      bar.value = each.offset;
    } else if (each.active) bar.removeAttribute("value");
    else bar.value = 0;
    received.textContent = size(each.offset) + (each.total ? ` of ${size(each.total)}` : "");
    speed.textContent = !each.active ? "waits" : old.speed === null ? "\u2013" : `${size(old.speed)}/s`;
    began.textContent = each.started;
  }
}

function pollRunning(place) {
  const known = new Map();
  let failed = false;

  async function look() {
    if (!document.hidden) {
      try {
        const answer = await fetch(place.dataset.poll, { headers: { accept: "application/json" } });
        if (!answer.ok) throw new Error(answer.statusText);
        showRunning(place, known, (await answer.json()).running, performance.now());
        if (failed) say("The server answers again");
        failed = false;
      } catch {
        if (!failed) say("The server does not answer");
        failed = true;
      }
    }
    setTimeout(look, failed ? 5 * POLL : POLL);
  }

  look();
}

addCopyButtons(document);
document.querySelectorAll("form[data-live]").forEach(searchLive);
document.querySelectorAll("[data-poll]").forEach(pollRunning);
